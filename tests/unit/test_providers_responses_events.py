"""One payload of a Responses stream becomes at most one provider event."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

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
    UpstreamError,
)
from app_server.providers.responses_errors import FailureSource
from app_server.providers.responses_events import ResponseReader, rate_limits, token_usage

SOURCE = FailureSource(provider_id="mine", url="http://host/v1/responses", login_hint="the key")


def read(event: dict[str, Any]) -> ProviderEvent | None:
    return ResponseReader(SOURCE).read(orjson.dumps(event))


@pytest.mark.parametrize(
    ("event", "wanted"),
    [
        (
            {"type": "response.output_item.added", "item": {"type": "message", "id": "m"}},
            ItemAdded(item={"type": "message", "id": "m"}),
        ),
        (
            {"type": "response.output_item.done", "item": {"type": "message", "id": "m"}},
            ItemDone(item={"type": "message", "id": "m"}),
        ),
        ({"type": "response.output_text.delta", "item_id": "m", "delta": "Hi"}, TextDelta("m", "Hi")),
        (
            {"type": "response.reasoning_summary_part.added", "item_id": "r", "summary_index": 1},
            ReasoningPartAdded("r", 1),
        ),
        (
            {"type": "response.reasoning_summary_text.delta", "item_id": "r", "summary_index": 1, "delta": "so"},
            ReasoningDelta("r", 1, "so"),
        ),
        (
            {"type": "response.reasoning_text.delta", "item_id": "r", "content_index": 2, "delta": "raw"},
            ReasoningDelta("r", 2, "raw", summary=False),
        ),
        ({"type": "response.completed", "response": {"id": "x"}}, Completed(response_id="x", usage=None)),
        ({"type": "response.completed"}, Completed(response_id="", usage=None)),
        (
            {"type": "response.completed", "response": {"id": "x", "usage": {"input_tokens": 3, "output_tokens": 4}}},
            Completed(response_id="x", usage=TokenUsage(input_tokens=3, output_tokens=4, total_tokens=7)),
        ),
    ],
)
def test_each_event_that_matters_is_mapped(event: dict[str, Any], wanted: ProviderEvent) -> None:
    assert read(event) == wanted


@pytest.mark.parametrize(
    "payload",
    [
        b"{not json",
        b"\xff\xfe",
        b"",
        b"[1, 2]",
        b'"text"',
        b"{}",
        b'{"type": 7}',
        b'{"type": ["response.completed"]}',
        b'{"type": "response.created", "response": {}}',
        b'{"type": "response.surprise"}',
        b'{"type": "response.output_text.delta", "item_id": "m"}',
        b'{"type": "response.output_text.delta", "item_id": "m", "delta": 5}',
        b'{"type": "response.reasoning_text.delta", "delta": null}',
        b'{"type": "response.output_item.added"}',
        b'{"type": "response.output_item.done", "item": "x"}',
    ],
)
def test_what_is_unknown_or_unreadable_is_skipped(payload: bytes) -> None:
    assert ResponseReader(SOURCE).read(payload) is None


def test_a_delta_without_item_id_belongs_to_the_item_added_last() -> None:
    reader = ResponseReader(SOURCE)
    reader.read(b'{"type": "response.output_item.added", "item": {"id": "m2"}}')
    assert reader.read(b'{"type": "response.output_text.delta", "delta": "x"}') == TextDelta("m2", "x")


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (
            {"type": "response.failed", "response": {"error": {"code": "new", "message": "something new"}}},
            "The stream disconnected before the answer was complete: something new.",
        ),
        (
            {"type": "response.failed", "response": {"error": None}},
            "The stream disconnected before the answer was complete: the provider gave no reason.",
        ),
        (
            {"type": "error", "code": "server_error", "message": "plain error event"},
            "The stream disconnected before the answer was complete: plain error event.",
        ),
        (
            {"type": "error", "error": {"code": "x", "message": "nested"}},
            "The stream disconnected before the answer was complete: nested.",
        ),
        (
            {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}},
            "Incomplete response: the model stopped early, reason max_output_tokens; "
            "ask for less at once or for the rest.",
        ),
    ],
)
def test_an_event_of_failure_raises(event: dict[str, Any], message: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(event)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (
            {
                "input_tokens": 120,
                "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 4},
                "output_tokens": 30,
                "output_tokens_details": {"reasoning_tokens": 5},
                "total_tokens": 150,
            },
            TokenUsage(
                input_tokens=120,
                cached_input_tokens=20,
                cache_write_input_tokens=4,
                output_tokens=30,
                reasoning_output_tokens=5,
                total_tokens=150,
            ),
        ),
        (
            {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 2, "output_tokens_details": None},
            TokenUsage(input_tokens=1, output_tokens=2, total_tokens=3),
        ),
        ({"input_tokens": None, "output_tokens": "many", "total_tokens": -1}, TokenUsage()),
        ({}, TokenUsage()),
    ],
)
def test_usage_is_read_with_its_gaps(usage: dict[str, Any], wanted: TokenUsage) -> None:
    assert token_usage(usage) == wanted


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, RateLimits()),
        (
            {
                "x-codex-primary-used-percent": "12.5",
                "x-codex-primary-window-minutes": "300",
                "x-codex-primary-reset-at": "1800000000",
                "x-codex-secondary-used-percent": "3.4",
            },
            RateLimits(
                primary={"usedPercent": 13, "windowDurationMins": 300, "resetsAt": 1_800_000_000},
                secondary={"usedPercent": 3, "windowDurationMins": None, "resetsAt": None},
            ),
        ),
        ({"x-codex-primary-used-percent": "nan", "x-codex-secondary-used-percent": "much"}, RateLimits()),
    ],
)
def test_rate_limits_come_from_the_headers(headers: dict[str, str], wanted: RateLimits) -> None:
    assert rate_limits(headers) == wanted
