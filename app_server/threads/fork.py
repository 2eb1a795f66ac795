"""Which records a fork takes along: the source's, up to the turn that is named. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from app_server.errors import InvalidRequest
from app_server.storage import records as kinds

if TYPE_CHECKING:
    from app_server.storage.base import Record


def forked_records(
    records: Sequence[Record], *, last_turn_id: str | None = None, before_turn_id: str | None = None
) -> list[Record]:
    """The source's records as new ones: all, up to the end of a turn, or up to the begin of one.

    The first record (thread_started) is left out: a fork has one of its own. Raises InvalidRequest for an unknown turn.
    """
    end = len(records)
    if before_turn_id is not None:
        end = _find(records, kinds.TURN_STARTED, before_turn_id)
    elif last_turn_id is not None:
        end = _end_of(records, _find(records, kinds.TURN_STARTED, last_turn_id))
    skipped = (kinds.THREAD_STARTED, kinds.NAME_SET, kinds.ARCHIVED_SET, kinds.META_SET)
    return [replace(record, seq=0) for record in records[:end] if record.kind not in skipped]


def _find(records: Sequence[Record], kind: str, turn_id: str) -> int:
    for index, record in enumerate(records):
        if record.kind == kind and record.data["turnId"] == turn_id:
            return index
    raise InvalidRequest(f"turn not found: {turn_id[:80]}", data_code="turnNotFound")


def _end_of(records: Sequence[Record], start: int) -> int:
    """Behind the last record of the turn that begins at `start`: where the next turn begins."""
    for index in range(start + 1, len(records)):
        if records[index].kind == kinds.TURN_STARTED:
            return index
    return len(records)
