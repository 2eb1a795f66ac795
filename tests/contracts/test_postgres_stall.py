"""A replica that stops in the middle of a commit, as a machine that sleeps does, keeps nobody from its threads."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from app_server.storage.base import LeaseHeld, LeaseLost
from app_server.storage.cluster import LetterKind
from tests.contracts.test_cluster_contract import PATIENCE_S, TTL_S, cluster_of
from tests.contracts.test_postgres_storage import data_of, replicas
from tests.contracts.test_storage_contract import facts, new_thread
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio
KINDS: tuple[LetterKind, ...] = ("command", "question")


class Stall:
    """A job of a round that does not come to its end until it may."""

    def __init__(self) -> None:
        self.reached, self.may_end = anyio.Event(), anyio.Event()

    async def execute(self, connection: Any) -> None:
        self.reached.set()
        await self.may_end.wait()

    def hints(self, answer: None) -> tuple[str, ...]:
        return ()

    def result(self, answer: None) -> None:
        return None


async def test_a_thread_is_taken_over_in_time_from_a_replica_that_stalls_in_the_middle_of_a_round() -> None:
    url = await cluster().new_database()
    async with replicas(url, ttl_s=TTL_S, count=2) as (ours, theirs):
        lease = await new_thread(ours.storage("local"), facts(1))
        stall, lost = Stall(), anyio.Event()

        async def append() -> None:
            with pytest.raises(LeaseLost):
                await ours.log.append(lease, facts(2))
            lost.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(append)
            tasks.start_soon(ours._writer.run, stall)
            await stall.reached.wait()
            taken = None
            with anyio.fail_after(PATIENCE_S):
                while taken is None:
                    try:
                        taken = await theirs.storage("local").leases.acquire(lease.thread_id)
                    except LeaseHeld:
                        continue
            assert await theirs.log.append(taken, facts(3)) == 2
            stall.may_end.set()
            await lost.wait()
        assert await data_of(theirs, lease.thread_id) == [(1, 1), (2, 3)]
    await cluster().drop(url)


async def test_a_command_of_a_replica_that_died_long_ago_is_not_done_any_more() -> None:
    url = await cluster().new_database()
    async with replicas(url, count=2) as (asking, serving):
        lease = await new_thread(serving.storage("local"))
        for kind in KINDS:
            await cluster_of(asking).post(kind, lease.thread_id, {})
        await ask(url, "UPDATE letters SET touched_at = clock_timestamp() - interval '61 seconds'")
        found = [await cluster_of(serving).waiting(kind, lease.thread_id) for kind in KINDS]
        assert [len(letters) for letters in found] == [0, 1]
    await cluster().drop(url)
