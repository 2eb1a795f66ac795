"""Identifiers: canonical UUIDs of version 7 that sort by the time they were made, and what counts as a UUID."""

from __future__ import annotations

import threading
import time
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_server.ids import parse_uuid, uuid7

CANONICAL = "0199a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2b"


def test_ids_are_canonical_of_version_7_and_strictly_increasing() -> None:
    made = [uuid7() for _ in range(10_000)]
    assert made == sorted(set(made))
    for text in made[::500]:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)


def test_an_id_begins_with_the_time_at_which_it_was_made() -> None:
    before_ms = time.time_ns() // 1_000_000
    made_ms = uuid.UUID(uuid7()).int >> 80
    assert before_ms <= made_ms <= time.time_ns() // 1_000_000 + 60_000


def test_threads_of_the_process_never_make_the_same_id() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(uuid7() for _ in range(2000))

    workers = [threading.Thread(target=make, args=(into,)) for into in made]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({each for into in made for each in into}) == 8000
    assert all(into == sorted(into) for into in made)


@pytest.mark.parametrize(
    "text",
    [
        CANONICAL,
        CANONICAL.upper(),
        CANONICAL.replace("-", ""),
        f"urn:uuid:{CANONICAL}",
        f"URN:UUID:{CANONICAL.upper()}",
    ],
)
def test_every_written_form_of_an_id_is_read_as_the_canonical_one(text: str) -> None:
    assert parse_uuid(text) == CANONICAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no-such-thread",
        CANONICAL[:-1],
        CANONICAL + "0",
        f" {CANONICAL}",
        f"{CANONICAL}\n",
        CANONICAL.replace("0", "٠"),
        CANONICAL.replace("a", "g"),
        f"urn:uuid:urn:uuid:{CANONICAL}",
        "0" * 100_000,
        "\ud800",
    ],
)
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_uuid(text) is None


@settings(deadline=None)
@given(st.text(alphabet="0123456789abcdefABCDEF-{}:urnid", max_size=50))
def test_reading_an_id_never_fails_and_gives_canonical_text(text: str) -> None:
    known = parse_uuid(text)
    assert known is None or str(uuid.UUID(known)) == known
