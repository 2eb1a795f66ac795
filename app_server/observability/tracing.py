"""The seam of traces: what `observer.py` needs of a tracer. `otel.py` fills it where traces are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Protocol

Kind = Literal["internal", "server", "client"]
Attribute = str | int | float | bool
NO_CARRIER: Final[Mapping[str, str]] = {}
CARRIER_NAMES: Final = ("traceparent", "tracestate")
"""Headers, or members of a request's `trace` (W3C Trace Context)."""


class Span(Protocol):
    """Something that takes time."""

    def set(self, name: str, value: Attribute) -> None:
        """Say one thing about it."""
        ...

    def headers(self) -> Mapping[str, str]:
        """`traceparent` and what belongs to it, for a request that is part of it."""
        ...

    def end(self, failure: str | None = None) -> None:
        """It is over. `failure`: a word for what went wrong."""
        ...


class Tracer(Protocol):
    """Begins spans."""

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        *,
        parent: Span | None,
        carrier: Mapping[str, str],
    ) -> Span:
        """Part of `parent`, else of what `carrier` names, else the first of a new trace."""
        ...

    def close(self, timeout_s: float) -> None:
        """Send what was not sent; gives up after the time. Blocks."""
        ...


def carrier_of(members: object) -> Mapping[str, str]:
    """The W3C members of headers or of a request's `trace`; whatever else is there is left out."""
    if not isinstance(members, Mapping):
        return NO_CARRIER
    found = {name: members.get(name) for name in CARRIER_NAMES}
    return {name: value for name, value in found.items() if isinstance(value, str)}
