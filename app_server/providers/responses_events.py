"""The events of a Responses stream as provider events: one JSON payload in, at most one event out. Pure.

`responses_api.py` makes one reader for each response. What a payload does not say properly is skipped, as are types
that nobody here needs: `response.created`, the `.done` twins of deltas, partial pictures, and whatever comes next year.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app_server.ids import uuid7
from app_server.providers.base import (
    Completed,
    ItemAdded,
    ItemDone,
    ProviderEvent,
    RateLimits,
    ReasoningDelta,
    ReasoningPartAdded,
    TextDelta,
    TokenUsage,
)
from app_server.providers.responses_errors import FailureSource, quoted, response_failed, response_incomplete


class ResponseReader:
    """Reads one response; remembers only which item was added last, for deltas that do not name theirs."""

    __slots__ = ("_last_item_id", "_made_ids", "_source")

    def __init__(self, source: FailureSource) -> None:
        self._source = source
        self._last_item_id = ""
        self._made_ids: dict[Any, str] = {}

    def read(self, payload: bytes) -> ProviderEvent | None:
        """The event of one payload, or None. Raises UpstreamError when the payload tells of a failure."""
        try:
            event = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return None
        if not isinstance(event, dict):
            return None
        kind = event.get("type")
        if kind == "response.output_text.delta":  # the hot path: most events of an answer
            delta = event.get("delta")
            return TextDelta(event.get("item_id") or self._last_item_id, delta) if isinstance(delta, str) else None
        read = _READERS.get(kind) if isinstance(kind, str) else None
        return read(self, event) if read is not None else None

    def item_added(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.output_item.added`."""
        item = event.get("item")
        if not isinstance(item, dict):
            return None
        self._last_item_id = str(item.get("id") or self._made_id(event, item))
        return ItemAdded(item={**item, "id": self._last_item_id})

    def _made_id(self, event: dict[str, Any], item: dict[str, Any]) -> str:
        """An id for an item whose server gave none: the same for its beginning and its end."""
        place = event.get("output_index")
        known = self._made_ids.get(place)
        if known is None:
            known = self._made_ids[place] = f"{item.get('type')}_{uuid7()}"
        return known

    def item_done(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.output_item.done`."""
        item = event.get("item")
        if not isinstance(item, dict):
            return None
        return ItemDone(item=item if item.get("id") else {**item, "id": self._made_id(event, item)})

    def part_added(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.reasoning_summary_part.added`."""
        return ReasoningPartAdded(event.get("item_id") or self._last_item_id, _count(event.get("summary_index")))

    def summary_delta(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.reasoning_summary_text.delta`."""
        return self._reasoning(event, "summary_index", summary=True)

    def reasoning_delta(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.reasoning_text.delta`: raw reasoning, of models that show it."""
        return self._reasoning(event, "content_index", summary=False)

    def completed(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.completed`."""
        response = _mapping(event.get("response"))
        usage = response.get("usage")
        return Completed(
            response_id=str(response.get("id") or ""), usage=token_usage(usage) if isinstance(usage, dict) else None
        )

    def failed(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.failed`."""
        raise response_failed(_mapping(_mapping(event.get("response")).get("error")), self._source)

    def error(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`error`: the API could not even make a response; code and message stand in it or in its `error`."""
        error = event.get("error")
        if not isinstance(error, dict):
            error = {"code": event.get("code"), "message": event.get("message")}
        raise response_failed(error, self._source)

    def incomplete(self, event: dict[str, Any]) -> ProviderEvent | None:
        """`response.incomplete`."""
        details = _mapping(_mapping(event.get("response")).get("incomplete_details"))
        raise response_incomplete(quoted(str(details.get("reason") or "unknown"), self._source))

    def _reasoning(self, event: dict[str, Any], index_key: str, *, summary: bool) -> ProviderEvent | None:
        delta = event.get("delta")
        if not isinstance(delta, str):
            return None
        item_id = event.get("item_id") or self._last_item_id
        return ReasoningDelta(item_id, _count(event.get(index_key)), delta, summary)


_READERS: Final[Mapping[str, Callable[[ResponseReader, dict[str, Any]], ProviderEvent | None]]] = {
    "response.output_item.added": ResponseReader.item_added,
    "response.output_item.done": ResponseReader.item_done,
    "response.reasoning_summary_part.added": ResponseReader.part_added,
    "response.reasoning_summary_text.delta": ResponseReader.summary_delta,
    "response.reasoning_text.delta": ResponseReader.reasoning_delta,
    "response.completed": ResponseReader.completed,
    "response.failed": ResponseReader.failed,
    "response.incomplete": ResponseReader.incomplete,
    "error": ResponseReader.error,
}


def token_usage(usage: Mapping[str, Any]) -> TokenUsage:
    """The API's usage object; missing and null details count as 0."""
    inputs, outputs = _mapping(usage.get("input_tokens_details")), _mapping(usage.get("output_tokens_details"))
    input_tokens, output_tokens = _count(usage.get("input_tokens")), _count(usage.get("output_tokens"))
    return TokenUsage(
        input_tokens=input_tokens,
        cached_input_tokens=_count(inputs.get("cached_tokens")),
        cache_write_input_tokens=_count(inputs.get("cache_write_tokens")),
        output_tokens=output_tokens,
        reasoning_output_tokens=_count(outputs.get("reasoning_tokens")),
        total_tokens=_count(usage.get("total_tokens")) or input_tokens + output_tokens,
    )


def rate_limits(headers: Mapping[str, str]) -> RateLimits:
    """The limits that the response headers told of (`x-codex-primary-…`, `x-codex-secondary-…`)."""
    return RateLimits(primary=_window(headers, "primary"), secondary=_window(headers, "secondary"))


def _window(headers: Mapping[str, str], name: str) -> dict[str, Any] | None:
    used_percent = _whole(headers.get(f"x-codex-{name}-used-percent"))
    if used_percent is None:
        return None
    return {
        "usedPercent": used_percent,
        "windowDurationMins": _whole(headers.get(f"x-codex-{name}-window-minutes")),
        "resetsAt": _whole(headers.get(f"x-codex-{name}-reset-at")),
    }


def _whole(text: str | None) -> int | None:
    """A number in a header, rounded half up; None when there is none."""
    try:
        return int(float(text or "") + 0.5)
    except (ValueError, OverflowError):
        return None


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
