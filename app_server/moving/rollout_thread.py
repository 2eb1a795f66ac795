"""The lines of a rollout, in order, as the records of one of our threads. Pure: pictures still stand in it as base64.

A turn begins with `task_started`, or, where a release wrote none, with the user's message; it ends with
`task_complete`, `turn_aborted`, or the begin of the next one. The history is what the reference would send: its base
instructions first, then every `response_item`, without what it keeps for itself. Equal lines give equal records, ids
included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import NAMESPACE_URL, uuid5

from app_server.moving.rollout_events import command_item, event_item
from app_server.moving.rollout_files import Line, time_ms
from app_server.moving.rollout_history import RolloutHistory
from app_server.moving.rollout_items import Json, camel_keys, wire_item
from app_server.moving.rollout_settings import changed, first_settings
from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.threads.settings import to_json

PREVIEW_CHARS: Final = 200
_SILENT_LINES: Final = frozenset({"world_state", "token_usage_record", "retained_context"})
_SILENT_EVENTS: Final = frozenset(
    {
        "agent_reasoning_section_break",
        "background_event",
        "deprecation_notice",
        "item_started",
        "plan_update",
        "stream_error",
        "thread_goal_updated",
        "thread_name_updated",
        "turn_diff",
        "warning",
    }
)
"""Passing ones, and such as have no place in a thread of ours."""
_STARTS, _ENDS = ("task_started", "turn_started"), ("task_complete", "turn_complete")


class RolloutThread:
    """Takes lines; `records` and the facts for the index row are whole after `finish`."""

    def __init__(self, thread_id: str, meta: Json, *, default_model: str) -> None:
        self.thread_id, self.meta = thread_id, meta
        self.records: list[Record] = []
        self.settings = first_settings(meta)
        self._default_model = default_model
        self.unknown: Counter[str] = Counter()
        """Kinds of lines and items that nothing was made of."""
        self.name: str | None = None
        self.preview = ""
        self.created_ms = time_ms(meta.get("timestamp"))
        self.updated_ms = self.recency_ms = self.created_ms
        self.turns: list[str] = []
        """Those that count, oldest first."""
        self._first_settings: dict[str, Any] | None = None
        self._at_ms = self.created_ms
        self._turn: str | None = None
        self._started_ms = 0
        self._error: Json | None = None
        self._inner: set[str] = set()
        """Turns inside of a turn, of a sub-agent: only what they lead to is shown."""
        self._reasoning: dict[str, Any] | None = None
        self._in_review = self._is_implicit = False
        self._calls: dict[str, Json] = {}
        self._shown: set[str] = set()
        self._usage: Any = None
        self._numbers = 0
        self._made_ids = 0
        self._history = RolloutHistory(meta, self._made_id)

    # -- lines
    def take(self, line: Line) -> None:
        """One more line."""
        self._at_ms = line.at_ms or self._at_ms
        self.created_ms = self.created_ms or self._at_ms
        payload = line.payload
        match line.type:
            case "response_item":
                self._response_item(payload)
            case "event_msg":
                self._event(payload)
            case "turn_context":
                self._settings(payload)
            case "compacted":
                self._compacted(payload)
            case "session_meta":
                pass
            case kind if kind not in _SILENT_LINES:
                self.unknown[kind] += 1

    def finish(self) -> None:
        """No more lines: a turn that is open was cut off with its server."""
        self._cut_off()
        self._flush()
        settings = self._first_settings or to_json(self.settings)
        if not settings["model"]:
            settings = {**settings, "model": self._default_model}
        originator = str(self.meta.get("originator") or "codex")
        first = Record(
            kind=kinds.THREAD_STARTED, data={"settings": settings, "originator": originator}, at_ms=self.created_ms
        )
        self.records.insert(0, first)
        self.records = [
            Record(kind=record.kind, data=record.data, seq=seq, at_ms=record.at_ms)
            for seq, record in enumerate(self.records, 1)
        ]

    # -- what the model was sent
    def _response_item(self, payload: Json) -> None:
        if not self._history.add(payload):
            return
        kind, call_id = payload["type"], str(payload.get("call_id"))
        if kind == "function_call":
            self._calls[call_id] = payload
        elif kind == "function_call_output" and (call := self._calls.pop(call_id, None)) is not None:
            if self._is_legacy and (made := command_item(call, payload.get("output"), self.settings.cwd)) is not None:
                self._show(made)
        elif kind == "image_generation_call" and payload.get("result"):
            self._show(wire_item({**payload, "type": "ImageGeneration"}))

    def _compacted(self, payload: Json) -> None:
        self._flush()
        self._add(kinds.COMPACTED, {"history": self._history.compacted(payload)})

    def _flush(self) -> None:
        """What the model was sent since the last record of it."""
        if items := self._history.take():
            self._add(kinds.HISTORY, {"items": items})

    # -- what was shown
    def _event(self, event: Json) -> None:
        kind = str(event.get("type"))
        if kind in _STARTS:
            self._task_started(event)
        elif kind in _ENDS:
            self._task_ended(event)
        elif kind == "turn_aborted":
            self._task_ended(event, "interrupted")
        elif kind == "item_completed":
            self._item_completed(event)
        elif kind == "token_count":
            self._count_tokens(event.get("info"))
        elif kind == "thread_settings_applied":
            if isinstance(told := event.get("thread_settings"), Mapping):
                self._settings(told)
        elif kind == "thread_rolled_back":
            self._roll_back(event.get("num_turns"))
        elif kind == "error":
            self._error = {"message": event.get("message"), "codex_error_info": event.get("codex_error_info")}
        elif kind in ("agent_reasoning", "agent_reasoning_raw_content"):
            self._reason("summary" if kind == "agent_reasoning" else "content", str(event.get("text") or ""))
        else:
            self._legacy_item(kind, event)
        if kind == "thread_name_updated" and isinstance(name := event.get("thread_name"), str):
            self.name = name

    def _legacy_item(self, kind: str, event: Json) -> None:
        if kind.endswith("review_mode"):
            self._in_review = kind == "entered_review_mode"
        elif self._in_review and kind in ("user_message", "agent_message"):
            return
        if kind == "user_message" and (self._turn is None or self._is_implicit):
            self._implicit_turn()
        if isinstance(turn_id := event.get("turn_id"), str) and turn_id not in self._inner and self._turn is None:
            self._start_turn(turn_id, self._at_ms)
        item = event_item(event, self._next_item_id)
        if item is None:
            if kind not in _SILENT_EVENTS:
                self.unknown[kind] += 1
        elif self._turn is not None:
            self._show(item)

    def _item_completed(self, event: Json) -> None:
        turn_id, item = str(event.get("turn_id")), event.get("item")
        if turn_id in self._inner or not isinstance(item, Mapping):
            return
        made = wire_item(item)
        if made is None:
            self.unknown[f"item {item.get('kind') or item.get('type')}"] += 1
            return
        if self._turn != turn_id and turn_id not in self.turns:
            self._start_turn(turn_id, self._at_ms)
        self._show(made, event.get("started_at_ms"), event.get("completed_at_ms"), turn_id=turn_id)

    def _reason(self, member: str, text: str) -> None:
        """Texts of reasoning that follow each other are one item; it is shown when something else comes."""
        if self._reasoning is None:
            self._reasoning = {"type": "reasoning", "id": self._next_item_id(), "summary": [], "content": []}
        self._reasoning[member].append(text)

    def _show(
        self,
        item: dict[str, Any] | None,
        started_ms: Any = None,
        completed_ms: Any = None,
        *,
        turn_id: str | None = None,
    ) -> None:
        if (reasoning := self._reasoning) is not None:
            self._reasoning = None
            self._show(reasoning)
        turn_id = turn_id or self._turn
        if item is None or turn_id is None or item["id"] in self._shown:
            return
        self._shown.add(item["id"])
        at = {
            "startedAtMs": started_ms if type(started_ms) is int else self._at_ms,
            "completedAtMs": completed_ms if type(completed_ms) is int else self._at_ms,
        }
        if item["type"] == "userMessage" and not self.preview:
            texts = [str(part["text"]) for part in item["content"] if part["type"] == "text"]
            self.preview = "\n".join(texts)[:PREVIEW_CHARS]
        self._add(kinds.ITEM_COMPLETED, {"turnId": turn_id, "item": {**item, **at}})

    # -- turns
    def _task_started(self, event: Json) -> None:
        turn_id = str(event.get("turn_id") or self._made_id())
        attribution = event.get("turn_attribution")
        parent = attribution.get("parent_turn_id") if isinstance(attribution, Mapping) else None
        if self._turn is not None and parent == self._turn:
            self._inner.add(turn_id)
        elif turn_id != self._turn:
            started = event.get("started_at")
            self._start_turn(turn_id, started * 1000 if type(started) is int else self._at_ms)

    def _implicit_turn(self) -> None:
        """A turn that nothing announced: the user's words, which were sent just before, belong to it."""
        words = self._history.take_back_words()
        self._start_turn(self._made_id(), self._at_ms)
        self._is_implicit = True
        self._history.give_back(words)

    def _start_turn(self, turn_id: str, started_ms: int) -> None:
        self._cut_off()
        self._flush()
        if self._first_settings is None:
            self._first_settings = to_json(self.settings)
        self._turn, self._started_ms, self._error = turn_id, self._nearer(started_ms), None
        self._shown.clear()
        if not self.turns and not self.records and self._history.base:
            self._add(kinds.HISTORY, {"items": self._history.base})
        self.turns.append(turn_id)
        self.recency_ms = self.updated_ms = self._started_ms
        self._add(kinds.TURN_STARTED, {"turnId": turn_id, "startedAtMs": self._started_ms})

    def _task_ended(self, event: Json, status: str = "completed") -> None:
        turn_id = event.get("turn_id")
        if turn_id in self._inner or self._turn is None or turn_id not in (None, self._turn):
            return
        error = event.get("error") or (self._error if status == "completed" else None)
        self._error = error if isinstance(error, Mapping) else None
        self._end_turn("failed" if self._error is not None else status, event)

    def _cut_off(self) -> None:
        """End a turn whose end nothing tells: it was interrupted, unless no turn of the file tells its end."""
        if self._turn is not None:
            self._end_turn("completed" if self._is_implicit else "interrupted", {})

    def _end_turn(self, status: str, event: Json) -> None:
        self._show(None)
        self._history.answer_calls()
        self._flush()
        lasted = event.get("duration_ms")
        ended_ms = self._started_ms + lasted if type(lasted) is int else max(self._at_ms, self._started_ms)
        self.updated_ms = max(self.updated_ms, ended_ms)
        data = {
            "turnId": self._turn,
            "status": status,
            "error": _turn_error(self._error) if status == "failed" else None,
            "startedAtMs": self._started_ms,
            "completedAtMs": ended_ms,
            "answered": status == "completed",
        }
        self._add(kinds.TURN_COMPLETED, data)
        self._turn, self._error, self._is_implicit = None, None, False
        self._calls.clear()

    def _roll_back(self, count: Any) -> None:
        self._cut_off()
        if type(count) is int and count > 0 and self.turns:
            first = self.turns[-min(count, len(self.turns))]
            del self.turns[self.turns.index(first) :]
            self._flush()
            self._add(kinds.REVERTED, {"beforeTurnId": first})

    # -- the rest
    def _settings(self, told: Json) -> None:
        new = changed(self.settings, told)
        if new == self.settings:
            return
        unset = not self.settings.model
        self.settings = new
        if unset or self._first_settings is None:
            self._first_settings = to_json(new)
        else:
            self._add(kinds.SETTINGS_CHANGED, {"settings": to_json(new)})

    def _count_tokens(self, info: Any) -> None:
        if not isinstance(info, Mapping) or self._turn is None or info == self._usage:
            return
        total, last = _tokens(info.get("total_token_usage")), _tokens(info.get("last_token_usage"))
        if total is None or last is None:
            return
        self._usage = info
        window = info.get("model_context_window")
        self._add(kinds.TOKEN_USAGE, {"turnId": self._turn, "total": total, "last": last, "modelContextWindow": window})

    def _nearer(self, whole_s_ms: int) -> int:
        """A time that was told in whole seconds, with the milliseconds of its line where it is the same second."""
        return self._at_ms if self._at_ms // 1000 == whole_s_ms // 1000 else whole_s_ms

    @property
    def _is_legacy(self) -> bool:
        return self.meta.get("history_mode") != "paginated"

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        self.records.append(Record(kind=kind, data=data, at_ms=self._at_ms))

    def _next_item_id(self) -> str:
        self._numbers += 1
        return f"item-{self._numbers}"

    def _made_id(self) -> str:
        """An id for what has none: the same one, whenever the rollout is read."""
        self._made_ids += 1
        return str(uuid5(NAMESPACE_URL, f"{self.thread_id}/{self._made_ids}"))


def _turn_error(error: Json | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {
        "message": str(error.get("message") or "The turn failed."),
        "codexErrorInfo": camel_keys(error.get("codex_error_info")),
        "additionalDetails": error.get("additional_details"),
    }


def _tokens(usage: Any) -> dict[str, int] | None:
    if not isinstance(usage, Mapping):
        return None
    names: Sequence[tuple[str, str]] = (
        ("totalTokens", "total_tokens"),
        ("inputTokens", "input_tokens"),
        ("cachedInputTokens", "cached_input_tokens"),
        ("cacheWriteInputTokens", "cache_write_input_tokens"),
        ("outputTokens", "output_tokens"),
        ("reasoningOutputTokens", "reasoning_output_tokens"),
    )
    return {ours: int(usage.get(theirs) or 0) for ours, theirs in names}
