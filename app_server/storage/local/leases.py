"""Who may write a thread, as rows of SQLite with this process as owner; and the fence that every append passes.

| the row says | acquire |
|---|---|
| nothing, or no owner | ours, with the next epoch |
| we | the same lease again |
| a dead process | ours, with the next epoch, which fences off whatever that process still sends |
| a live process | LeaseHeld |
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from app_server.storage.base import LOCAL_TENANT, Lease
from app_server.storage.local.process_lock import ProcessLock, owner_lives
from app_server.storage.rules import lease_held, lease_lost

if TYPE_CHECKING:
    from app_server.storage.local.database import LocalDatabase

_BY_THREAD = "tenant = ? AND thread_id = ?"


class SqliteLeaseManager:
    """Leases in `state.sqlite`; a dead owner is known by its process lock."""

    def __init__(self, database: LocalDatabase) -> None:
        self._database = database

    async def acquire(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> Lease:
        lock = self._database.lock
        return await self._database.write(lambda connection: take_lease(connection, lock, tenant, thread_id))

    async def release(self, lease: Lease) -> None:
        await self._database.write(lambda connection: _release(connection, lease))

    async def abandon(self, lease: Lease) -> None:
        await self.release(lease)  # nobody watches a home for such threads: whoever loads the thread takes it over


def require_lease(connection: sqlite3.Connection, lease: Lease) -> None:
    """Raise LeaseLost unless `lease` is the thread's current one. Inside the transaction of a write it is the fence."""
    held = connection.execute(
        f"SELECT 1 FROM leases WHERE {_BY_THREAD} AND owner = ? AND epoch = ?",
        (lease.tenant, lease.thread_id, lease.owner, lease.epoch),
    ).fetchone()
    if held is None:
        raise lease_lost(lease)


def take_lease(connection: sqlite3.Connection, lock: ProcessLock, tenant: str, thread_id: str) -> Lease:
    """The lease of this process, new or renewed, inside the transaction of a write. Raises LeaseHeld."""
    lock.hold()  # before the row: a row of ours must never be seen without our sign of life
    row = connection.execute(f"SELECT owner, epoch FROM leases WHERE {_BY_THREAD}", (tenant, thread_id)).fetchone()
    holder, epoch = row or (None, 0)
    if holder != lock.owner:
        if holder is not None and owner_lives(lock.folder, holder):
            raise lease_held(thread_id)
        epoch += 1
        connection.execute(
            "INSERT OR REPLACE INTO leases (tenant, thread_id, owner, epoch) VALUES (?, ?, ?, ?)",
            (tenant, thread_id, lock.owner, epoch),
        )
    return Lease(thread_id=thread_id, tenant=tenant, owner=lock.owner, epoch=epoch)


def _release(connection: sqlite3.Connection, lease: Lease) -> None:
    connection.execute(
        f"UPDATE leases SET owner = NULL WHERE {_BY_THREAD} AND owner = ? AND epoch = ?",
        (lease.tenant, lease.thread_id, lease.owner, lease.epoch),
    )
