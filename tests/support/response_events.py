"""Builders of Responses API stream events: what a provider says in one answer, as plain dicts.

`tests/support/upstream.py` streams them; the unit tests of the provider adapter feed them to it directly. A builder of
an item returns the whole life of it: `output_item.added`, the events between, `output_item.done`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from tests.support.pictures import as_base64

Event = dict[str, Any]

USAGE: Mapping[str, Any] = {
    "input_tokens": 110,
    "input_tokens_details": {"cached_tokens": 40},
    "output_tokens": 25,
    "output_tokens_details": {"reasoning_tokens": 10},
    "total_tokens": 135,
}
DELTA_CHARS = 6


def created(response_id: str) -> Event:
    """The first event of an answer."""
    return {"type": "response.created", "response": {"id": response_id, "status": "in_progress", "output": []}}


def completed(response_id: str, usage: Mapping[str, Any] | None = USAGE) -> Event:
    """The last event of a good answer; `usage=None` leaves the usage out."""
    response: Event = {"id": response_id, "status": "completed", "output": []}
    if usage is not None:
        response["usage"] = dict(usage)
    return {"type": "response.completed", "response": response}


def failed(response_id: str, code: str, message: str) -> Event:
    """The answer ended in an error of the provider."""
    error = {"code": code, "message": message}
    return {"type": "response.failed", "response": {"id": response_id, "status": "failed", "error": error}}


def incomplete(response_id: str, reason: str) -> Event:
    """The answer was cut short, for instance by `max_output_tokens`."""
    details = {"reason": reason}
    response = {"id": response_id, "status": "incomplete", "incomplete_details": details}
    return {"type": "response.incomplete", "response": response}


def item_added(item: Event) -> Event:
    """An output item begins."""
    return {"type": "response.output_item.added", "output_index": 0, "item": item}


def item_done(item: Event) -> Event:
    """An output item is whole."""
    return {"type": "response.output_item.done", "output_index": 0, "item": item}


def message(item_id: str, text: str, phase: str | None = None) -> list[Event]:
    """An assistant message, streamed in pieces of a few characters."""
    item: Event = {"type": "message", "id": item_id, "role": "assistant", "content": []}
    if phase is not None:
        item["phase"] = phase
    content = [{"type": "output_text", "text": text, "annotations": []}]
    deltas = (text_delta(item_id, piece) for piece in _pieces(text))
    return [item_added({**item, "status": "in_progress"}), *deltas, item_done({**item, "content": content})]


def text_delta(item_id: str, delta: str) -> Event:
    """One more piece of a message."""
    return {
        "type": "response.output_text.delta",
        "item_id": item_id,
        "output_index": 0,
        "content_index": 0,
        "delta": delta,
    }


def reasoning(item_id: str, *summaries: str, encrypted_content: str = "sealed") -> list[Event]:
    """A reasoning item with its summary parts, and the sealed content that must come back with the next request."""
    parts: list[Event] = []
    for index, text in enumerate(summaries):
        place = {"item_id": item_id, "output_index": 0, "summary_index": index}
        kind = "response.reasoning_summary"
        parts.append({"type": f"{kind}_part.added", **place, "part": {"type": "summary_text", "text": ""}})
        parts += [{"type": f"{kind}_text.delta", **place, "delta": piece} for piece in _pieces(text)]
        parts.append({"type": f"{kind}_text.done", **place, "text": text})
    item: Event = {"type": "reasoning", "id": item_id, "summary": []}
    summary = [{"type": "summary_text", "text": text} for text in summaries]
    return [item_added(item), *parts, item_done({**item, "summary": summary, "encrypted_content": encrypted_content})]


def function_call(call_id: str, name: str, args: Any, namespace: str | None = None) -> list[Event]:
    """A tool call. `args` is JSON data, or a str that is sent as it stands (broken arguments)."""
    item: Event = {"type": "function_call", "id": f"fc_{call_id}", "call_id": call_id, "name": name}
    if namespace is not None:
        item["namespace"] = namespace
    arguments = args if isinstance(args, str) else orjson.dumps(args).decode()
    return [item_added({**item, "arguments": ""}), item_done({**item, "arguments": arguments})]


def image_call(item_id: str, picture: bytes, prompt: str | None = None, status: str = "completed") -> list[Event]:
    """A picture of the hosted tool. Some backends leave the status at `generating` although the bytes are there."""
    item: Event = {"type": "image_generation_call", "id": item_id}
    done: Event = {**item, "status": status, "result": as_base64(picture)}
    if prompt is not None:
        done["revised_prompt"] = prompt
    return [item_added({**item, "status": "in_progress"}), item_done(done)]


def numbered(event: Event, indexes: dict[str, int]) -> Event:
    """The event with the `output_index` of its item: items count up in the order of their first event."""
    if "output_index" not in event:
        return event
    item_id = event["item"]["id"] if "item" in event else event["item_id"]
    return {**event, "output_index": indexes.setdefault(item_id, len(indexes))}


def _pieces(text: str) -> list[str]:
    return [text[start : start + DELTA_CHARS] for start in range(0, len(text), DELTA_CHARS)]
