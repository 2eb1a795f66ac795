"""Counts what `watch.py` is told, and makes spans of it where there is a tracer. Made by `commands/observing`.

Attributes of spans hold names, ids, counts and status words; never prompts, bytes or secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from time import perf_counter
from typing import Any, Final, Protocol

from app_server.observability.logging import log_context
from app_server.observability.metrics import Metrics
from app_server.observability.tracing import NO_CARRIER, Attribute, Kind, Span, Tracer, carrier_of

_current: ContextVar[Span | None] = ContextVar("current_span", default=None)
"""What a task works for; tasks that it starts as well."""
_turn: ContextVar[Span | None] = ContextVar("turn_span", default=None)
"""The turn that a task works for: tool calls are part of it, not of the answer that asked for them."""
_NOTHING: Final[AbstractContextManager[None]] = nullcontext()


class Observer:
    """The one that `WATCH` tells."""

    def __init__(self, metrics: Metrics, tracer: Tracer | None = None) -> None:
        self.metrics, self.tracer = metrics, tracer
        self.waiting_commits = 0

    def request(self, method: str, connection_id: int, trace: object, handshake: object) -> SeenRequest:
        label = self.metrics.method_label(method)
        span: Span | None = None
        if self.tracer is not None:
            carrier = carrier_of(trace) or carrier_of(handshake)
            attributes: dict[str, Attribute] = {"rpc.method": label, "connection_id": connection_id}
            span = self.tracer.begin(f"request {label}", "server", attributes, parent=None, carrier=carrier)
        return SeenRequest(self.metrics, label, span)

    @contextmanager
    def turn(self, thread_id: str, turn_id: str) -> Iterator[SeenTurn]:
        began_s, seen = perf_counter(), SeenTurn()
        self.metrics.turns_started.total += 1
        attributes = {"thread_id": thread_id, "turn_id": turn_id}
        with log_context(**attributes), self._span("turn", attributes=attributes) as span:
            token = _turn.set(span)
            try:
                yield seen
            finally:
                _turn.reset(token)
                self.metrics.turns_ended.add(seen.status)
                self.metrics.turn_s.observe(perf_counter() - began_s)
                if span is not None:
                    span.set("turn.status", seen.status)

    def answer(self, provider: str, model: str) -> AbstractContextManager[Span | None]:
        return self._span("model answer", "client", attributes={"provider": provider, "model": model})

    @contextmanager
    def call(self, tool: str) -> Iterator[SeenCall]:
        seen = SeenCall()
        with self._span("tool call", parent=_turn.get(), attributes={"tool": tool}) as span:
            try:
                yield seen
            finally:
                self.metrics.tool_calls.add(seen.outcome)
                if span is not None:
                    span.set("tool.outcome", seen.outcome)

    @contextmanager
    def commit(self) -> Iterator[None]:
        began_s = perf_counter()
        self.waiting_commits += 1
        try:
            yield
        finally:
            self.waiting_commits -= 1
            self.metrics.commit_s.observe(perf_counter() - began_s)

    def headers(self) -> Mapping[str, str]:
        now = _current.get()
        return NO_CARRIER if now is None else now.headers()

    @contextmanager
    def post(self, request: Outgoing) -> Iterator[Callable[[int], None]]:
        """The block sends a request that is no model's answer, such as for a picture. Told the status of its answer."""
        attributes = {"http.request.method": "POST", "server.address": str(request.url.host)}
        with self._span("http request", "client", attributes=attributes) as span:
            if span is not None:
                request.headers.update(span.headers())
            yield lambda status: None if span is None else span.set("http.response.status_code", status)

    def _span(
        self, name: str, kind: Kind = "internal", *, parent: Span | None = None, attributes: Mapping[str, Attribute]
    ) -> AbstractContextManager[Span | None]:
        """A span that is current while the block runs, and ends with it."""
        if self.tracer is None:
            return _NOTHING
        return _during(self.tracer.begin(name, kind, attributes, parent=parent or _current.get(), carrier=NO_CARRIER))


@contextmanager
def _during(span: Span) -> Iterator[Span]:
    failure: str | None = None
    before = _current.set(span)
    try:
        yield span
    except BaseException as error:
        failure = type(error).__name__
        raise
    finally:
        _current.reset(before)
        span.end(failure)


class SeenRequest:
    """One request of a client."""

    __slots__ = ("_began_s", "_label", "_metrics", "_span")

    def __init__(self, metrics: Metrics, label: str, span: Span | None) -> None:
        self._metrics, self._label, self._span = metrics, label, span
        self._began_s = perf_counter()

    def during(self) -> AbstractContextManager[Any]:
        """The block begins it: what is started there works for it."""
        return _NOTHING if self._span is None else _working_for(self._span)

    def answered(self, good: bool) -> None:
        """Its answer is on the way."""
        self._metrics.request_s.observe(perf_counter() - self._began_s, self._label)
        self._metrics.requests_failed.total += not good
        if self._span is not None:
            self._span.end(None if good else "error")


@contextmanager
def _working_for(span: Span) -> Iterator[None]:
    before = _current.set(span)
    try:
        yield
    finally:
        _current.reset(before)


class SeenTurn:
    """One turn; `status` is how it ended."""

    __slots__ = ("status",)

    def __init__(self) -> None:
        self.status = "interrupted"


class SeenCall:
    """One call of a tool; `outcome` is how it ended."""

    __slots__ = ("outcome",)

    def __init__(self) -> None:
        self.outcome = "cancelled"

    def answered(self, *, failed: bool) -> None:
        """It has an output for the model."""
        self.outcome = "failed" if failed else "succeeded"


class Outgoing(Protocol):
    """An HTTP request that is about to be sent; `httpx.Request` has this shape."""

    @property
    def url(self) -> Any: ...
    @property
    def headers(self) -> Any: ...
