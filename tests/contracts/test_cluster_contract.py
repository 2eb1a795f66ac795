"""What replicas that share a storage may rely on (`storage/cluster.py`), run on each implementation.

A *world* is what the replicas share. Nothing here waits for a time: a lease of a replica that does not run has run out
when the world says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from anyio.abc import TaskGroup

from app_server.ids import uuid7
from app_server.storage.base import Draining, Lease, LeaseLost, Storage, StorageSource
from app_server.storage.cluster import Cluster, Hint, Letter
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.source import PostgresSource
from tests.contracts.test_storage_contract import a_row, facts, new_thread
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio

TTL_S = 0.5
PATIENCE_S = 20


class World(Protocol):
    """What several replicas share."""

    def replica(self) -> StorageSource: ...

    async def starts_hearing(self, source: StorageSource, tasks: TaskGroup) -> None:
        """Run the source; return once it hears."""
        ...

    async def runs_out(self, owner: str) -> None:
        """Return once the leases of a replica that does not renew them have run out."""
        ...


class MemoryWorld:
    """Dictionaries: who does not renew its leases is made known as dead."""

    def __init__(self, home: Path) -> None:
        self._world = MemoryStorageWorld(home=home)

    def replica(self) -> StorageSource:
        return self._world.replica()

    async def starts_hearing(self, source: StorageSource, tasks: TaskGroup) -> None:
        tasks.start_soon(source.run)

    async def runs_out(self, owner: str) -> None:
        self._world.kill(owner)


class PostgresWorld:
    """A database. Its clock says when a lease has run out."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._pictures = MemoryStorageWorld(home=home).process().blobs

    def replica(self) -> StorageSource:
        return PostgresSource(PostgresDatabase(self._url), lambda tenant: self._pictures, lease_ttl_s=TTL_S)

    async def starts_hearing(self, source: StorageSource, tasks: TaskGroup) -> None:
        hears = Ear(source, "nobody")
        tasks.start_soon(source.run)
        await hears.until("again")

    async def runs_out(self, owner: str) -> None:
        wait = "SELECT pg_sleep(extract(epoch FROM max(expires) - clock_timestamp())) FROM leases WHERE owner = $1"
        await ask(self._url, wait, owner)


@asynccontextmanager
async def memory(home: Path) -> AsyncIterator[World]:
    yield MemoryWorld(home)


@asynccontextmanager
async def postgres(home: Path) -> AsyncIterator[World]:
    url = await cluster().new_database()
    yield PostgresWorld(url, home)
    await cluster().drop(url)


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {"memory": memory, "postgres": postgres}


class Ear:
    """What one replica hears as one tenant."""

    def __init__(self, source: StorageSource, tenant: str = "local") -> None:
        self.heard: list[Hint] = []
        self._more = anyio.Event()
        cluster_of(source, tenant).listen(self._hear)

    def _hear(self, hint: Hint) -> None:
        self.heard.append(hint)
        self._more.set()
        self._more = anyio.Event()

    async def until(self, kind: str, key: str = "") -> Hint:
        """The first hint of this kind and key, once it is heard."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                for hint in self.heard:
                    if (hint.kind, hint.key) == (kind, key):
                        return hint
                await self._more.wait()


class Stage:
    """The replicas that a test starts; all are ended after it."""

    def __init__(self, world: World, tasks: TaskGroup, ends: AsyncExitStack) -> None:
        self.world, self._tasks, self._ends = world, tasks, ends

    async def replica(self, *, runs: bool = True) -> StorageSource:
        source = self.world.replica()
        self._ends.push_async_callback(source.aclose)
        if runs:
            await self.world.starts_hearing(source, self._tasks)
        return source


@pytest.fixture(params=WORLDS)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    async with WORLDS[request.param](tmp_path) as world, AsyncExitStack() as ends, anyio.create_task_group() as tasks:
        yield Stage(world, tasks, ends)
        tasks.cancel_scope.cancel()


def cluster_of(source: StorageSource, tenant: str = "local") -> Cluster:
    found = source.storage(tenant).cluster
    assert found is not None
    return found


def passing(key: str, **data: Any) -> Hint:
    return Hint(kind="passing", thread_id="t", key=key, data=data)


# --- hints


async def test_hints_are_heard_in_the_order_they_were_told_and_records_among_them(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    ear = Ear(theirs)
    storage, cluster = ours.storage("local"), cluster_of(ours)
    lease = await new_thread(storage, facts(1))
    cluster.tell(passing("a", text="x\ny"))
    await storage.log.append(lease, facts(2, 3))
    cluster.tell(passing("b"))
    cluster.tell(Hint(kind="broadcast", data={"method": "m", "params": {"n": 1}}))
    await storage.log.append(lease, facts(4))
    cluster.tell(passing("end"))
    await ear.until("passing", "end")
    assert [hint for hint in ear.heard if hint.kind != "again"] == [
        passing("a", text="x\ny"),
        Hint(kind="records", thread_id=lease.thread_id, seq=3),
        passing("b"),
        Hint(kind="broadcast", data={"method": "m", "params": {"n": 1}}),
        Hint(kind="records", thread_id=lease.thread_id, seq=4),
        passing("end"),
    ]


async def test_what_is_told_while_appends_are_on_their_way_keeps_its_place_between_them(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    ear, storage, cluster = Ear(theirs), ours.storage("local"), cluster_of(ours)
    lease = await new_thread(storage)
    async with anyio.create_task_group() as tasks:
        for number in range(30):
            tasks.start_soon(storage.log.append, lease, facts(number))
            await anyio.lowlevel.checkpoint()
            cluster.tell(passing(str(number)))
    cluster.tell(passing("end"))
    await ear.until("passing", "end")
    seen = [hint.seq or hint.key for hint in ear.heard if hint.kind in ("records", "passing")]
    assert seen[-1] == "end"
    assert [key for key in seen[:-1] if isinstance(key, str)] == [str(number) for number in range(30)]
    assert [seq for seq in seen if isinstance(seq, int)] == sorted({seq for seq in seen if isinstance(seq, int)})
    assert max(seq for seq in seen if isinstance(seq, int)) == 30


async def test_hundreds_of_hints_at_once_are_all_heard_in_order(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    ear = Ear(theirs)
    for number in range(300):
        cluster_of(ours).tell(passing(str(number), text="ä" * 100))
    await ear.until("passing", "299")
    assert [hint.key for hint in ear.heard if hint.kind == "passing"] == [str(number) for number in range(300)]


async def test_equal_hints_are_not_taken_for_one(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    ear = Ear(theirs)
    for _ in range(3):
        cluster_of(ours).tell(passing("same"))
    cluster_of(ours).tell(passing("end"))
    await ear.until("passing", "end")
    assert [hint.key for hint in ear.heard if hint.kind == "passing"] == ["same", "same", "same", "end"]


async def test_nobody_hears_itself_or_another_tenant(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    our_ear, their_ear, guest_ear = Ear(ours), Ear(theirs), Ear(theirs, "guest")
    cluster_of(ours).tell(passing("ours"))
    await their_ear.until("passing", "ours")
    cluster_of(theirs).tell(passing("theirs"))
    cluster_of(ours, "guest").tell(passing("guest"))
    await our_ear.until("passing", "theirs")
    await guest_ear.until("passing", "guest")
    assert [[hint.key for hint in ear.heard if hint.kind == "passing"] for ear in (our_ear, their_ear, guest_ear)] == [
        ["theirs"],
        ["ours"],
        ["guest"],
    ]


# --- letters


async def test_a_letter_is_a_row_until_it_is_removed_and_outlives_who_wrote_it(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    ear, reader = Ear(theirs), cluster_of(theirs)
    body = {"method": "turn/start", "params": {"text": "a fox \u0000 ✓"}}
    key = await cluster_of(ours).post("command", "t", body)
    assert await ear.until("letter", key) == Hint(kind="letter", thread_id="t", key=key, data={"kind": "command"})
    await ours.aclose()
    letter = Letter(letter_id=key, kind="command", thread_id="t", body=body)
    assert (await reader.look(key), await reader.waiting("command", "t")) == (letter, [letter])
    await reader.remove(key)
    await reader.remove(key)
    assert (await reader.look(key), await reader.waiting("command", "t")) == (None, [])
    assert (await reader.take(key), await reader.answer(key, {})) == (False, False)


async def test_letters_wait_by_kind_and_thread_the_oldest_first(stage: Stage) -> None:
    ours, theirs = cluster_of(await stage.replica()), cluster_of(await stage.replica())
    first = await theirs.post("command", "t", {"n": 1})
    second = await ours.post("command", "t", {"n": 2})
    question = await ours.post("question", "t", {"n": 3})
    await ours.post("command", "other", {"n": 4})
    third = await theirs.post("command", "t", {"n": 5})
    assert [letter.letter_id for letter in await ours.waiting("command", "t")] == [first, second, third]
    assert [letter.letter_id for letter in await theirs.waiting("question", "t")] == [question]


async def test_a_letter_is_taken_once_however_many_want_it(stage: Stage) -> None:
    clusters = [cluster_of(await stage.replica()) for _ in range(3)]
    key = await clusters[0].post("command", "t", {})
    taken: list[str] = []

    async def take(cluster: Cluster) -> None:
        if await cluster.take(key):
            taken.append(cluster.replica)

    async with anyio.create_task_group() as tasks:
        for cluster in clusters * 2:
            tasks.start_soon(take, cluster)
    letter = await clusters[1].look(key)
    assert letter is not None
    assert taken == [letter.taken_by]
    assert await clusters[2].waiting("command", "t") == []


async def test_the_first_answer_counts_and_is_hinted_at(stage: Stage) -> None:
    sources = [await stage.replica() for _ in range(3)]
    ear, clusters = Ear(sources[0]), [cluster_of(source) for source in sources]
    key = await clusters[0].post("question", "t", {"ask": "may I?"})
    given: dict[str, bool] = {}

    async def answer(cluster: Cluster) -> None:
        given[cluster.replica] = await cluster.answer(key, {"by": cluster.replica})

    async with anyio.create_task_group() as tasks:
        for cluster in clusters[1:]:
            tasks.start_soon(answer, cluster)
    assert await ear.until("answered", key) == Hint(kind="answered", thread_id="t", key=key)
    letter = await clusters[0].look(key)
    assert letter is not None
    assert [replica for replica, first in given.items() if first] == [(letter.answer or {})["by"]]
    assert (await clusters[1].waiting("question", "t"), await clusters[0].take(key)) == ([], False)
    assert await clusters[0].answer(key, {"by": "late"}) is False


async def test_a_letter_of_another_tenant_is_not_there(stage: Stage) -> None:
    source = await stage.replica()
    ours, guest = cluster_of(source), cluster_of(source, "guest")
    key = await ours.post("command", "t", {})
    assert (await guest.look(key), await guest.waiting("command", "t")) == (None, [])
    assert (await guest.take(key), await guest.answer(key, {})) == (False, False)
    await guest.remove(key)
    assert await ours.look(key) == Letter(letter_id=key, kind="command", thread_id="t", body={})


# --- owners


async def test_a_thread_has_an_owner_until_its_lease_is_given_back(stage: Stage) -> None:
    ours, theirs = await stage.replica(), await stage.replica()
    lease = await new_thread(ours.storage("local"))
    other = cluster_of(theirs)
    assert await other.owner(lease.thread_id) == lease.owner == cluster_of(ours).replica
    assert await cluster_of(theirs, "guest").owner(lease.thread_id) is None
    await ours.storage("local").leases.release(lease)
    assert (await other.owner(lease.thread_id), await other.ownerless(10)) == (None, [])
    assert await other.owner(uuid7()) is None


async def test_a_thread_whose_owner_stalls_is_ownerless_and_what_the_owner_still_sends_is_refused(
    stage: Stage,
) -> None:
    stalled, successor = await stage.replica(runs=False), await stage.replica()
    old, kept = stalled.storage("local"), successor.storage("local")
    lease = await new_thread(old, facts(1))
    await stage.world.runs_out(lease.owner)
    other = cluster_of(successor)
    assert (await other.owner(lease.thread_id), await other.ownerless(10)) == (None, [lease.thread_id])
    assert (await other.ownerless(0), await cluster_of(successor, "guest").ownerless(10)) == ([], [])
    assert await successor.abandoned() == ["local"]
    taken = await kept.leases.acquire(lease.thread_id)
    assert taken == replace(lease, owner=other.replica, epoch=lease.epoch + 1)
    assert (await other.ownerless(10), await successor.abandoned()) == ([], [])
    with pytest.raises(LeaseLost):
        await old.log.append(lease, facts(2), row=a_row(lease.thread_id, name="late"))
    assert await kept.log.append(taken, facts(3)) == 2
    assert [record.data for record in await kept.log.read(lease.thread_id)] == [{"n": 1}, {"n": 3}]


async def test_one_of_many_successors_gets_the_thread(stage: Stage) -> None:
    stalled = await stage.replica(runs=False)
    successors = [(await stage.replica()).storage("local") for _ in range(3)]
    lease = await new_thread(stalled.storage("local"))
    await stage.world.runs_out(lease.owner)
    taken: list[Lease] = []

    async def acquire(storage: Storage) -> None:
        try:
            taken.append(await storage.leases.acquire(lease.thread_id))
        except Exception as error:
            assert type(error).__name__ == "LeaseHeld"  # noqa: PT017 - which of them fail is a matter of luck

    async with anyio.create_task_group() as tasks:
        for storage in successors:
            tasks.start_soon(acquire, storage)
    assert [one.epoch for one in taken] == [lease.epoch + 1]


async def test_a_replica_that_drains_goes_on_with_its_threads_and_takes_no_more(stage: Stage) -> None:
    source = await stage.replica()
    storage = source.storage("local")
    lease = await new_thread(storage, facts(1))
    free = await new_thread(storage)
    await storage.leases.release(free)
    source.drain()
    with pytest.raises(Draining, match="takes no more threads"):
        await storage.leases.acquire(free.thread_id)
    with pytest.raises(Draining):
        await storage.log.create(a_row(uuid7()), facts(1))
    assert await storage.log.append(lease, facts(2)) == 2
    await storage.leases.release(lease)
    assert (await (await stage.replica()).storage("local").leases.acquire(lease.thread_id)).epoch == lease.epoch + 1


async def test_the_storage_of_a_tenant_reaches_nothing_of_another(stage: Stage) -> None:
    source = await stage.replica()
    ours, guest = source.storage("local"), source.storage("guest")
    lease = await new_thread(ours, facts(1))
    assert (await guest.log.row(lease.thread_id, tenant="local"), await guest.log.read(lease.thread_id)) == (None, [])
    with pytest.raises(Exception, match="another tenant's"):
        await guest.log.append(lease, facts(2))
    with pytest.raises(Exception, match="another tenant's"):
        await guest.log.delete(lease)
    assert len(await ours.log.read(lease.thread_id)) == 1
