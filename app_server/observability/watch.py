"""Where the rest of the server tells what happens: `WATCH`, which does nothing until somebody could ask.

It is all that an embedded server loads: `observer.py`, the numbers and the spans are loaded by `commands/observing`
where there is a listener to be asked at, or where traces are wanted.

| told | by | counted | span |
|---|---|---|---|
| `request` | `rpc/connection` | latency by method, errors | `request` |
| `turn` | `turns/engine` | turns, how long; log lines inside carry thread and turn | `turn` |
| `answer` | `turns/sampling` | – | `model answer`, whose `traceparent` goes to the provider |
| `call` | `turns/sampling` | tool calls | `tool call` |
| `post` | `net` | – | `http request`, with its `traceparent` |
| `commit` | `threads/live_thread` | how long | – |
| `lease`, `letter` | `threads/manager`, `replicas` | changes, events | – |
| `observer.metrics` | deltas, pictures, requests to providers | each where it happens | – |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Literal

from app_server.observability.logging import log_context

if TYPE_CHECKING:
    from app_server.observability.observer import Observer, Outgoing, SeenCall, SeenRequest, SeenTurn

_NOTHING: Final[AbstractContextManager[None]] = nullcontext()
_NO_HEADERS: Final[Mapping[str, str]] = {}


def _unheard(status: int) -> None:
    """Nobody wants to know."""


class Watch:
    """The hooks of the process."""

    observer: Observer | None = None

    def request(self, method: str, connection_id: int, trace: object, handshake: object) -> SeenRequest | None:
        """A request came: `trace` is its own member, `handshake` what came with the connection (W3C Trace Context)."""
        if self.observer is None:
            return None
        return self.observer.request(method, connection_id, trace, handshake)

    def turn(self, thread_id: str, turn_id: str) -> AbstractContextManager[SeenTurn | None]:
        """The block is a turn, in a task of its own."""
        if self.observer is None:
            return log_context(thread_id=thread_id, turn_id=turn_id)
        return self.observer.turn(thread_id, turn_id)

    def answer(self, provider: str, model: str) -> AbstractContextManager[Any]:
        """The block is one answer of a model, from the request to its last event."""
        return _NOTHING if self.observer is None else self.observer.answer(provider, model)

    def call(self, tool: str) -> AbstractContextManager[SeenCall | None]:
        """The block is a call of a tool; `tool` is the name of one that is offered."""
        return _NOTHING if self.observer is None else self.observer.call(tool)

    def commit(self) -> AbstractContextManager[None]:
        """The block waits for a commit."""
        return _NOTHING if self.observer is None else self.observer.commit()

    def post(self, request: Outgoing) -> AbstractContextManager[Callable[[int], None]]:
        """The block sends a request that is no model's answer, such as for a picture; it is told the status."""
        return nullcontext(_unheard) if self.observer is None else self.observer.post(request)

    def lease(self, change: Literal["taken", "lost", "taken_over"]) -> None:
        """The right to write a thread came or went."""
        if self.observer is not None:
            self.observer.metrics.leases.add(change)

    def letter(self, event: Literal["posted", "taken", "answered"]) -> None:
        """A request for another replica was written, or one of another replica was taken or answered here."""
        if self.observer is not None:
            self.observer.metrics.letters.add(event)

    def headers(self) -> Mapping[str, str]:
        """What a request to a provider carries, so that its trace goes on there."""
        return _NO_HEADERS if self.observer is None else self.observer.headers()


WATCH: Final = Watch()
