"""Pages in both directions: every thing is visited exactly once, and a cursor is only good for what it was made for."""

from __future__ import annotations

from typing import Literal

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_server.errors import InvalidRequest
from app_server.threads.paging import (
    Anchor,
    Slice,
    cursor_text,
    item_anchor,
    list_cursor,
    page_limit,
    parse_cursor,
    parse_list_cursor,
    slice_ordinals,
)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
THREAD: Literal["t"] = "t"


def page(count: int, cursor: str | None, limit: int, descending: bool) -> Slice:
    anchor = parse_cursor(cursor, THREAD, "turns") if cursor else None
    return slice_ordinals(count, anchor=anchor, limit=limit, descending=descending, thread_id=THREAD, kind="turns")


def walk(count: int, cursor: str | None, limits: list[int], descending: bool) -> list[Slice]:
    """All pages from a cursor on, their sizes taken from `limits` in turn."""
    pages = [page(count, cursor, limits[0], descending)]
    while (ahead := pages[-1].next_cursor) is not None:
        pages.append(page(count, ahead, limits[len(pages) % len(limits)], descending))
        assert len(pages) <= count + 1
    return pages


LIMITS = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@patient
@given(st.integers(0, 40), LIMITS, st.booleans())
def test_walking_in_either_direction_visits_each_ordinal_exactly_once_in_order(
    count: int, limits: list[int], descending: bool
) -> None:
    visited = [ordinal for each in walk(count, None, limits, descending) for ordinal in each.ordinals]
    assert visited == (list(range(count))[::-1] if descending else list(range(count)))


@patient
@given(st.integers(1, 40), LIMITS, st.booleans(), st.data())
def test_turning_round_at_any_page_goes_back_over_it_to_the_beginning(
    count: int, limits: list[int], descending: bool, data: st.DataObject
) -> None:
    at = data.draw(st.sampled_from(walk(count, None, limits, descending)))
    back = [o for each in walk(count, at.backwards_cursor, limits, not descending) for o in each.ordinals]
    first = at.ordinals[0]
    assert back == (list(range(first, count)) if descending else list(range(first, -1, -1)))


@patient
@given(st.integers(1, 20), st.integers(0, 20), st.integers(1, 7))
def test_what_was_added_meanwhile_is_found_by_going_on_and_nothing_comes_twice(
    count: int, added: int, limit: int
) -> None:
    pages = walk(count, None, [limit], descending=False)
    newest = page(count, None, 1, descending=True)
    later = walk(count + added, newest.backwards_cursor, [limit], descending=False)
    seen = [o for each in pages for o in each.ordinals] + [o for each in later for o in each.ordinals]
    assert seen == [*range(count), *range(count - 1, count + added)]


@patient
@given(st.integers(0, 10), st.integers(-(2**70), 2**70), st.booleans(), st.integers(1, 1000), st.booleans())
def test_no_anchor_leads_out_of_the_thread(
    count: int, ordinal: int, include: bool, limit: int, descending: bool
) -> None:
    found = slice_ordinals(
        count,
        anchor=Anchor(ordinal=ordinal, include=include),
        limit=limit,
        descending=descending,
        thread_id=THREAD,
        kind="items",
    )
    assert set(found.ordinals) <= set(range(count))


def test_one_page_as_a_whole() -> None:
    def cursor(ordinal: int, include: bool) -> str:
        return orjson.dumps(
            {
                "requestedThreadId": "t",
                "rolloutOrdinal": ordinal,
                "includeAnchor": include,
                "scope": {"kind": "turns"},
            }
        ).decode()

    assert page(5, None, 2, descending=True) == Slice(
        ordinals=(4, 3), next_cursor=cursor(3, False), backwards_cursor=cursor(4, True)
    )
    assert page(2, None, 2, descending=False) == Slice(
        ordinals=(0, 1), next_cursor=None, backwards_cursor=cursor(0, True)
    )
    assert page(0, None, 2, descending=False) == Slice(ordinals=(), next_cursor=None, backwards_cursor=None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "5",
        "{}",
        cursor_text("other", "turns", Anchor(ordinal=1, include=True)),
        cursor_text("t", "items", Anchor(ordinal=1, include=True)),
        '{"requestedThreadId":"t","rolloutOrdinal":"1","includeAnchor":true,"scope":{"kind":"turns"}}',
        '{"requestedThreadId":"t","rolloutOrdinal":true,"includeAnchor":true,"scope":{"kind":"turns"}}',
        '{"requestedThreadId":"t","rolloutOrdinal":1.5,"includeAnchor":true,"scope":{"kind":"turns"}}',
        '{"requestedThreadId":"t","rolloutOrdinal":1,"includeAnchor":1,"scope":{"kind":"turns"}}',
        '{"requestedThreadId":"t","rolloutOrdinal":1,"includeAnchor":true,"scope":"turns"}',
        "[" * 10_000,
        "\ud800",
    ],
)
def test_a_cursor_that_no_reply_gave_for_this_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_cursor(text, "t", "turns")
    shown = text if len(text) <= 200 else text[:200] + "…"
    assert refused.value.message == f"invalid cursor: {shown}; use one that a reply gave"
    assert refused.value.data_code == "invalidCursor"


@patient
@given(st.text(max_size=60))
def test_no_text_makes_the_cursor_readers_fail_in_another_way(text: str) -> None:
    for read in (lambda: parse_cursor(text, "t", "turns"), lambda: parse_list_cursor(text)):
        try:
            read()
        except InvalidRequest:
            continue  # the one error that may come


@patient
@given(st.integers(0, 253_402_300_799_999), st.uuids().map(str))
def test_a_place_in_the_list_of_threads_is_read_back_to_the_millisecond(at_ms: int, thread_id: str) -> None:
    assert parse_list_cursor(list_cursor(at_ms, thread_id)) == (at_ms, thread_id)


@pytest.mark.parametrize("text", ["", "|t", "yesterday|t", "2026-01-01T00:00:00|t", "2026-13-01T00:00:00Z|t"])
def test_a_list_cursor_without_a_time_and_its_zone_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_list_cursor(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:59|t", "9999-12-31T23:59:59.999999-23:59|t"])
def test_a_list_cursor_at_the_ends_of_time_is_read(text: str) -> None:
    at_ms, thread_id = parse_list_cursor(text)
    assert (type(at_ms), thread_id) == (int, "t")


@pytest.mark.parametrize(
    ("asked", "given_limit"), [(None, 25), (0, 1), (1, 1), (1000, 1000), (1001, 1000), (2**32 - 1, 1000)]
)
def test_a_limit_is_kept_within_reason(asked: int | None, given_limit: int) -> None:
    assert page_limit(asked) == given_limit


def test_the_anchor_of_an_item_begins_behind_it_and_an_unknown_one_is_refused() -> None:
    entries = [{"item": {"id": "a"}}, {"item": {"id": "b"}}]
    assert item_anchor(entries, "b") == Anchor(ordinal=1, include=False)
    with pytest.raises(InvalidRequest, match="item not found: c"):
        item_anchor(entries, "c")
