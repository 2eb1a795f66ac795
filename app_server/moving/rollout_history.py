"""What the model was sent, as a rollout tells it: response items, without what the reference keeps for itself. Pure.

Base instructions come first; the API refuses a call without an output, so what a broken turn left open is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from app_server.moving.rollout_items import Json
from app_server.turns.history import Item, note_call

_NOT_SENT: Final = frozenset({"additional_tools", "ghost_snapshot"})
"""Response items that are told anew with each request, or were never for the model."""
_OWN_MEMBERS: Final = frozenset({"internal_chat_message_metadata_passthrough", "metadata"})


class RolloutHistory:
    """Collects items until they are taken into a record."""

    def __init__(self, meta: Json, make_id: Callable[[], str]) -> None:
        self._make_id = make_id
        self.base = self._base_message(meta.get("base_instructions") or meta.get("instructions"))
        self._pending: list[Item] = []
        self._words: list[Item] = []
        """The user's messages so far, for a compaction that does not bring its own history."""
        self._open_calls: dict[str, Item] = {}

    def add(self, payload: Json) -> bool:
        """One response item; False when it is none that is sent again."""
        kind = payload.get("type")
        if kind in _NOT_SENT or not isinstance(kind, str):
            return False
        item = {key: value for key, value in payload.items() if key not in _OWN_MEMBERS and value is not None}
        if kind == "reasoning":
            item = {"content": None, "encrypted_content": None, **item}
        self._pending.append(item)
        note_call(self._open_calls, item)
        return True

    def take(self) -> list[Item]:
        """What came since it was taken last."""
        taken, self._pending = self._pending, []
        self._words += [_in_words(item) for item in taken if item.get("role") == "user"]
        return taken

    def compacted(self, payload: Json) -> list[Item]:
        """The history that goes on from a compaction."""
        kept = payload.get("replacement_history")
        self._open_calls.clear()
        if not isinstance(kept, list):
            return [*self.base, *self._words, self._message("user", str(payload.get("message") or ""))]
        items = [item for item in kept if isinstance(item, Mapping)]
        return [*self.base, *({key: item[key] for key in item if key not in _OWN_MEMBERS} for item in items)]

    def take_back_words(self) -> list[Item]:
        """The user's message, if it came last: it belongs to the turn that it begins."""
        return [self._pending.pop()] if self._pending and self._pending[-1].get("role") == "user" else []

    def give_back(self, items: list[Item]) -> None:
        self._pending += items

    def answer_calls(self) -> None:
        """Answer each call that has no output."""
        for call_id, call in self._open_calls.items():
            output = {"type": f"{call['type']}_output", "id": f"out_{self._make_id()}", "call_id": call_id}
            self._pending.append({**output, "output": "the outcome of this call was not recorded"})
        self._open_calls.clear()

    def _base_message(self, given: Any) -> list[Item]:
        text = given.get("text") if isinstance(given, Mapping) else given
        return [self._message("developer", text)] if isinstance(text, str) and text else []

    def _message(self, role: str, text: str) -> dict[str, Any]:
        content = [{"type": "input_text", "text": text}]
        return {"type": "message", "id": f"msg_{self._make_id()}", "role": role, "content": content}


def _in_words(item: Item) -> Item:
    """A message without its pictures."""
    parts = item.get("content")
    if not isinstance(parts, list):
        return item
    words = [part for part in parts if isinstance(part, Mapping) and part.get("type") == "input_text"]
    return {**item, "content": words}
