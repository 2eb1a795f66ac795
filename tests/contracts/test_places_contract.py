"""What `storage/places.py` promises, on each implementation: exact counts over processes, free when those are dead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import anyio
import pytest

from app_server.ids import uuid7
from app_server.storage.base import Storage, ThreadRow
from app_server.storage.local import open_local_storage
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.memory_cluster import MemoryReplica
from app_server.storage.places import DAY_MS, Full, Places
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.source import PostgresSource
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio
TENANT, OTHER = "local", "user:other"
SLACK_MS = 60_000


class SetClock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.at_ms = 1_790_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def monotonic_s(self) -> float:
        return 0.0


class World(Protocol):
    """Several processes over one store."""

    def process(self, tenant: str = TENANT) -> Storage:
        """A process of its own."""
        ...

    async def kill(self, number: int) -> None:
        """The process that was made so far back is dead."""
        ...

    async def pass_by(self, ms: int) -> None:
        """So much time goes by for what was taken."""
        ...

    async def aclose(self) -> None: ...


class MemoryWorld:
    def __init__(self) -> None:
        self.clock = SetClock()
        self._world = MemoryStorageWorld(clock=self.clock)
        self._made: list[MemoryReplica] = []

    def process(self, tenant: str = TENANT) -> Storage:
        self._made.append(self._world.replica())
        return self._made[-1].storage(tenant)

    async def kill(self, number: int) -> None:
        self._world.kill(self._made[number].replica)

    async def pass_by(self, ms: int) -> None:
        self.clock.at_ms += ms

    async def aclose(self) -> None:
        pass


class LocalWorld:
    """A folder for each tenant."""

    def __init__(self, folder: Path) -> None:
        self.clock = SetClock()
        self._folder = folder
        self._made: list[tuple[Path, Storage]] = []

    def process(self, tenant: str = TENANT) -> Storage:
        home = self._folder / tenant.replace(":", "-")
        self._made.append((home, open_local_storage(home, clock=self.clock)))
        return self._made[-1][1]

    async def kill(self, number: int) -> None:
        home, storage = self._made[number]
        owner = storage.leases._database.lock.owner  # type: ignore[attr-defined]  # the local one has it
        (home / "locks" / f"{owner}.lock").unlink()

    async def pass_by(self, ms: int) -> None:
        self.clock.at_ms += ms

    async def aclose(self) -> None:
        for _, storage in self._made:
            await storage.aclose()


class PostgresWorld:
    """A process is killed by letting its places run out; time goes by the other way round."""

    def __init__(self, url: str, pictures: MemoryStorageWorld) -> None:
        self._url, self._pictures = url, pictures
        self._made: list[PostgresSource] = []

    def process(self, tenant: str = TENANT) -> Storage:
        blobs = self._pictures.process().blobs
        self._made.append(PostgresSource(PostgresDatabase(self._url), lambda _: blobs))
        return self._made[-1].storage(tenant)

    async def kill(self, number: int) -> None:
        await ask(self._url, "UPDATE places SET ends = '-infinity' WHERE owner = $1", self._made[number].replica)

    async def pass_by(self, ms: int) -> None:
        statement = "UPDATE places SET ends = ends - make_interval(secs => $1::float8) WHERE owner IS NULL"
        await ask(self._url, statement, ms / 1000)

    async def aclose(self) -> None:
        for source in self._made:
            await source.aclose()


@asynccontextmanager
async def memory(folder: Path) -> AsyncIterator[World]:
    yield MemoryWorld()


@asynccontextmanager
async def local(folder: Path) -> AsyncIterator[World]:
    yield LocalWorld(folder)


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[World]:
    url = await cluster().new_database()
    yield PostgresWorld(url, MemoryStorageWorld(home=folder))
    await cluster().drop(url)


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "memory": memory,
    "local": local,
    "postgres": postgres,
}


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with WORLDS[request.param](tmp_path) as made:
        yield made
        await made.aclose()


def places(storage: Storage) -> Places:
    assert storage.places is not None
    return storage.places()


def row(thread_id: str, tenant: str = TENANT) -> ThreadRow:
    return ThreadRow(
        thread_id=thread_id,
        tenant=tenant,
        created_at_ms=1,
        updated_at_ms=1,
        recency_at_ms=1,
        cwd="/",
        source="tests",
        model="m",
        model_provider="p",
    )


async def test_places_are_taken_up_to_the_limit_and_given_back(world: World) -> None:
    one = places(world.process())
    assert [await one.take("turns", [key], 2) for key in ("a", "b", "c")] == [None, None, Full(used=2)]
    await one.give_back("turns", ["a", "unknown"])
    assert await one.take("turns", ["c"], 2) is None


async def test_all_are_taken_or_none(world: World) -> None:
    one = places(world.process())
    assert await one.take("turns", ["a", "b", "c"], 2) == Full(used=0)
    assert await one.take("turns", ["a", "b"], 2) is None


async def test_a_key_that_has_a_place_keeps_it(world: World) -> None:
    one = places(world.process())
    assert [await one.take("connections", ["a"], 1) for _ in range(2)] == [None, None]
    assert await one.take("connections", ["b"], 1) == Full(used=1)


async def test_kinds_and_tenants_are_counted_apart(world: World) -> None:
    one, other = places(world.process()), places(world.process(OTHER))
    answers = [await one.take("turns", ["a"], 1), await one.take("connections", ["a"], 1)]
    assert [*answers, await other.take("turns", ["a"], 1)] == [None, None, None]


async def test_processes_count_together_and_never_take_more_than_there_are(world: World) -> None:
    both = [places(world.process()), places(world.process())]
    taken: list[str] = []

    async def take(of: Places, key: str) -> None:
        if await of.take("turns", [key], 3) is None:
            taken.append(key)

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(take, both[number % 2], f"turn-{number}")
    assert len(taken) == 3
    assert await both[0].take("turns", ["one more"], 3) == Full(used=3)


@pytest.mark.parametrize("kind", ["turns", "connections", "threads"])
async def test_the_places_of_a_dead_process_are_free(world: World, kind: str) -> None:
    dead, alive = places(world.process()), places(world.process())
    assert await dead.take(kind, ["a"], 1) is None  # type: ignore[arg-type]  # one of the three
    assert await alive.take(kind, ["b"], 1) == Full(used=1)  # type: ignore[arg-type]  # the same
    await world.kill(0)
    assert await alive.take(kind, ["b"], 1) is None  # type: ignore[arg-type]  # the same


async def test_a_picture_counts_for_a_day_also_when_its_process_is_dead(world: World) -> None:
    dead, alive = places(world.process()), places(world.process())
    assert await dead.take("pictures", ["a"], 2) is None
    await world.pass_by(DAY_MS // 2)
    assert await dead.take("pictures", ["b"], 2) is None
    await world.kill(0)
    full = await alive.take("pictures", ["c"], 2)
    both = await alive.take("pictures", ["c", "d"], 2)
    assert (full and full.used, both and both.used) == (2, 2)
    assert full is not None
    assert both is not None
    assert full.free_in_ms is not None
    assert both.free_in_ms is not None
    assert abs(full.free_in_ms - DAY_MS // 2) < SLACK_MS
    assert abs(both.free_in_ms - DAY_MS) < SLACK_MS
    assert await alive.take("pictures", ["c", "d", "e"], 2) == Full(used=2, free_in_ms=None)
    await world.pass_by(full.free_in_ms)
    assert await alive.take("pictures", ["c"], 2) is None


async def test_stored_threads_count_and_one_with_a_place_counts_once(world: World) -> None:
    storage = world.process()
    one, thread_id = places(storage), uuid7()
    assert await one.take("threads", [thread_id], 1) is None
    lease, _ = await storage.log.create(row(thread_id), [])
    assert await one.take("threads", ["other"], 2) is None
    await one.give_back("threads", ["other"])
    await one.give_back("threads", [thread_id])
    assert await one.take("threads", ["other"], 1) == Full(used=1)
    await storage.log.delete(lease)
    assert await one.take("threads", ["other"], 1) is None
