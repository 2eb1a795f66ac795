"""From records to what a thread was, and how a turn that a crash left open is closed, wherever it was cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.threads.replay import (
    ThreadState,
    TurnState,
    advance,
    closing_records,
    item_entries,
    replay,
    turn_objects,
)
from app_server.threads.settings import to_json
from app_server.turns.context import Settings
from app_server.turns.history import unanswered_calls

NOW_MS = 9_000
SETTINGS = Settings(model="m", model_provider="p", cwd="/w")
USAGE = {"turnId": "t1", "total": {"totalTokens": 3}, "last": {"totalTokens": 3}, "modelContextWindow": None}
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def numbered(*records: Record) -> list[Record]:
    return [replace(record, seq=number) for number, record in enumerate(records, 1)]


def thread_started() -> Record:
    return Record(kind=kinds.THREAD_STARTED, data={"settings": to_json(SETTINGS)})


def turn_started(turn_id: str = "t1", at_ms: int = 1_000) -> Record:
    return Record(kind=kinds.TURN_STARTED, data={"turnId": turn_id, "startedAtMs": at_ms})


def turn_completed(turn_id: str = "t1", status: str = "completed") -> Record:
    data = {"turnId": turn_id, "status": status, "error": None, "startedAtMs": 1_000, "completedAtMs": 3_500}
    return Record(kind=kinds.TURN_COMPLETED, data=data)


def item(item_id: str, kind: str, **members: Any) -> dict[str, Any]:
    return {"id": item_id, "type": kind, "startedAtMs": 1_100, "completedAtMs": None, **members}


def started(value: Mapping[str, Any], turn_id: str = "t1") -> Record:
    return Record(kind=kinds.ITEM_STARTED, data={"turnId": turn_id, "item": dict(value)})


def completed(value: Mapping[str, Any], turn_id: str = "t1") -> Record:
    final = {**value, "completedAtMs": value["completedAtMs"] or 1_200}
    return Record(kind=kinds.ITEM_COMPLETED, data={"turnId": turn_id, "item": final})


def history(*items: Mapping[str, Any]) -> Record:
    return Record(kind=kinds.HISTORY, data={"items": [dict(each) for each in items]})


def call(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    return {"type": kind, "id": f"fc_{call_id}", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str, kind: str = "function_call_output") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id, "output": "done"}


def without_ids(records: Sequence[Record]) -> list[tuple[str, Any]]:
    """Kind and data of records; ids of history items, which are new each time, are left out."""
    return [
        (
            record.kind,
            {"items": [{k: v for k, v in each.items() if k != "id"} for each in record.data["items"]]}
            if record.kind == kinds.HISTORY
            else record.data,
        )
        for record in records
    ]


def test_a_thread_is_what_its_records_say() -> None:
    user, message = item("u", "userMessage", content=[]), item("m", "agentMessage", text="hi")
    changed = replace(SETTINGS, model="other", effort="high")
    state = replay(
        numbered(
            thread_started(),
            Record(kind=kinds.SETTINGS_CHANGED, data={"settings": to_json(changed)}),
            turn_started(),
            started(user),
            completed(user),
            history({"type": "message", "role": "user"}),
            started({**message, "text": ""}),
            completed(message),
            history({"type": "message", "role": "assistant"}),
            Record(kind=kinds.TOKEN_USAGE, data=USAGE),
            turn_completed(),
            Record(kind=kinds.NAME_SET, data={"name": "n"}),
            Record(kind=kinds.ARCHIVED_SET, data={"archived": True}),
            Record(kind="kind_of_a_later_release", data={}),
        )
    )
    assert state == ThreadState(
        settings=changed,
        history=[{"type": "message", "role": "user"}, {"type": "message", "role": "assistant"}],
        turns={
            "t1": TurnState(
                turn_id="t1",
                started_at_ms=1_000,
                status="completed",
                completed_at_ms=3_500,
                items={"u": {**user, "completedAtMs": 1_200}, "m": {**message, "completedAtMs": 1_200}},
            )
        },
        usage=USAGE,
        context_tokens=USAGE["last"]["totalTokens"],
        last_seq=14,
    )
    assert closing_records(state, NOW_MS) == []


def test_a_turn_shows_all_its_items_or_the_first_and_last_words_or_none() -> None:
    values = [
        item("u1", "userMessage"),
        item("m1", "agentMessage", text="a"),
        item("u2", "userMessage"),
        item("m2", "agentMessage", text="b"),
        item("m3", "agentMessage", text="c", status="dropped"),
    ]
    state = replay(numbered(thread_started(), turn_started(), *map(completed, values), turn_completed()))
    frame = {
        "id": "t1",
        "rootTurnId": "t1",
        "status": "completed",
        "error": None,
        "startedAt": 1,
        "completedAt": 3,
        "durationMs": 2_500,
    }
    full = [{**each, "completedAtMs": 1_200} for each in values]
    assert turn_objects(state, "full") == [{**frame, "itemsView": "full", "items": full}]
    assert turn_objects(state, "summary") == [{**frame, "itemsView": "summary", "items": [full[0], full[3]]}]
    assert turn_objects(state, "notLoaded") == [{**frame, "itemsView": "notLoaded", "items": []}]
    assert item_entries(state.turns.values()) == [
        {"turnId": "t1", "item": each, "startedAtMs": 1_100, "completedAtMs": 1_200} for each in full
    ]


def test_an_item_keeps_the_place_at_which_it_began() -> None:
    first, second = item("a", "imageGeneration", status="in_progress"), item("b", "agentMessage", text="")
    done = {**first, "status": "completed"}
    state = replay(
        numbered(thread_started(), turn_started(), started(first), started(second), completed(second), completed(done))
    )
    assert list(state.turns["t1"].items) == ["a", "b"]
    assert state.turns["t1"].items["a"]["status"] == "completed"
    assert state.turns["t1"].open_items == set()


@pytest.mark.parametrize(
    ("begun", "final"),
    [
        (
            item("x", "agentMessage", text="", phase=None),
            item("x", "agentMessage", text="", phase="commentary", status="dropped"),
        ),
        (item("x", "reasoning", summary=[], content=[]), item("x", "reasoning", summary=[], content=[])),
        (item("x", "userMessage", content=[]), item("x", "userMessage", content=[])),
        (
            item("x", "imageGeneration", status="in_progress", result=""),
            item(
                "x",
                "imageGeneration",
                status="failed",
                result="",
                error={
                    "type": "cancelled",
                    "message": "The server stopped before the picture was asked for.",
                },
            ),
        ),
        (item("x", "kindOfALaterRelease", some=1), item("x", "kindOfALaterRelease", some=1)),
    ],
)
def test_an_open_item_is_closed_as_its_kind_wants(begun: dict[str, Any], final: dict[str, Any]) -> None:
    closing = closing_records(replay(numbered(thread_started(), turn_started(), started(begun))), NOW_MS)
    assert closing[0] == Record(
        kind=kinds.ITEM_COMPLETED, data={"turnId": "t1", "item": {**final, "completedAtMs": NOW_MS}}
    )
    assert [record.kind for record in closing[1:]] == [kinds.HISTORY, kinds.TURN_COMPLETED]


def test_a_picture_that_may_have_been_paid_for_has_an_unknown_outcome_and_is_not_asked_for_again() -> None:
    begun = item("c1", "imageGeneration", status="in_progress", result="")
    paid = Record(kind=kinds.PAID_CALL, data={"turnId": "t1", "itemId": "c1", "key": "k"})
    state = replay(numbered(thread_started(), turn_started(), history(call("c1")), started(begun), paid))
    shown, answered, _ = closing_records(state, NOW_MS)
    assert shown.data["item"] == {
        **begun,
        "completedAtMs": NOW_MS,
        "status": "failed",
        "error": {
            "type": "unknownOutcome",
            "message": "The server stopped while the picture was being made; whether it was made is not known.",
        },
    }
    assert "it was not asked for again" in answered.data["items"][0]["output"]


def test_a_picture_that_was_made_before_its_output_was_lost_is_told_with_its_file() -> None:
    done = item("c1", "imageGeneration", status="completed", savedPath="/p/c1.png", handle="img_3")
    state = replay(numbered(thread_started(), turn_started(), history(call("c1")), completed(done)))
    answered, _ = closing_records(state, NOW_MS)
    assert answered.data["items"][0]["output"] == (
        "the picture img_3 was made and saved at /p/c1.png, and the user has seen it; then the server stopped"
    )


def test_the_highest_handle_is_found_wherever_pictures_stand() -> None:
    state = replay(
        numbered(
            thread_started(),
            history({"type": "message", "content": [{"type": "input_image", "handle": "img_2"}]}),
            history({"type": "function_call_output", "output": [{"type": "input_image", "handle": "img_7"}]}),
            history({"type": "image_generation_call", "handle": "img_5"}),
            history({"type": "call_of_tomorrow", "output": ["img_99", None], "handle": "photo 9", "content": None}),
            turn_started(),
            completed(item("a", "imageGeneration", handle="img_8")),
        )
    )
    assert state.handles == 8


def test_an_open_turn_is_closed_as_interrupted_with_its_calls_answered_in_order() -> None:
    state = replay(
        numbered(
            thread_started(),
            turn_started(),
            history(call("c1"), call("c2"), call("c3", "custom_tool_call"), output("c2")),
        )
    )
    lost = "the server stopped before this call ended; what it did is not known"
    (kind, answers), end = without_ids(closing_records(state, NOW_MS))
    *outputs, note = answers["items"]
    assert (kind, outputs) == (
        kinds.HISTORY,
        [
            {"type": "function_call_output", "call_id": "c1", "output": lost},
            {"type": "custom_tool_call_output", "call_id": "c3", "output": lost},
        ],
    )
    assert (note["role"], note["content"][0]["text"].splitlines()[0]) == ("user", "<turn_aborted>")
    assert end == (
        kinds.TURN_COMPLETED,
        {
            "turnId": "t1",
            "status": "interrupted",
            "error": None,
            "startedAtMs": 1_000,
            "completedAtMs": NOW_MS,
            "answered": False,
        },
    )


def test_every_turn_that_was_left_open_is_closed() -> None:
    records = numbered(
        thread_started(),
        turn_started("t1"),
        started(item("a", "agentMessage", text=""), "t1"),
        turn_started("t2", 2_000),
        started(item("b", "agentMessage", text=""), "t2"),
    )
    state = replay(records)
    closed = advance(state, closing_records(state, NOW_MS))
    assert closed.open_turn() is None
    assert [(turn.status, turn.open_items) for turn in closed.turns.values()] == [("interrupted", set())] * 2


def test_going_on_from_a_part_tells_the_same_as_all_at_once() -> None:
    whole = [turn_started("t1"), completed(item("a", "agentMessage", text="hi")), turn_completed("t1")]
    cut = [turn_started("t2"), started(item("b", "agentMessage", text=""), "t2"), history(call("c"))]
    records = numbered(thread_started(), *whole, *cut)
    parts = advance(replay(records[:3]), records[3:])
    assert parts == replay(records)
    assert parts.last_seq == len(records)


STEPS = st.lists(
    st.sampled_from(["message", "reasoning", "picture", "call", "custom call", "parallel calls", "usage"]), max_size=8
)


def turn_of(turn_id: str, steps: Sequence[str], status: str) -> list[Record]:
    """The records of a valid turn, in the order in which a running one writes them."""
    user = item(f"{turn_id}-user", "userMessage", content=[])
    out = [turn_started(turn_id), started(user, turn_id), completed(user, turn_id), history({"type": "message"})]
    for number, step in enumerate(steps):
        name = f"{turn_id}-{number}"
        match step:
            case "message" | "reasoning":
                kind = "agentMessage" if step == "message" else "reasoning"
                value = item(name, kind, text="")
                out += [started(value, turn_id), completed(value, turn_id), history({"type": step, "id": name})]
            case "picture":
                value = item(name, "imageGeneration", status="in_progress")
                paid = Record(kind=kinds.PAID_CALL, data={"turnId": turn_id, "itemId": name, "key": "k"})
                out += [history(call(name)), started(value, turn_id), paid]
                out += [completed(value, turn_id), history(output(name))]
            case "call":
                out += [history(call(name)), history(output(name))]
            case "custom call":
                out += [
                    history(call(name, "custom_tool_call")),
                    history(output(name, "custom_tool_call_output")),
                ]
            case "parallel calls":
                both = [item(f"{name}{side}", "imageGeneration", status="in_progress") for side in "ab"]
                out += [history(call(f"{name}a")), started(both[0], turn_id), history(call(f"{name}b"))]
                out += [started(both[1], turn_id), completed(both[1], turn_id), completed(both[0], turn_id)]
                out += [history(output(f"{name}a"), output(f"{name}b"))]
            case _:
                out += [Record(kind=kinds.TOKEN_USAGE, data={**USAGE, "turnId": turn_id})]
    return [*out, turn_completed(turn_id, status)]


@patient
@given(STEPS, STEPS, st.sampled_from(["completed", "failed"]), st.data())
def test_any_prefix_of_a_thread_can_be_closed_so_that_nothing_is_open_or_unanswered(
    first: list[str], second: list[str], status: str, data: st.DataObject
) -> None:
    records = numbered(thread_started(), *turn_of("t1", first, status), *turn_of("t2", second, "completed"))
    prefix = records[: data.draw(st.integers(1, len(records)))]
    before = replay(prefix)
    shown = {turn_id: set(turn.items) for turn_id, turn in before.turns.items()}
    ended = {turn_id for turn_id, turn in before.turns.items() if turn.status != "inProgress"}
    kept = list(before.history)
    closing = closing_records(before, NOW_MS)
    again = replay([*prefix, *numbered(*closing)])
    assert bool(closing) == (len(ended) < len(shown))
    assert again.open_turn() is None
    assert all(not turn.open_items for turn in again.turns.values())
    assert unanswered_calls(again.history) == []
    assert {turn_id: set(turn.items) for turn_id, turn in again.turns.items()} == shown
    assert again.history[: len(kept)] == kept, "what the model was sent stays as it was"
    assert all(each["completedAtMs"] is not None for turn in again.turns.values() for each in turn.items.values())
    assert closing_records(again, NOW_MS) == []
    closed = advance(before, closing)
    assert (closed.turns, closed.history) == (again.turns, again.history)
