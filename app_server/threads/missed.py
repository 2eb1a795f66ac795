"""What a client missed: the notifications of a thread's records, as they were sent live. Pure.

| record | notification |
|---|---|
| settings_changed | thread/settings/updated |
| name_set | thread/name/updated |
| meta_set with a goal, or with a read state | thread/goal/updated, thread/goal/cleared; thread/readState/changed |
| turn_started, turn_completed | turn/started, turn/completed |
| item_started, item_completed | item/started, item/completed: the plain form, without picture bytes |
| token_usage | thread/tokenUsage/updated |
| reverted | thread/reverted |

Live and here, each has the `seq` of its record. Other records have no notification; other notifications no record.
Called by `methods/thread.py` for `thread/resume` with `sinceSeq`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from app_server.errors import InvalidRequest
from app_server.storage import records as kinds
from app_server.threads.replay import ThreadState, TurnState, take
from app_server.threads.settings import thread_settings
from app_server.turns.emitter_forms import completed_params, started_params

if TYPE_CHECKING:
    from app_server.storage.base import Record

MAX_MISSED: Final = 10_000
"""How many records back a client may go on from; who is further behind reads the thread anew."""

Notification = tuple[str, dict[str, Any]]


def check_since(since_seq: int, last_seq: int, *, kept: int = MAX_MISSED) -> None:
    """Raises InvalidRequest `seqGone` for a place that cannot be gone on from: too old, or not of this log."""
    if since_seq > last_seq:
        why = f"the log of this thread ends at {last_seq}"
    elif last_seq - since_seq > kept:
        why = f"only the last {kept} records can be sent again"
    else:
        return
    raise InvalidRequest(
        f"nothing can be sent from sinceSeq {since_seq} on: {why}; resume without sinceSeq and read the thread anew",
        data_code="seqGone",
        data={"lastSeq": last_seq},
    )


def missed(
    thread_id: str, records: Sequence[Record], since_seq: int, known: ThreadState | None = None
) -> tuple[ThreadState, list[Notification]]:
    """The thread as all its records tell it, and the notifications of those after `since_seq`, in order.

    known: what the first of them tell, where that was found out before; it is gone on from, unless the client needs to
    be told of one of those.
    """
    state = known if known is not None and known.last_seq <= since_seq else ThreadState()
    told = list[Notification]()
    for record in records[state.last_seq :]:  # seq counts from 1 without gaps
        shown = step(thread_id, state, record)
        if record.seq > since_seq and shown is not None:
            told.append(shown)
    return state, told


def step(thread_id: str, state: ThreadState, record: Record) -> Notification | None:
    """One more record of the thread: `state` takes it; its notification, or None when it has none."""
    take(state, record)
    shown = _notification(thread_id, state, record)
    return None if shown is None else (shown[0], {**shown[1], "seq": record.seq})


def meta_notification(thread_id: str, changes: Mapping[str, Any]) -> Notification | None:
    """How clients hear of changed members of a thread's meta; most of them are not told."""
    if "goal" in changes:
        goal = changes["goal"]
        if goal is None:
            return "thread/goal/cleared", {"threadId": thread_id}
        return "thread/goal/updated", {"threadId": thread_id, "turnId": None, "goal": goal}
    if "readState" in changes:
        return "thread/readState/changed", {"threadId": thread_id, "readState": changes["readState"]}
    return None


def _notification(thread_id: str, state: ThreadState, record: Record) -> Notification | None:
    """The notification of the record that `state` took last; None when it has none."""
    data, thread = record.data, {"threadId": thread_id}
    match record.kind:
        case kinds.SETTINGS_CHANGED if state.settings is not None:
            return "thread/settings/updated", {**thread, "threadSettings": thread_settings(state.settings)}
        case kinds.NAME_SET:
            return "thread/name/updated", {**thread, "threadName": data["name"]}
        case kinds.META_SET:
            return meta_notification(thread_id, data["meta"])
        case kinds.REVERTED:
            return "thread/reverted", thread
        case kinds.ITEM_STARTED:
            return "item/started", started_params(data["item"], {**thread, "turnId": data["turnId"]})
        case kinds.ITEM_COMPLETED:
            return "item/completed", completed_params(data["item"], {**thread, "turnId": data["turnId"]})
        case kinds.TOKEN_USAGE:
            usage = {name: value for name, value in data.items() if name != "turnId"}
            return "thread/tokenUsage/updated", {**thread, "turnId": data["turnId"], "tokenUsage": usage}
        case kinds.TURN_STARTED | kinds.TURN_COMPLETED if (turn := state.turns.get(data["turnId"])) is not None:
            word = "turn/started" if record.kind == kinds.TURN_STARTED else "turn/completed"
            reason = {"reason": data["reason"]} if "reason" in data else {}
            return word, {**thread, "turn": _turn(turn), **reason}
    return None


def _turn(turn: TurnState) -> dict[str, Any]:
    """A turn as its begin and its end show it: with its last message when it was completed, else without items."""
    final = turn.final_message() if turn.status == "completed" else None
    shown = turn.wire("notLoaded")
    return shown if final is None else {**shown, "items": [final], "itemsView": "summary"}
