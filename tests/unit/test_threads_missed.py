"""From which places a client may go on, and what the records of a thread say to it."""

from __future__ import annotations

import pytest

from app_server.errors import InvalidRequest
from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.threads.missed import check_since, meta_notification, missed
from app_server.threads.replay import replay


@pytest.mark.parametrize("since_seq", [5, 12, 15])
def test_a_place_within_what_is_kept_is_good(since_seq: int) -> None:
    check_since(since_seq, 15, kept=10)


@pytest.mark.parametrize(
    ("since_seq", "why"), [(4, "only the last 10 records can be sent again"), (16, "the log of this thread ends at 15")]
)
def test_a_place_that_is_too_old_or_not_of_this_log_is_gone(since_seq: int, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as failure:
        check_since(since_seq, 15, kept=10)
    assert failure.value.data == {"code": "seqGone", "lastSeq": 15}


def test_only_what_comes_after_the_place_is_told_with_its_number() -> None:
    records = [
        Record(kind=kinds.NAME_SET, data={"name": "A"}, seq=1),
        Record(kind=kinds.NAME_SET, data={"name": "B"}, seq=2),
        Record(kind=kinds.HISTORY, data={"items": []}, seq=3),
        Record(kind=kinds.META_SET, data={"meta": {"goal": None}}, seq=4),
    ]
    state, told = missed("t", records, 1)
    assert told == [
        ("thread/name/updated", {"threadId": "t", "threadName": "B", "seq": 2}),
        ("thread/goal/cleared", {"threadId": "t", "seq": 4}),
    ]
    assert state.last_seq == 4


@pytest.mark.parametrize("known_seq", [1, 2])
def test_what_was_found_out_before_is_gone_on_from_unless_the_client_missed_a_part_of_it(known_seq: int) -> None:
    records = [Record(kind=kinds.NAME_SET, data={"name": str(seq)}, seq=seq) for seq in (1, 2, 3)]
    known = replay(records[:known_seq])
    state, told = missed("t", records, 1, known)
    assert (state, told) == missed("t", records, 1)
    assert (state is known) is (known_seq == 1)


def test_a_turn_is_completed_with_its_last_message() -> None:
    message = {"type": "agentMessage", "id": "m", "text": "Hi", "completedAtMs": 3000}
    end = {"turnId": "x", "status": "completed", "error": None, "completedAtMs": 4000, "answered": True}
    records = [
        Record(kind=kinds.TURN_STARTED, data={"turnId": "x", "startedAtMs": 1000}, seq=1),
        Record(kind=kinds.ITEM_COMPLETED, data={"turnId": "x", "item": message}, seq=2),
        Record(kind=kinds.TURN_COMPLETED, data=end, seq=3),
    ]
    _, told = missed("t", records, 2)
    turn = told[0][1]["turn"]
    assert (turn["items"], turn["itemsView"], turn["durationMs"]) == ([message], "summary", 3000)


def test_most_members_of_the_meta_are_not_told() -> None:
    assert meta_notification("t", {"gitInfo": {}}) is None
