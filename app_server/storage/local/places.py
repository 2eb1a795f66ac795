"""`Places` in SQLite: counted and taken in one job of the writer, so that processes of one home take turns."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app_server.storage.local.process_lock import owner_lives
from app_server.storage.places import DAY_MS, Full, PlaceKind, free_in_ms

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.storage.local.database import LocalDatabase
    from app_server.storage.local.process_lock import ProcessLock


class SqlitePlaces:
    """The places of one tenant; a dead process is known by its lock."""

    def __init__(self, database: LocalDatabase, tenant: str, *, clock: Clock) -> None:
        self._database, self._tenant, self._clock = database, tenant, clock

    async def take(self, kind: PlaceKind, keys: Sequence[str], limit: int) -> Full | None:
        now_ms, lock = self._clock.now_ms(), self._database.lock

        def job(connection: sqlite3.Connection) -> Full | None:
            lock.hold()  # before the rows: one of ours must never be seen without our sign of life
            _forget(connection, lock, self._tenant, kind, now_ms)
            taken = {key: at for key, at in _taken(connection, self._tenant, kind, now_ms).items() if key not in keys}
            if len(taken) + len(keys) > limit:
                ends = [at_ms + DAY_MS for at_ms in taken.values()] if kind == "pictures" else []
                return Full(used=len(taken), free_in_ms=free_in_ms(ends, len(keys), limit, now_ms))
            rows = [(self._tenant, kind, key, lock.owner, now_ms) for key in keys]
            connection.executemany("INSERT OR IGNORE INTO places VALUES (?, ?, ?, ?, ?)", rows)
            return None

        return await self._database.write(job)

    async def give_back(self, kind: PlaceKind, keys: Sequence[str]) -> None:
        rows = [(self._tenant, kind, key) for key in keys]
        await self._database.write(
            lambda connection: connection.executemany(
                "DELETE FROM places WHERE tenant = ? AND kind = ? AND key = ?", rows
            )
        )


def _forget(connection: sqlite3.Connection, lock: ProcessLock, tenant: str, kind: PlaceKind, now_ms: int) -> None:
    """Take away the rows that do not count any more."""
    of_kind = (tenant, kind)
    if kind == "pictures":
        old = (*of_kind, now_ms - DAY_MS)
        connection.execute("DELETE FROM places WHERE tenant = ? AND kind = ? AND at_ms <= ?", old)
        return
    owners = connection.execute("SELECT DISTINCT owner FROM places WHERE tenant = ? AND kind = ?", of_kind).fetchall()
    for (owner,) in owners:
        if owner != lock.owner and not owner_lives(lock.folder, owner):
            connection.execute("DELETE FROM places WHERE tenant = ? AND kind = ? AND owner = ?", (*of_kind, owner))


def _taken(connection: sqlite3.Connection, tenant: str, kind: PlaceKind, now_ms: int) -> dict[str, int]:
    """When each that counts was taken."""
    taken = dict(connection.execute("SELECT key, at_ms FROM places WHERE tenant = ? AND kind = ?", (tenant, kind)))
    if kind == "threads":
        stored = connection.execute("SELECT thread_id FROM threads WHERE tenant = ?", (tenant,))
        taken |= {thread_id: now_ms for (thread_id,) in stored}
    return taken
