"""The seam of all transports: a duplex of text frames, one JSON document per frame. A transport knows no method.

Implementations: `stdio` (JSON lines on the process's own pipes), `websocket`, `memory` (tests and embedding).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable


class StreamClosed(Exception):
    """The peer is gone or the stream was closed; nothing more can be sent or received."""


class FrameTooLarge(Exception):
    """A frame beyond `MAX_FRAME_BYTES` was skipped; the stream goes on with the next one."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"A frame of {size_bytes} bytes is larger than the limit of {limit_bytes} bytes.")
        self.size_bytes, self.limit_bytes = size_bytes, limit_bytes


MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Largest frame that a client may send: room for a few inline pictures of a `turn/start`."""


class MessageStream(Protocol):
    """A duplex of frames. One task receives, one task sends; both may run at the same time."""

    @property
    def transport(self) -> str:
        """`stdio`, `websocket` or `memory`: shown in logs, and a key of client quirks."""
        ...

    async def receive(self) -> bytes:
        """The next frame, undecoded (it may be invalid UTF-8; the reader decides how to answer).

        Raises:
            StreamClosed: at the end of input or after `aclose`.
            FrameTooLarge: the next frame was skipped; call again for the one after it.
        """
        ...

    async def send(self, frames: Sequence[bytes]) -> None:
        """Write frames in order, as one batch; returns when the transport took them (back-pressure).

        A frame holds no newline. Raises StreamClosed when the peer is gone."""
        ...

    async def aclose(self) -> None:
        """Close both directions; idempotent. A blocked `receive` ends with StreamClosed."""
        ...


Taker = Callable[[Sequence[bytes | FrameTooLarge]], int]
"""Serves frames from the first on, as many as need no waiting; returns how many those were."""


@runtime_checkable
class QuickStream(Protocol):
    """What a stream may offer beside: to do now what needs no waiting, which saves a request two switches of tasks."""

    def offer_to(self, taker: Taker) -> None:
        """Show frames to `taker` the moment they come, while `receive` is waited in; it yields what was not taken."""
        ...

    @property
    def ready(self) -> bool:
        """Whether `receive` would return at once."""
        ...

    def send_now(self, frames: Sequence[bytes]) -> bool:
        """Write like `send`, if the peer has room; False, and nothing is written, where that is not sure."""
        ...


@runtime_checkable
class NamedStream(Protocol):
    """A stream whose peer has shown who it is."""

    @property
    def principal(self) -> str | None:
        """The name that the login gave; None where nobody in particular was let in."""
        ...


@runtime_checkable
class TracedStream(Protocol):
    """A stream whose peer may have told where its own trace stands."""

    @property
    def trace(self) -> Mapping[str, str] | None:
        """`traceparent` and `tracestate` (W3C Trace Context), unchecked; None where it told nothing."""
        ...
