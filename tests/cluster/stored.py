"""What a cluster run left in the database, read at its end, beside all code of the server but the meaning of records.

`judgement.py` holds it against what clients saw and what the provider was asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from app_server.storage.base import Record
from app_server.threads.missed import missed


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredThread:
    """A thread's log, and the lease row beside it."""

    thread_id: str
    records: tuple[Record, ...]
    lease_last_seq: int | None
    epoch: int

    def told(self) -> list[tuple[int, str]]:
        """seq and method of every notification that has a record."""
        _, told = missed(self.thread_id, self.records, 0)
        return [(params["seq"], method) for method, params in told]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provided:
    """How often the provider was asked, by key."""

    asked: Mapping[str, int] = field(default_factory=dict)
    went_on: Mapping[str, int] = field(default_factory=dict)
    drawn: Mapping[str, int] = field(default_factory=dict)
    unscripted: tuple[str, ...] = ()


async def read_threads(database: asyncpg.Pool) -> dict[str, StoredThread]:
    """Every thread that is stored."""
    leases = {row["thread_id"]: row for row in await database.fetch("SELECT thread_id, last_seq, epoch FROM leases")}
    records: dict[str, list[Record]] = {}
    for row in await database.fetch("SELECT thread_id, seq, at_ms, kind, data FROM records ORDER BY thread_id, seq"):
        data: dict[str, Any] = orjson.loads(row["data"])
        made = Record(kind=row["kind"], data=data, seq=row["seq"], at_ms=row["at_ms"])
        records.setdefault(row["thread_id"], []).append(made)
    return {
        thread_id: StoredThread(
            thread_id=thread_id,
            records=tuple(found),
            lease_last_seq=leases[thread_id]["last_seq"] if thread_id in leases else None,
            epoch=leases[thread_id]["epoch"] if thread_id in leases else 0,
        )
        for thread_id, found in records.items()
    }


async def left_letters(database: asyncpg.Pool) -> int:
    """Letters that nobody took away."""
    count: int = await database.fetchval("SELECT count(*) FROM letters")
    return count
