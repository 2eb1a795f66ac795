"""What the scripted upstream is told to answer, and what it keeps of each request: plain data and its builders.

Owns no connection. `tests/support/upstream.py` sends what stands here; tests import all of it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from tests.support.pictures import as_base64
from tests.support.response_events import USAGE, Event, completed, created, message, numbered


class Gate:
    """Stands between two events of a stream, or before a whole answer: the upstream waits there until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = anyio.Event(), anyio.Event()

    async def wait_reached(self, timeout_s: float = 10) -> None:
        """Return when the upstream stands at the gate. Raises TimeoutError."""
        with anyio.fail_after(timeout_s):
            await self.reached.wait()

    def release(self) -> None:
        """Let the upstream go on."""
        self.open.set()

    async def hold(self) -> None:
        """The upstream's side: tell that it is here, and wait."""
        self.reached.set()
        await self.open.wait()


Streamed = Event | Gate | str | bytes
"""What a stream is made of: events, gates, and raw text or bytes that are sent as they stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request that the upstream got."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: Any
    """The JSON body; None when there is none (multipart, empty, unreadable)."""
    raw: bytes
    hung_up: anyio.Event = field(default_factory=anyio.Event)
    """Set when the client closed the connection before the answer was whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One scripted answer: with `events` a chunked event stream, else `body` (bytes, text, or JSON data) at once.

    `cut` drops the connection instead of ending the answer; without events it drops it before any answer. `hold` keeps
    the whole answer back. `events` may be a function of the request, for an answer that depends on it.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    events: Sequence[Streamed] | Callable[[ReceivedRequest], Sequence[Streamed]] | None = None
    cut: bool = False
    hold: Gate | None = None


def sse(response_id: str, *parts: Streamed | Sequence[Streamed], usage: Mapping[str, Any] | None = USAGE) -> Reply:
    """A good answer: created, the parts (events, or lists of them as the item builders return), completed."""
    indexes: dict[str, int] = {}
    flat = [one for part in parts for one in ([part] if isinstance(part, dict | Gate | str | bytes) else part)]
    middle = [numbered(one, indexes) if isinstance(one, dict) else one for one in flat]
    return Reply(events=[created(response_id), *middle, completed(response_id, usage)])


def text_turn(response_id: str, text: str) -> Reply:
    """A good answer of one message, whose id is `msg_<response id>`."""
    return sse(response_id, message(f"msg_{response_id}", text))


def image_reply(picture: bytes, *, background: str = "opaque", revised_prompt: str = "a revised prompt") -> Reply:
    """A good answer of an images endpoint."""
    data = {"b64_json": as_base64(picture), "revised_prompt": revised_prompt, "generation_id": "generation-1"}
    return Reply(body={"created": 1_700_000_000, "background": background, "data": [data]})
