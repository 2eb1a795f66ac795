"""The one thread that writes a SQLite database: takes all jobs that wait, commits them together. Called by `database`.

    job, job, job  →  BEGIN IMMEDIATE · (SAVEPOINT · job · RELEASE)… · COMMIT  →  every caller wakes

A job that fails is undone alone and the others of its batch are kept; when the commit fails, the whole batch fails. A
caller wakes only after the commit, so what it was told is durable. It never reads for others.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.storage.base import StorageError
from app_server.storage.local.failures import storage_error
from app_server.storage.rules import storage_closed
from app_server.values import slotted

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], T]
"""Runs in the writer thread inside a transaction; raises to be undone. It must not commit or block."""
After = Callable[[sqlite3.Connection, Any], None]
"""Runs in the writer thread behind the commit of its job, with the job's result; must neither raise nor write."""

_MAX_BATCH_JOBS = 1000
_CLOSE_TIMEOUT_S = 15.0


@slotted(eq=False)
class _Waiting:
    job: Job[Any]
    future: asyncio.Future[Any]
    after: After | None = None
    result: Any = None
    error: BaseException | None = None


class SqliteWriter:
    """Group commit. The thread starts with the first job, and the database is opened in it."""

    def __init__(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    async def run(self, job: Job[T], after: After | None = None) -> T:
        """Run `job` and return its result once it is durable; what it raises is raised here, and nothing of it is kept.

        `after` has run by then, if the job did.

        A cancellation waits until the outcome is known: returned means written, raised means not written.
        """
        await checkpoint_if_cancelled()
        waiting = _Waiting(job, asyncio.get_running_loop().create_future(), after)
        self._put(waiting)
        with anyio.CancelScope(shield=True):
            result: T = await waiting.future
        return result

    async def aclose(self) -> None:
        """Commit what waits, close the database and end the thread. Idempotent."""
        with self._guard:
            first, self._closed = not self._closed, True
            if first and self._thread:
                self._queue.put(None)
        if self._thread:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._thread.join, _CLOSE_TIMEOUT_S)

    def _put(self, waiting: _Waiting) -> None:
        with self._guard:
            if self._closed:
                raise storage_closed()
            if self._thread is None:
                # a daemon: a process that forgets to close still ends, and loses nothing that it was told is durable
                self._thread = threading.Thread(target=self._work, name="storage-writer", daemon=True)
                self._thread.start()
            self._queue.put(waiting)

    def _work(self) -> None:
        connection: sqlite3.Connection | None = None
        ended = False
        while not ended:
            batch, ended = self._take()
            try:
                connection = connection or self._connect(self._path)
            except BaseException as error:  # not handled here: it goes to the callers that await their jobs
                self._fail(batch, error)
            else:
                self._commit(connection, batch)
            _wake(batch)
            batch.clear()  # what was written may be large, and the next job may be long in coming
        if connection:
            connection.close()

    def _take(self) -> tuple[list[_Waiting], bool]:
        """All that waits, at least one, and whether it is the end."""
        batch: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            batch.append(item)
            if len(batch) == _MAX_BATCH_JOBS:
                return batch, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[_Waiting]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for waiting in batch:
                self._run(connection, waiting)
            connection.execute("COMMIT")
        except BaseException as error:  # not handled here: it goes to the callers that await their jobs
            if connection.in_transaction:
                with suppress(sqlite3.Error):  # it is undone with the connection or at the next opening at the latest
                    connection.execute("ROLLBACK")
            self._fail(batch, error)
            return
        for waiting in batch:
            if waiting.after is not None and waiting.error is None:
                waiting.after(connection, waiting.result)

    def _run(self, connection: sqlite3.Connection, waiting: _Waiting) -> None:
        connection.execute("SAVEPOINT job")
        try:
            waiting.result = waiting.job(connection)
        except BaseException as error:  # not handled here: it goes to the caller that awaits the job
            self._fail([waiting], error)
            if not connection.in_transaction:
                raise  # SQLite has undone the whole batch
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def _fail(self, waitings: list[_Waiting], error: BaseException) -> None:
        """Each gets an error of its own, and keeps the one that it has."""
        for waiting in waitings:
            if waiting.error is not None:
                continue
            waiting.error = error
            if isinstance(error, StorageError | sqlite3.Error):
                told = (
                    type(error)(error.message) if isinstance(error, StorageError) else storage_error(self._path, error)
                )
                told.__cause__ = error
                waiting.error = told


def _wake(batch: list[_Waiting]) -> None:
    """Tell the callers, with one call per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting]] = {}
    for waiting in batch:
        by_loop.setdefault(waiting.future.get_loop(), []).append(waiting)
    for loop, waitings in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, so nobody awaits them any more
            loop.call_soon_threadsafe(_settle, waitings)


def _settle(waitings: list[_Waiting]) -> None:
    for waiting in waitings:
        if waiting.future.done():  # its task was ended from outside
            continue
        if waiting.error is None:
            waiting.future.set_result(waiting.result)
        else:
            waiting.future.set_exception(waiting.error)
