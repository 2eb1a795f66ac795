"""What a cluster run would call a fault: each of them is made here, in a log and a client that are right otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from app_server.storage import records as kinds
from app_server.storage.base import Record
from tests.cluster.client import Asked, Seen
from tests.cluster.judgement import StoredPicture, faults, picture_fault, stored_pictures
from tests.cluster.latency import Owners, by_place, takeovers
from tests.cluster.stored import Provided, StoredThread
from tests.cluster.trouble import Blow
from tests.cluster.words import is_part, key_of, picture, pieces, whole_text

KEY = "t1.1"
USER = {"type": "userMessage", "id": "u1", "content": [], "startedAtMs": 1, "completedAtMs": 1}
SAID = {"type": "agentMessage", "id": "m1", "text": whole_text(KEY), "startedAtMs": 1, "completedAtMs": 1}
ENDED = {"turnId": "a", "status": "completed", "error": None, "startedAtMs": 1, "completedAtMs": 2}
LOG: tuple[tuple[str, dict[str, Any]], ...] = (
    (kinds.META_SET, {"meta": {}}),
    (kinds.TURN_STARTED, {"turnId": "a", "startedAtMs": 1}),
    (kinds.ITEM_STARTED, {"turnId": "a", "item": USER}),
    (kinds.ITEM_COMPLETED, {"turnId": "a", "item": USER}),
    (kinds.ITEM_STARTED, {"turnId": "a", "item": SAID}),
    (kinds.ITEM_COMPLETED, {"turnId": "a", "item": SAID}),
    (kinds.TURN_COMPLETED, ENDED),
)
ASKED = Provided(asked={KEY: 1})


def thread(rows: tuple[tuple[str, dict[str, Any]], ...] = LOG, **changes: Any) -> StoredThread:
    records = tuple(Record(kind=kind, data=data, seq=seq, at_ms=seq * 1000) for seq, (kind, data) in enumerate(rows, 1))
    return replace(StoredThread(thread_id="1", records=records, lease_last_seq=len(records), epoch=1), **changes)


def client() -> Seen:
    seen = Seen("one", thread_id="1", acknowledged={"a": KEY})
    for seq, method in thread().told():
        seen.rows.append((seq, method))
        seen.last_seq = seq
    seen.items = {4: USER, 6: SAID}
    seen.streamed.append((whole_text(KEY), whole_text(KEY)))
    return seen


def found(stored: StoredThread | None = None, seen: Seen | None = None, asked: Provided = ASKED) -> str:
    return "\n".join(faults({"1": stored or thread()}, [seen or client()], asked))


def test_a_good_run_has_no_fault() -> None:
    assert found() == ""


def without(*places: int) -> tuple[tuple[str, dict[str, Any]], ...]:
    return tuple(row for place, row in enumerate(LOG) if place not in places)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (thread(records=thread().records[1:]), "are not numbered"),
        (thread(lease_last_seq=9), "the lease says last_seq 9"),
        (thread(without(6)), "was left open"),
        (thread((*LOG, LOG[1])), "it began before"),
        (thread((*LOG, (kinds.PAID_CALL, {"turnId": "a", "itemId": "m1"}))), "the turn had ended"),
        (thread(without(1)), "the turn had not begun"),
        (thread((*LOG[:6], (kinds.TURN_COMPLETED, {**ENDED, "status": "failed"}))), "it failed"),
        (thread((*LOG[:6], (kinds.TURN_COMPLETED, {**ENDED, "status": "interrupted"}))), "nobody asked for that"),
        (thread(without(5)), "item m1 began 1 times and ended 0 times"),
        (thread((*LOG[:5], (LOG[5][0], {"turnId": "a", "item": {**SAID, "text": "t1.1.0 "}}), LOG[6])), "not whole"),
    ],
)
def test_a_log_that_is_not_right_is_found(stored: StoredThread, words: str) -> None:
    assert words in found(stored)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda seen: seen.rows.pop(1), "it missed [(3, 'item/started')]"),
        (lambda seen: seen.take("turn/started", {"threadId": "1", "seq": 2, "turn": {"id": "a"}}), "came again"),
        (lambda seen: seen.items.update({6: {**SAID, "text": "other"}}), "was shown as"),
        (lambda seen: seen.streamed.append(("t1.1.0 t1.1.0 ", whole_text(KEY))), "twice or out of order"),
        (lambda seen: seen.acknowledged.update(b="t1.2"), "was acknowledged, and is not in the log"),
        (lambda seen: seen.stuck.append("the end"), "still waited for the end"),
    ],
)
def test_a_client_that_saw_what_is_not_so_is_found(change: Callable[[Seen], object], words: str) -> None:
    seen = client()
    change(seen)
    assert words in found(seen=seen)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Provided(asked={KEY: 2}), "asked 2 times to answer for t1.1"),
        (Provided(drawn={KEY: 1}), "no item says so"),
        (Provided(unscripted=("/x",)), "was asked for /x"),
    ],
)
def test_a_provider_that_was_asked_for_too_much_is_found(asked: Provided, words: str) -> None:
    assert words in found(asked=asked)


def test_a_picture_is_read_back_as_it_was_made() -> None:
    item = {"type": "imageGeneration", "id": "p1", "status": "completed", "sha256": "x", "prompt": f"draw {KEY}"}
    rows = (*LOG[:5], (kinds.ITEM_COMPLETED, {"turnId": "a", "item": item}))
    (stored,) = stored_pictures({"1": thread(rows)})
    assert stored == StoredPicture(thread_id="1", item_id="p1", sha256="x", key=KEY)
    assert "were read" in str(picture_fault(stored, picture(KEY)))


def test_what_a_user_says_has_a_key_and_its_pieces_are_counted() -> None:
    assert (key_of("draw t1.4"), key_of("hello")) == ("t1.4", None)
    assert is_part("".join(pieces(KEY)[3:9]), of=KEY)
    assert not is_part("".join(reversed(pieces(KEY))), of=KEY)


def blow(how: str, at_ms: int) -> Blow:
    return Blow(how=how, replica="r", owner="o", at_ms=at_ms, threads=frozenset({"1"}))


def lost(end_at: int) -> dict[str, StoredThread]:
    end = (kinds.TURN_COMPLETED, {**ENDED, "status": "interrupted", "reason": "ownerLost"})
    made = thread((*LOG[:6], end))
    records = (*made.records[:6], replace(made.records[6], at_ms=end_at))
    return {"1": replace(made, records=records)}


def test_a_takeover_lasts_from_the_last_blow_to_the_end_of_the_turn() -> None:
    taken = takeovers(lost(15_000), [blow("killed", 4000), blow("stopped", 5000)], within_s=11.0)
    assert (taken.taken_s, taken.faults) == ([10.0], [])
    late = takeovers(lost(16_500), [blow("killed", 5000)], within_s=11.0)
    assert (late.taken_s, len(late.faults)) == ([11.5], 1)
    drained = takeovers(lost(5000), [blow("drained", 4000)], within_s=11.0)
    assert "its turn ended as interrupted" in drained.faults[0]


def test_a_request_counts_by_where_its_thread_was_owned() -> None:
    owners = Owners()
    for at_ms, owner in ((0, "x"), (100, "x"), (200, "y"), (300, "y")):
        owners.add(at_ms, {"1": owner})
    asked = [
        Asked(method="turn/start", thread_id="1", owner=owner, sent_ms=at_ms, took_ms=took_ms)
        for owner, at_ms, took_ms in (("x", 10, 5), ("y", 10, 6), ("x", 150, 7), ("y", 250, 8))
    ]
    found = by_place(asked, owners, [])
    assert found == {"turn/start, here": [5, 8], "turn/start, across": [6], "turn/start, changing": [7]}
