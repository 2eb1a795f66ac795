"""Who comes in the middle of a turn: what is open then, told as if the client had been there since it began. Pure.

    thread/read and the lists           finished items alone
    turns in a reply of thread/resume   open items as well, but no message or reasoning that is being streamed
    behind that reply                   `item/started` of each open item that the client was not told of, without a
                                        `seq`, and what was streamed of it so far, in one piece

So text is never shown twice, and none is missing. `LiveThread` keeps the pieces, `methods/thread.py` tells them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from app_server.threads.replay import ThreadState
from app_server.turns.emitter_forms import started_params

STREAMED: Final = frozenset({"agentMessage", "reasoning"})
"""Items that come piece by piece from the model; the reference shows them in no snapshot before their end."""
_PART_BEGINS: Final = "item/reasoning/summaryPartAdded"
Notification = tuple[str, dict[str, Any]]
_Key = tuple[str, Any, Any]


class Pieces:
    """What was streamed of the items that are open: text, reasoning, a command's output. Progress is not kept."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[_Key, Mapping[str, Any], list[str]]]] = {}

    def add(self, method: str, params: Mapping[str, Any]) -> None:
        """One more piece, as it is sent to subscribers."""
        delta = params.get("delta")
        if delta is None and method != _PART_BEGINS:
            return
        rows = self._rows.setdefault(params["itemId"], [])
        key = (method, params.get("summaryIndex"), params.get("contentIndex"))
        if not rows or rows[-1][0] != key:
            rows.append((key, params, []))
        if delta is not None:
            rows[-1][2].append(delta)

    def of(self, item_id: str) -> list[Notification]:
        """All of an item, neighbours of one kind as one piece."""
        told = ((key[0], params, "".join(texts)) for key, params, texts in self._rows.get(item_id, ()))
        return [(method, {**params, "delta": text} if text else dict(params)) for method, params, text in told]

    def all(self) -> list[Notification]:
        """All of every open item."""
        return [told for item_id in self._rows for told in self.of(item_id)]

    def ended(self, item_id: str) -> None:
        """The item is complete: whoever reads the log has all of it."""
        self._rows.pop(item_id, None)

    def clear(self) -> None:
        """The turn is over."""
        self._rows.clear()


def opened(
    thread_id: str, state: ThreadState, pieces: Pieces, known: Callable[[Mapping[str, Any]], bool]
) -> list[Notification]:
    """What brings a client up to this moment. `known`: whether it has, or is about to get, the item's beginning."""
    told: list[Notification] = []
    for turn in state.turns.values():
        for item_id, item in turn.items.items():
            if item_id in turn.open_items:
                if not known(item):
                    told.append(("item/started", started_params(item, {"threadId": thread_id, "turnId": turn.turn_id})))
                told += pieces.of(item_id)
    return told


def hide_open(state: ThreadState, types: Collection[str] | None = None) -> ThreadState:
    """The same state without its open items; `types`: those of these types alone."""
    for turn in state.turns.values():
        for item_id in [one for one in turn.items if one in turn.open_items]:
            if types is None or turn.items[item_id].get("type") in types:
                del turn.items[item_id]
    return state
