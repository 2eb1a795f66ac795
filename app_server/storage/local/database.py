"""The one database of a home: its writer, a pool of readers, and the lock that shows that this process lives.

Shared by the log, the leases and the blobs of one wiring; `SqliteThreadLog.aclose` closes it. Reads run in worker
threads on connections of their own, so a long read delays neither a write nor the event loop.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.ids import uuid7
from app_server.storage.base import Notices, StorageError
from app_server.storage.local.copies import ThreadCopies
from app_server.storage.local.failures import storage_error
from app_server.storage.local.opening import connect_or_salvage
from app_server.storage.local.process_lock import ProcessLock
from app_server.storage.local.schema import connect_reader
from app_server.storage.local.writer import After, Job, SqliteWriter
from app_server.storage.rules import storage_closed

if TYPE_CHECKING:
    from app_server.storage.local.salvage import SalvageReport

T = TypeVar("T")

_MAX_READERS = 8


class LocalDatabase:
    """`<home>/state.sqlite`, opened at the first use."""

    def __init__(self, home: Path, notices: Notices | None = None) -> None:
        self._notices = notices or Notices()
        self._salvaged: SalvageReport | None = None
        self.home = Path(os.path.abspath(home))
        self.path = self.home / "state.sqlite"
        self.lock = ProcessLock(self.home / "locks", uuid7())
        self.copies = ThreadCopies(self.home)
        self._writer = SqliteWriter(self.path, self._connect)
        self._limiter = anyio.CapacityLimiter(_MAX_READERS)
        self._guard = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._opened = False
        self._closed = False

    async def open(self) -> None:
        """Open or make the database now.

        Raises:
            StorageError: it cannot be opened; says why and what to do.
        """
        await self.write(lambda connection: None)

    async def write(self, job: Job[T], after: After | None = None) -> T:
        """Run `job` in the writer thread, inside a transaction, and `after` behind its commit; durable on return."""
        result = await self._writer.run(job, after)
        self._opened = True
        if (report := self._salvaged) is not None:
            self._salvaged = None
            self._notices.tell(f"The damaged database of this home was made anew. {report.sentence()}")
        return result

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` in a worker thread; it sees everything that was written before."""
        await checkpoint_if_cancelled()
        if self._closed:
            raise storage_closed()
        if not self._opened:
            await self.open()
        return await anyio.to_thread.run_sync(self._read, query, limiter=self._limiter)

    async def aclose(self) -> None:
        """Give back the leases of this process, finish what waits and close. Idempotent."""
        if self._closed:
            return
        with anyio.CancelScope(shield=True):
            if self._opened:
                with suppress(StorageError):  # the end of the process lock frees them as well
                    await self._writer.run(self._release_leases)
            self._closed = True
            self._close_idle()
            await self._writer.aclose()
            self.lock.release()

    def _connect(self, path: Path) -> sqlite3.Connection:
        """For the writer, in its thread."""
        connection, self._salvaged = connect_or_salvage(path, self.lock)
        return connection

    def _release_leases(self, connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE leases SET owner = NULL WHERE owner = ?", (self.lock.owner,))

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            connection = self._borrow()
            try:
                return query(connection)
            finally:
                self._give_back(connection)
        except sqlite3.Error as error:
            raise storage_error(self.path, error) from error

    def _borrow(self) -> sqlite3.Connection:
        with self._guard:
            if self._idle:
                return self._idle.pop()
        return connect_reader(self.path)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._guard:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _close_idle(self) -> None:
        with self._guard:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
