"""A round of the writer: what waits becomes steps of one transaction. Plans and speaks SQL; keeps no connection.

| the round has | it is |
|---|---|
| hints alone | one statement that waits for no disk: a hint may be lost |
| appends, and hints between them | one statement, its own transaction |
| anything else | BEGIN, a statement for each step, the end of the round, COMMIT |

Called by `writer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import asyncpg
import orjson

from app_server.storage.base import Lease, LeaseLost, StorageError
from app_server.storage.postgres.appends import FENCED_OFF, NO_THREAD, Append, AppendStep
from app_server.storage.postgres.failures import FAILURES, is_lost
from app_server.storage.postgres.hints import CHANNEL, payloads
from app_server.storage.rules import lease_lost, thread_unknown
from app_server.values import frozen

_TELL: Final = (
    f"SELECT set_config('synchronous_commit', 'off', true), pg_notify('{CHANNEL}', payload)::text "
    "FROM unnest($1::text[]) AS payload"
)
_END: Final = (
    "WITH done AS (UPDATE writers SET round = $3, outcome = $4, seen_at = clock_timestamp() "
    "WHERE replica = $1 AND session = $2 RETURNING round) "
    f"SELECT done.round, CASE WHEN payload IS NOT NULL THEN pg_notify('{CHANNEL}', payload)::text END "
    "FROM done LEFT JOIN unnest($5::text[]) AS payload ON true"
)


class Job(Protocol):
    """What a caller waits for. It may run twice, if nothing is left of the first time."""

    async def execute(self, connection: asyncpg.Connection) -> Any:
        """The statements, inside a transaction; returns JSON. What it refuses it returns: raising undoes the round."""
        ...

    def hints(self, answer: Any) -> Sequence[str]:
        """What others hear of it (`hints.hint_line`)."""
        ...

    def result(self, answer: Any) -> Any:
        """What the caller gets, made of what `execute` returned; or raises."""
        ...


class AppendJob:
    """Records of one call. The round puts the appends that stand together into one statement."""

    def __init__(self, append: Append) -> None:
        self.append = append

    def result(self, last_seq: int) -> int:
        if last_seq == FENCED_OFF:
            raise lease_lost(self.append.lease)
        if last_seq == NO_THREAD:
            raise thread_unknown(self.append.lease.thread_id)
        return last_seq


Step = AppendStep | Job


@frozen
class Identity:
    """Who writes: the row in `writers`, its session, and the round's number."""

    replica: str
    session: int
    number: int


def plan(items: Sequence[AppendJob | Job | str]) -> list[Step]:
    """The steps for what waits, in its order; a text is the line of a hint."""
    steps: list[Step] = []
    for item in items:
        if not isinstance(item, str | AppendJob):
            steps.append(item)
            continue
        if not steps or not isinstance(steps[-1], AppendStep):
            steps.append(AppendStep())
        last = steps[-1]
        assert isinstance(last, AppendStep)  # it was just made one
        if isinstance(item, str):
            last.tell(item)
        else:
            last.add(item.append)
    return steps


def results(items: Sequence[AppendJob | Job | str], steps: Sequence[Step], answers: Sequence[Any]) -> list[Any]:
    """The answer for each item in its order; None for a hint."""
    appends: list[int] = []
    others: list[Any] = []
    for step, answer in zip(steps, answers, strict=True):
        if isinstance(step, AppendStep):
            appends += step.outcomes(answer) if step.has_appends else ()
        else:
            others.append(answer)
    appended, other = iter(appends), iter(others)
    return [None if isinstance(i, str) else next(appended if isinstance(i, AppendJob) else other) for i in items]


async def perform(
    connection: asyncpg.Connection, steps: Sequence[Step], who: Identity, ttl_s: float
) -> list[Any] | None:
    """Do the round and commit it; returns an answer for each step. None when the session is over: nothing was done."""
    if len(steps) == 1 and isinstance(steps[0], AppendStep):
        return await _perform_alone(connection, steps[0], who, ttl_s)
    await connection.execute("BEGIN")
    try:
        answers = [await _step(connection, step, ttl_s) for step in steps]
        lines = [line for step, answer in zip(steps, answers, strict=True) for line in _lines(step, answer)]
        told = payloads(who.replica, who.number, lines)
        ended = await connection.fetchrow(_END, who.replica, who.session, who.number, orjson.dumps(answers), told)
    except FAILURES as error:
        if not is_lost(error):
            await connection.execute("ROLLBACK")
        raise
    await connection.execute("COMMIT" if ended else "ROLLBACK")
    return answers if ended else None


async def tell(connection: asyncpg.Connection, step: AppendStep, who: Identity) -> None:
    """Send hints that come with no record."""
    await connection.fetch(_TELL, payloads(who.replica, who.number, list(step.lines(()))))


def read_outcome(steps: Sequence[Step], outcome: bytes) -> list[Any]:
    """The answers that a round left in the writer's row."""
    answers: list[Any] = orjson.loads(outcome)
    return [answers] if len(steps) == 1 and isinstance(steps[0], AppendStep) else answers


async def _perform_alone(
    connection: asyncpg.Connection, step: AppendStep, who: Identity, ttl_s: float
) -> list[Any] | None:
    if not step.has_appends:
        await tell(connection, step, who)
        return [[]]
    statement, values = step.statement(ttl_s, (who.replica, who.session, who.number))
    found = await connection.fetchrow(statement, *values)
    return None if found is None else read_outcome([step], found[0])


async def _step(connection: asyncpg.Connection, step: Step, ttl_s: float) -> Any:
    if not isinstance(step, AppendStep):
        return await step.execute(connection)
    if not step.has_appends:
        return []
    statement, values = step.statement(ttl_s)
    return orjson.loads(await connection.fetchval(statement, *values))


def _lines(step: Step, answer: Any) -> Sequence[str]:
    return list(step.lines(answer)) if isinstance(step, AppendStep) else step.hints(answer)


def outcome_unknown(lease: Lease | None, failure: StorageError) -> StorageError:
    """The connection was lost during a commit, and nobody could be asked since what came of it."""
    if lease is None:
        return failure
    return LeaseLost(
        f"Whether thread {lease.thread_id} was written is not known, since the connection to its storage was lost; "
        "load the thread again to go on."
    )
