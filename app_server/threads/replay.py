"""From a thread's records to what it was: settings, history, turns, usage, and what a crash left open. Pure.

`closing_records` is what a new owner appends before it goes on: open items completed, the open turn closed as
interrupted, calls without an output answered. Nothing is ever repeated by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.threads.settings import from_json
from app_server.turns.history import call_output, turn_aborted_note, unanswered_calls
from app_server.values import field, slotted

if TYPE_CHECKING:
    from app_server.pictures.rescue import Rescued
    from app_server.turns.context import Settings

HANDLE_PREFIX = "img_"
FULL_CONTEXT = 2**53
OWNER_LOST = "ownerLost"
"""Why a turn was interrupted that nobody ended: the process that ran it is gone, or lost the thread."""


@slotted(kw_only=True)
class TurnState:
    """One turn as its records tell it. `items` are wire objects in the order in which they began."""

    turn_id: str
    started_at_ms: int | None
    status: str = "inProgress"
    error: Mapping[str, Any] | None = None
    completed_at_ms: int | None = None
    items: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    open_items: set[str] = field(default_factory=set)
    history_start: int = 0
    """How many history items there were before it."""
    window_start: int = 0

    def final_message(self) -> Mapping[str, Any] | None:
        """The last whole agentMessage."""
        messages = [i for i in self.items.values() if i.get("type") == "agentMessage" and i.get("status") != "dropped"]
        return messages[-1] if messages else None

    def wire(self, view: str) -> dict[str, Any]:
        """The protocol's Turn, with all items (`full`), first user and last agent message (`summary`), or none."""
        match view:
            case "full":
                items = list(self.items.values())
            case "summary":
                user = [item for item in self.items.values() if item.get("type") == "userMessage"][:1]
                final = self.final_message()
                items = [*user, *([final] if final else [])]
            case _:
                items = []
        done = self.completed_at_ms
        return {
            "id": self.turn_id,
            "rootTurnId": self.turn_id,
            "items": items,
            "itemsView": view,
            "status": self.status,
            "error": self.error,
            "startedAt": self.started_at_ms // 1000 if self.started_at_ms is not None else None,
            "completedAt": done // 1000 if done is not None else None,
            "durationMs": done - self.started_at_ms if done is not None and self.started_at_ms is not None else None,
        }


@slotted(kw_only=True)
class ThreadState:
    """A whole thread as its records tell it."""

    settings: Settings | None = None
    history: list[Mapping[str, Any]] = field(default_factory=list)
    turns: dict[str, TurnState] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None
    """The last token_usage record: {turnId, total, last, modelContextWindow}."""
    windows: list[list[Mapping[str, Any]]] = field(default_factory=list)
    """The histories that compactions replaced, oldest first."""
    context_tokens: int = 0
    """Tokens of the last response's whole context; FULL_CONTEXT after it did not fit."""
    handles: int = 0
    """The highest number of a picture's handle."""
    paid: set[str] = field(default_factory=set)
    """Items for which money may have been spent."""
    last_seq: int = 0
    handed_over: Mapping[str, Any] | None = None
    """What the last record says, when it hands the open turn over."""

    @property
    def window(self) -> int:
        """How often the history was compacted."""
        return len(self.windows)

    def open_turn(self) -> TurnState | None:
        """The turn that has not ended, if any."""
        return next((turn for turn in self.turns.values() if turn.status == "inProgress"), None)


def replay(records: Iterable[Record]) -> ThreadState:
    """What records tell, from the first one on."""
    return advance(ThreadState(), records)


def advance(state: ThreadState, records: Iterable[Record]) -> ThreadState:
    """The same state, with the records that come next."""
    for record in records:
        take(state, record)
    return state


def take(state: ThreadState, record: Record) -> None:
    """One more record, in order; one that is not stored yet has no seq. What most records are is asked first."""
    data = record.data
    state.last_seq = record.seq or state.last_seq
    state.handed_over = None
    match record.kind:
        case kinds.ITEM_STARTED | kinds.ITEM_COMPLETED as kind:
            _take_item(state, data["turnId"], data["item"], is_open=kind == kinds.ITEM_STARTED)
        case kinds.HISTORY:
            state.history.extend(data["items"])
            state.handles = max(state.handles, _highest_handle(data["items"]))
        case kinds.TOKEN_USAGE:
            state.usage, state.context_tokens = data, data["last"]["totalTokens"]
        case kinds.TURN_STARTED:
            state.turns[data["turnId"]] = TurnState(
                turn_id=data["turnId"],
                started_at_ms=data["startedAtMs"],
                history_start=len(state.history),
                window_start=state.window,
            )
        case kinds.TURN_COMPLETED:
            _end_turn(state, data)
        case kinds.THREAD_STARTED | kinds.SETTINGS_CHANGED:
            state.settings = from_json(data["settings"])
        case kinds.COMPACTED:
            state.windows.append(state.history)
            state.history, state.context_tokens = list(data["history"]), 0
        case kinds.REVERTED:
            _revert(state, data["beforeTurnId"])
        case kinds.HANDED_OVER:
            state.handed_over = data
        case kinds.PAID_CALL:
            state.paid.add(data["itemId"])
        case kinds.PICTURE_REMOVED:
            if (owner := state.turns.get(data["turnId"])) is not None and (item := owner.items.get(data["itemId"])):
                kept = {name: value for name, value in item.items() if name != "savedPath"}
                owner.items[data["itemId"]] = {**kept, "removed": data["reason"]}


def _take_item(state: ThreadState, turn_id: str, item: Mapping[str, Any], *, is_open: bool) -> None:
    if (turn := state.turns.get(turn_id)) is None:
        return
    turn.items[item["id"]] = item
    if handle := item.get("handle"):
        state.handles = max(state.handles, _handle_number(handle))
    if is_open:
        turn.open_items.add(item["id"])
    else:
        turn.open_items.discard(item["id"])


def _end_turn(state: ThreadState, data: Mapping[str, Any]) -> None:
    state.paid.clear()
    if is_context_overflow(data["error"]):
        state.context_tokens = FULL_CONTEXT
    if (ended := state.turns.get(data["turnId"])) is not None:
        ended.status, ended.error, ended.completed_at_ms = data["status"], data["error"], data["completedAtMs"]
        if ended.started_at_ms is None:
            ended.started_at_ms = data.get("startedAtMs")


def _revert(state: ThreadState, turn_id: str) -> None:
    """Forget a turn and all later ones, and what they brought into the history."""
    turn = state.turns.get(turn_id)
    if turn is None:
        return
    ids = list(state.turns)
    for later in ids[ids.index(turn_id) :]:
        del state.turns[later]
    if turn.window_start < state.window:
        state.history = state.windows[turn.window_start]
        del state.windows[turn.window_start :]
    del state.history[turn.history_start :]
    state.context_tokens = 0


def is_context_overflow(error: Mapping[str, Any] | None) -> bool:
    """Whether a turn failed because the conversation did not fit the model's window."""
    return error is not None and error.get("codexErrorInfo") == "contextWindowExceeded"


def _highest_handle(items: Iterable[Mapping[str, Any]]) -> int:
    """The highest number of a handle in history items; 0 where there is none."""
    highest = 0
    for item in items:
        parts = item.get("content") or item.get("output")
        for part in (item, *parts) if isinstance(parts, list) else (item,):
            if isinstance(part, dict) and (handle := part.get("handle")):
                highest = max(highest, _handle_number(handle))
    return highest


def _handle_number(handle: Any) -> int:
    digits = handle.removeprefix(HANDLE_PREFIX) if isinstance(handle, str) else ""
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def open_pictures(state: ThreadState) -> list[Mapping[str, Any]]:
    """Items of pictures that have no end yet."""
    return [
        turn.items[item_id]
        for turn in state.turns.values()
        if turn.status == "inProgress"
        for item_id in turn.items
        if item_id in turn.open_items and turn.items[item_id].get("type") == "imageGeneration"
    ]


def closing_records(
    state: ThreadState,
    now_ms: int,
    rescued: Mapping[str, Rescued] = MappingProxyType({}),
    *,
    reason: str | None = None,
) -> list[Record]:
    """What closes the turns that a dead process, or a full disk, left open; empty when nothing is open.

    rescued: by item, pictures that were saved and not recorded: their items are completed.
    reason: why the turns are over, for clients.
    """
    turns = [turn for turn in state.turns.values() if turn.status == "inProgress"]
    if not turns:
        return []
    handles = {item_id: f"{HANDLE_PREFIX}{state.handles + number}" for number, item_id in enumerate(rescued, 1)}
    items = {item_id: item for turn in turns for item_id, item in turn.items.items()}
    closed: list[Record] = []
    for turn in turns:
        for item_id in (item_id for item_id in turn.items if item_id in turn.open_items):
            data: dict[str, Any] = {"turnId": turn.turn_id}
            if (found := rescued.get(item_id)) is not None:
                data |= {"item": _kept(turn.items[item_id], now_ms, found, handles[item_id])}
                data |= {"picture": found.picture.ref.to_json()}
            else:
                data |= {"item": _closed(turn.items[item_id], now_ms, paid=item_id in state.paid)}
            items[item_id] = data["item"]
            closed.append(Record(kind=kinds.ITEM_COMPLETED, data=data))
    answers: list[Mapping[str, Any]] = [
        call_output(call, _answer(items.get(str(call.get("call_id"))), str(call.get("call_id")) in state.paid))
        for call in unanswered_calls(state.history)
    ]
    answers.append(turn_aborted_note())
    end: dict[str, Any] = {"status": "interrupted", "error": None, "completedAtMs": now_ms, "answered": False}
    if reason is not None:
        end["reason"] = reason
    return [
        *closed,
        Record(kind=kinds.HISTORY, data={"items": answers}),
        *(
            Record(kind=kinds.TURN_COMPLETED, data={"turnId": turn.turn_id, "startedAtMs": turn.started_at_ms, **end})
            for turn in turns
        ),
    ]


def _answer(item: Mapping[str, Any] | None, paid: bool) -> str:
    """What the model is told of a call whose output was lost: a picture that was made is not asked for again."""
    if item is not None and item.get("type") == "imageGeneration" and item.get("status") == "completed":
        where = f" and saved at {item['savedPath']}" if item.get("savedPath") else ""
        name = f" {item['handle']}" if item.get("handle") else ""
        return f"the picture{name} was made{where}, and the user has seen it; then the server stopped"
    if paid:
        return (
            "the server stopped while the picture was being made; whether it was made and paid for is not known, "
            "and it was not asked for again: ask the user before you do"
        )
    return "the server stopped before this call ended; what it did is not known"


def _kept(item: Mapping[str, Any], now_ms: int, found: Rescued, handle: str) -> dict[str, Any]:
    """The final form of a picture that was saved before its maker died."""
    ref = found.picture.ref
    return {
        **item,
        "completedAtMs": now_ms,
        "status": "completed",
        **({"savedPath": str(found.path)} if found.path is not None else {}),
        "mimeType": ref.mime,
        "bytes": ref.size_bytes,
        "width": ref.width,
        "height": ref.height,
        "hasAlpha": found.picture.has_alpha,
        "sha256": ref.sha256,
        "handle": handle,
    }


def _closed(item: Mapping[str, Any], now_ms: int, *, paid: bool) -> dict[str, Any]:
    """The final form of an item whose maker died."""
    final = {**item, "completedAtMs": now_ms}
    match item.get("type"):
        case "agentMessage":
            final |= {"phase": "commentary", "status": "dropped"}
        case "imageGeneration":
            if paid:
                text = "The server stopped while the picture was being made; whether it was made is not known."
                error = {"type": "unknownOutcome", "message": text}
            else:
                error = {"type": "cancelled", "message": "The server stopped before the picture was asked for."}
            final |= {"status": "failed", "error": error}
    return final


def turn_objects(state: ThreadState, view: str) -> list[dict[str, Any]]:
    """All turns in order, as wire objects."""
    return [turn.wire(view) for turn in state.turns.values()]


def item_entries(turns: Iterable[TurnState]) -> list[dict[str, Any]]:
    """All items in order, as rows of thread/items/list."""
    return [
        {
            "turnId": turn.turn_id,
            "item": item,
            "startedAtMs": item.get("startedAtMs"),
            "completedAtMs": item.get("completedAtMs"),
        }
        for turn in turns
        for item in turn.items.values()
    ]
