"""What a fork takes along: the source's records, up to the turn that is named, and its settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app_server.errors import InvalidRequest
from app_server.storage import records as kinds
from app_server.threads.settings import from_json

if TYPE_CHECKING:
    from app_server.storage.base import Record
    from app_server.turns.context import Settings

_WITH_SETTINGS = (kinds.THREAD_STARTED, kinds.SETTINGS_CHANGED)
_ITS_OWN = frozenset({*_WITH_SETTINGS, kinds.NAME_SET, kinds.ARCHIVED_SET, kinds.META_SET})


def forked_records(
    records: Sequence[Record], *, last_turn_id: str | None = None, before_turn_id: str | None = None
) -> list[Record]:
    """The records of the source that the fork begins with: all, up to the end of a turn, or up to the begin of one.

    Those that make the thread and its settings are left out: a fork has a first record of its own, with its settings.
    Raises InvalidRequest for an unknown turn.
    """
    end = len(records)
    if before_turn_id is not None:
        end = _find(records, kinds.TURN_STARTED, before_turn_id)
    elif last_turn_id is not None:
        end = _end_of(records, _find(records, kinds.TURN_STARTED, last_turn_id))
    return [record for record in records[:end] if record.kind not in _ITS_OWN]


def settings_of(records: Sequence[Record]) -> Settings:
    """The settings that the newest record with settings left."""
    newest = next(record for record in reversed(records) if record.kind in _WITH_SETTINGS)
    return from_json(newest.data["settings"])


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
