"""The one connection through which this process writes and tells, in order, with group commit.

    job, hint, job, job  →  one round: a transaction  →  every caller wakes

What comes while a round is on its way joins the next one. A round that the database refuses is tried again job by job,
so one that cannot be stored fails alone. A round whose commit was cut off is settled before anybody is told: the
writer's own row names the last round that was committed and what came of it, and a new session shuts the old connection
out. Works in a task of its own while there is something to do. Called by `log`, `letters` and `cluster`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import anyio
import asyncpg
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.observability.logging import get_logger
from app_server.storage.base import StorageError
from app_server.storage.cluster import Hint
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.failures import FAILURES, is_lost, is_passing
from app_server.storage.postgres.hints import hint_line
from app_server.storage.postgres.rounds import (
    AppendJob,
    Identity,
    Job,
    Step,
    outcome_unknown,
    perform,
    plan,
    read_outcome,
    results,
)
from app_server.storage.rules import storage_closed

log = get_logger("storage")

HINTS_PAUSE_S: Final = 0.01
"""Hints that come with no record wait so long for more: commits that tell something wait for each other."""
RECONNECT_S: Final = 5.0
"""So long a round waits for a database that does not take connections."""
SETTLE_S: Final = 30.0
"""So long one waits to hear whether it was committed. By then the leases have run out."""
_CLOSE_TIMEOUT_S: Final = 15.0
_MAX_JOBS: Final = 1000
_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_HINTS: Final = 10_000
_STALL: Final = 0.5
"""Of the life of a lease: who stops in the middle of a round for so long holds its rows no more."""
_LET_GO: Final = "SELECT set_config('idle_in_transaction_session_timeout', $1, false)"
_OPEN_SESSION: Final = """
INSERT INTO writers (replica, session, round) VALUES ($1, 1, 0)
ON CONFLICT (replica) DO UPDATE SET session = writers.session + 1, seen_at = clock_timestamp()
RETURNING session, round, outcome
"""


@dataclass(slots=True, eq=False)
class _Waiting:
    item: AppendJob | Job | str
    future: asyncio.Future[Any] | None
    """None for a hint: nobody waits for it."""

    @property
    def size_bytes(self) -> int:
        return self.item.append.size_bytes if isinstance(self.item, AppendJob) else 0


class PostgresWriter:
    """Group commit over one connection, opened with the first round."""

    def __init__(
        self,
        database: PostgresDatabase,
        replica: str,
        *,
        lease_ttl_s: float,
        reconnect_s: float = RECONNECT_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._database = database
        self._replica = replica
        self._ttl_s = lease_ttl_s
        self._reconnect_s, self._settle_s = reconnect_s, settle_s
        self._queue: list[_Waiting] = []
        self._hints = 0
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._connection: asyncpg.Connection | None = None
        self._session = 0
        self._number = 0
        self._in_doubt = False
        self._hints_lost = False

    async def run(self, job: AppendJob | Job) -> Any:
        """The job's result once it is durable; what it raises is raised here, and nothing of it is kept.

        A cancellation waits until the outcome is known: returned means written, raised means not written.
        """
        await checkpoint_if_cancelled()
        if self._closed:
            raise storage_closed()
        waiting = _Waiting(job, asyncio.get_running_loop().create_future())
        assert waiting.future is not None  # it was just made
        self._put(waiting)
        with anyio.CancelScope(shield=True):
            return await waiting.future

    def tell(self, line: str) -> None:
        """A hint behind all that was given before."""
        if self._closed:
            return
        if self._hints >= _MAX_HINTS:
            self._hints_lost = True
            return
        self._hints += 1
        self._put(_Waiting(line, None))

    async def settled(self) -> None:
        """Returns when no round of ours is in doubt: what is read from then on will not change by one."""
        if self._in_doubt:
            await self.run(_Nothing())

    async def aclose(self) -> None:
        """Write what waits, and close the connection. Idempotent."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            if self._task is not None and not self._task.done():
                self._more.set()
                await asyncio.wait([self._task], timeout=_CLOSE_TIMEOUT_S)
                self._task.cancel()
            await self._disconnect(politely=True)

    def _put(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        if waiting.future is not None:
            self._more.set()
        if self._task is None or self._task.done():
            # a context of its own: the work is for all callers, and belongs to no request
            self._task = asyncio.get_running_loop().create_task(self._work(), context=contextvars.Context())

    async def _work(self) -> None:
        batch: list[_Waiting] = []
        try:
            while self._queue:
                if self._hints == len(self._queue) and not self._closed:
                    await self._wait_for_more()
                batch = self._take()
                await self._round(batch)
        except BaseException:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.terminate()
            for waiting in (*batch, *self._queue):
                _settle(waiting, storage_closed())
            self._queue.clear()
            raise

    async def _wait_for_more(self) -> None:
        self._more.clear()
        try:
            async with asyncio.timeout(HINTS_PAUSE_S):
                await self._more.wait()
        except TimeoutError:
            return

    def _take(self) -> list[_Waiting]:
        """What waits, up to the most that one round has."""
        size_bytes = 0
        for taken, waiting in enumerate(self._queue):
            size_bytes += waiting.size_bytes
            if taken and (taken == _MAX_JOBS or size_bytes > _MAX_BYTES):
                break
        else:
            taken = len(self._queue)
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        self._hints -= sum(waiting.future is None for waiting in batch)
        return batch

    async def _round(self, batch: Sequence[_Waiting]) -> StorageError | None:
        """Commit a batch and wake its callers; returns what is wrong with the database itself."""
        items = [waiting.item for waiting in batch]
        if self._hints_lost and (missed := hint_line(None, Hint(kind="again"))):
            items = [missed, *items]
        steps = plan(items)
        try:
            answers = await self._commit(steps, patient=any(waiting.future is not None for waiting in batch))
        except _Refused as refusal:
            if len(batch) == 1:
                self._fail(batch, refusal.failure)
                return None
            return await self._one_by_one(batch)
        except StorageError as failure:
            self._fail(batch, failure)
            return failure
        self._hints_lost = False
        for waiting, answer in zip(batch, results(items, steps, answers)[-len(batch) :], strict=True):
            _settle(waiting, answer)
        return None

    async def _one_by_one(self, batch: Sequence[_Waiting]) -> StorageError | None:
        for done, waiting in enumerate(batch, 1):
            if (failure := await self._round([waiting])) is not None:
                self._fail(batch[done:], failure)
                return failure
        return None

    async def _commit(self, steps: Sequence[Step], *, patient: bool) -> list[Any]:
        """The answers of a round that is committed, whatever happens to the connection meanwhile.

        Raises:
            _Refused: the database took none of it.
            StorageError: it cannot be reached; `_in_doubt` says whether the round may have been committed.
        """
        self._number += 1
        started_s = asyncio.get_running_loop().time()
        for pause_s in _pauses():
            try:
                if self._connection is None and (outcome := await self._open_session()) is not None:
                    return read_outcome(steps, outcome)
                answers = await self._perform(steps)
                if answers is not None:
                    return answers
                await self._disconnect()
                continue
            except FAILURES as error:
                failure = self._database.failure(error)
                if is_lost(error):
                    await self._disconnect()
                    log.warning("storage_connection_lost", message=failure.message)
                elif not is_passing(error):
                    raise _Refused(failure) from error
            except StorageError as error:
                failure = error
            waited_s = asyncio.get_running_loop().time() - started_s
            if not patient or waited_s > (self._settle_s if self._in_doubt else self._reconnect_s):
                raise failure
            await asyncio.sleep(pause_s)
        raise AssertionError("pauses have no end")

    async def _perform(self, steps: Sequence[Step]) -> list[Any] | None:
        assert self._connection is not None  # a session was opened
        who = Identity(replica=self._replica, session=self._session, number=self._number)
        self._in_doubt = True
        try:
            answers = await perform(self._connection, steps, who, self._ttl_s)
        except FAILURES as error:
            self._in_doubt = is_lost(error)
            raise
        self._in_doubt = False
        return answers

    async def _open_session(self) -> bytes | None:
        """Connect, and shut out whatever an older connection of ours still does; the outcome of this round, if done.

        Its row is locked by a round until that is committed or undone, so the answer is final.
        """
        self._connection = await self._database.connect("writer")
        await self._connection.execute(_LET_GO, str(round(self._ttl_s * _STALL * 1000)))
        session, number, outcome = await self._connection.fetchrow(_OPEN_SESSION, self._replica)
        self._session, self._in_doubt = session, False
        found: bytes | None = outcome if number == self._number else None
        return found

    async def _disconnect(self, *, politely: bool = False) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if politely and not connection.is_closed():
            try:
                await connection.close(timeout=_CLOSE_TIMEOUT_S)
            except FAILURES:
                log.debug("storage_connection_not_closed")
        connection.terminate()

    def _fail(self, batch: Sequence[_Waiting], failure: StorageError) -> None:
        """Each gets an error of its own."""
        for waiting in batch:
            if waiting.future is None:
                self._hints_lost = True
                continue
            lease = waiting.item.append.lease if isinstance(waiting.item, AppendJob) else None
            told = outcome_unknown(lease, failure) if self._in_doubt else failure
            copy = type(told)(told.message)
            copy.__cause__ = failure
            _settle(waiting, copy)


class _Refused(Exception):
    """Nothing of the round was kept, and trying again as it is would not help."""

    def __init__(self, failure: StorageError) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Nothing:
    """A job that only goes through a round."""

    async def execute(self, connection: asyncpg.Connection) -> None:
        return None

    def hints(self, answer: None) -> tuple[str, ...]:
        return ()

    def result(self, answer: None) -> None:
        return None


def _settle(waiting: _Waiting, answer: Any) -> None:
    """Wake the caller with an error, or with the result of the job."""
    if waiting.future is None or waiting.future.done():  # its task was ended from outside
        return
    if isinstance(answer, BaseException):
        waiting.future.set_exception(answer)
        return
    assert not isinstance(waiting.item, str)  # a hint has no future
    try:
        waiting.future.set_result(waiting.item.result(answer))
    except StorageError as refusal:
        waiting.future.set_exception(refusal)


def _pauses() -> Iterator[float]:
    """Between attempts to connect: longer and longer, up to a second."""
    pause_s = 0.05
    while True:
        yield pause_s
        pause_s = min(1.0, pause_s * 2)
