"""What PostgreSQL is given: texts that it cannot hold as they are, and hints as payloads of NOTIFY."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_server.storage.cluster import Hint
from app_server.storage.postgres.hints import (
    MAX_HINT_BYTES,
    Heard,
    head,
    hint_line,
    parts,
    payloads,
    read_payload,
    records_line,
)
from app_server.storage.postgres.texts import folded, folded_search, from_text, to_text
from app_server.storage.rules import search_matches

TEXTS = st.text(st.sampled_from("\x00\x01\x0201aÄß\U0001f98a"))
HINTS = st.builds(
    Hint,
    kind=st.sampled_from(["passing", "broadcast", "letter"]),
    thread_id=TEXTS,
    seq=st.integers(0, 2**53),
    key=TEXTS,
    data=st.dictionaries(TEXTS, TEXTS | st.integers(-5, 5)),
)


@given(one=TEXTS, other=TEXTS)
def test_a_stored_text_has_no_null_comes_back_and_differs_from_every_other(one: str, other: str) -> None:
    stored = to_text(one)
    assert stored is not None
    assert "\x00" not in stored
    assert (from_text(stored), stored == to_text(other)) == (one, one == other)


@given(preview=TEXTS, name=st.none() | TEXTS, search=TEXTS)
def test_a_search_of_bytes_is_the_search_of_the_rule(preview: str, name: str | None, search: str) -> None:
    assert (folded_search(search) in folded(preview, name)) == search_matches(preview, name, search)


def test_half_a_character_is_found_nowhere() -> None:
    assert folded_search("\ud800") not in folded("any \x00 text", "and name")


@given(st.lists(st.tuples(st.sampled_from(["local", "user:ä b", None]), HINTS), max_size=6))
def test_hints_come_out_of_payloads_as_they_went_in(hints: list[tuple[str | None, Hint]]) -> None:
    lines = [line for tenant, hint in hints if (line := hint_line(tenant, hint)) is not None]
    sent = payloads("a", 7, lines)
    assert [heard for payload in sent for heard in read_payload(payload, ours="b")] == [
        Heard(tenant=tenant, hint=hint) for tenant, hint in hints
    ]
    assert [heard for payload in sent for heard in read_payload(payload, ours="a")] == []


def test_a_line_of_records_is_ended_by_its_seq() -> None:
    payload = f"{head('a', 1)}0\n{records_line('user:x y', 't')}12]"
    assert list(read_payload(payload, ours="b")) == [
        Heard(tenant="user:x y", hint=Hint(kind="records", thread_id="t", seq=12))
    ]


@pytest.mark.parametrize(
    "text", ["", "a 1 0", "a 1 0\nno json", 'a 1 0\n["x"]', 'a 1 0\n["x","t",1,"novel","k",{}]', "a\n7"]
)
def test_what_else_is_in_the_channel_is_passed_over(text: str) -> None:
    assert list(read_payload(text, ours="b")) == []


@given(st.lists(st.integers(1, MAX_HINT_BYTES), max_size=40))
def test_parts_keep_the_order_and_are_as_large_as_notify_takes(sizes: list[int]) -> None:
    placed = parts(sizes)
    assert placed == sorted(placed)
    assert set(placed) == set(range(len(set(placed))))
    for part in set(placed):
        lines = [size for size, at in zip(sizes, placed, strict=True) if at == part]
        assert len(lines) == 1 or sum(lines) + len(lines) <= MAX_HINT_BYTES


def test_the_largest_payload_is_one_that_notify_takes() -> None:
    largest = Hint(kind="passing", data={"text": "x" * (MAX_HINT_BYTES - 40)})
    line = hint_line("local", largest)
    assert line is not None
    replica = "0" * 36
    assert max(len(payload.encode()) for payload in payloads(replica, 2**63, [line, line])) < 8000


def test_a_hint_that_is_no_json_or_too_large_has_no_line() -> None:
    for data in ({"text": "x" * MAX_HINT_BYTES}, {"text": object()}):
        assert hint_line("local", Hint(kind="passing", data=data)) is None
