"""What every storage promises (`storage/base.py`), run on each implementation.

A *world* is what outlives a process: a folder, or a dictionary. Two storages of one world are two processes to each
other.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_server.extension_api.tools import PictureRef
from app_server.ids import uuid7
from app_server.storage.base import (
    LOCAL_TENANT,
    BlobAltered,
    BlobMissing,
    Lease,
    LeaseHeld,
    LeaseLost,
    PictureQuery,
    PictureRow,
    Record,
    Storage,
    StorageError,
    ThreadPage,
    ThreadQuery,
    ThreadRow,
    ThreadSortKey,
)
from app_server.storage.local import open_local_storage
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.source import PostgresSource
from app_server.storage.rules import search_matches
from app_server.storage.s3 import open_blobs
from tests.support import s3
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio

NOW_MS = 1_790_000_000_000


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return 0.0


class World(Protocol):
    """Several processes over one store."""

    def process(self) -> Storage: ...

    async def kill(self, owner: str) -> None: ...


class MemoryWorld:
    """Dictionaries."""

    def __init__(self, home: Path) -> None:
        self._world = MemoryStorageWorld(home=home, clock=FixedClock())

    def process(self) -> Storage:
        return self._world.process()

    async def kill(self, owner: str) -> None:
        self._world.kill(owner)


class LocalWorld:
    """A home. A process is killed by taking away its sign of life."""

    def __init__(self, home: Path) -> None:
        self._home = home

    def process(self) -> Storage:
        return open_local_storage(self._home, clock=FixedClock())

    async def kill(self, owner: str) -> None:
        (self._home / "locks" / f"{owner}.lock").unlink()


class PostgresWorld:
    """A database for the log, a bucket for pictures. A killed process has leases that have run out."""

    def __init__(self, url: str, home: Path) -> None:
        self._url, self._home = url, home
        self._blobs_url = s3.blobs_url(s3.new_bucket())

    def process(self) -> Storage:
        database = PostgresDatabase(self._url)
        blobs = open_blobs(database, self._blobs_url, self._home)
        source = PostgresSource(database, blobs, clock=FixedClock())
        return Storage(log=source.log, blobs=blobs(LOCAL_TENANT), leases=source.leases)

    async def kill(self, owner: str) -> None:
        await ask(self._url, "UPDATE leases SET expires = '-infinity' WHERE owner = $1", owner)


@asynccontextmanager
async def memory(home: Path) -> AsyncIterator[World]:
    yield MemoryWorld(home)


@asynccontextmanager
async def local(home: Path) -> AsyncIterator[World]:
    yield LocalWorld(home)


@asynccontextmanager
async def postgres(home: Path) -> AsyncIterator[World]:
    url = await cluster().new_database()
    yield PostgresWorld(url, home)
    await cluster().drop(url)


WORLDS: dict[str, Callable[[Path], AbstractAsyncContextManager[World]]] = {
    "memory": memory,
    "local": local,
    "postgres": postgres,
}


class Stage:
    """The processes that a test starts; all are closed after it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._processes: list[Storage] = []

    def process(self) -> Storage:
        self._processes.append(self._world.process())
        return self._processes[-1]

    async def kill(self, owner: str) -> None:
        await self._world.kill(owner)

    async def aclose(self) -> None:
        for process in self._processes:
            await process.aclose()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(params=WORLDS)
async def stage(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    async with WORLDS[request.param](home) as world:
        stage = Stage(world)
        yield stage
        await stage.aclose()


@pytest.fixture
def storage(stage: Stage) -> Storage:
    return stage.process()


@pytest.fixture
def _files_are_blobs(storage: Storage) -> None:
    if not storage.blobs.keeps_files:
        pytest.skip("no file is a blob in this world; test_object_blobs.py says what holds there")


def a_row(thread_id: str, *, at_ms: int = 1000, **changes: Any) -> ThreadRow:
    row = ThreadRow(
        thread_id=thread_id,
        created_at_ms=at_ms,
        updated_at_ms=at_ms,
        recency_at_ms=at_ms,
        listed=True,
        preview="a red fox",
        cwd="/work",
        source="cli",
        model="m",
        model_provider="offline",
        meta={"originator": "test", "gitInfo": None},
    )
    return replace(row, **changes)


def facts(*numbers: int) -> list[Record]:
    return [Record(kind="history", data={"n": number}) for number in numbers]


def stored(*numbers: int, first_seq: int = 1) -> list[Record]:
    return [
        Record(kind="history", data={"n": number}, seq=seq, at_ms=NOW_MS)
        for seq, number in enumerate(numbers, first_seq)
    ]


async def new_thread(storage: Storage, records: Sequence[Record] = (), *, row: ThreadRow | None = None) -> Lease:
    lease, _ = await storage.log.create(row or a_row(uuid7()), records)
    return lease


# --- records


async def test_records_are_numbered_from_one_without_gaps_across_create_and_append(storage: Storage) -> None:
    lease, first = await storage.log.create(a_row(uuid7()), facts(10, 11))
    seqs = [first, await storage.log.append(lease, facts(12)), await storage.log.append(lease, facts(13, 14))]
    assert seqs == [2, 3, 5]
    assert await storage.log.read(lease.thread_id) == stored(10, 11, 12, 13, 14)


async def test_a_record_keeps_the_time_it_came_with(storage: Storage) -> None:
    lease = await new_thread(storage, [Record(kind="name_set", data={"name": "x"}, at_ms=5)])
    assert await storage.log.read(lease.thread_id) == [Record(kind="name_set", data={"name": "x"}, seq=1, at_ms=5)]


async def test_read_takes_a_window_of_the_records(storage: Storage) -> None:
    lease = await new_thread(storage, facts(1, 2, 3, 4))
    assert await storage.log.read(lease.thread_id, after_seq=1, limit=2) == stored(2, 3, first_seq=2)
    assert await storage.log.read(lease.thread_id, after_seq=4) == []
    assert await storage.log.read(lease.thread_id, limit=0) == []


async def test_an_unknown_thread_has_no_records_and_no_row(storage: Storage) -> None:
    thread_id = uuid7()
    assert (await storage.log.read(thread_id), await storage.log.row(thread_id)) == ([], None)


async def test_concurrent_appends_to_many_threads_keep_each_threads_order(storage: Storage) -> None:
    leases = [await new_thread(storage) for _ in range(50)]

    async def write(lease: Lease) -> None:
        for number in range(5):
            await storage.log.append(lease, facts(number))

    async with anyio.create_task_group() as tasks:
        for lease in leases:
            tasks.start_soon(write, lease)
    assert [await storage.log.read(lease.thread_id) for lease in leases] == [stored(0, 1, 2, 3, 4)] * 50


async def test_concurrent_appends_to_one_thread_are_stored_in_the_order_they_were_made(storage: Storage) -> None:
    lease = await new_thread(storage)
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(storage.log.append, lease, facts(number))
    assert await storage.log.read(lease.thread_id) == stored(*range(20))


async def test_what_was_read_or_written_is_not_the_logs_own_object(storage: Storage) -> None:
    data = {"n": [1]}
    lease = await new_thread(storage, [Record(kind="history", data=data)])
    data["n"].append(2)
    (first,) = await storage.log.read(lease.thread_id)
    first.data["n"].append(3)
    assert await storage.log.read(lease.thread_id) == [Record(kind="history", data={"n": [1]}, seq=1, at_ms=NOW_MS)]


async def test_a_second_process_reads_what_was_appended(stage: Stage) -> None:
    lease = await new_thread(stage.process(), facts(1))
    other = stage.process()
    assert await other.log.read(lease.thread_id) == stored(1)
    assert await other.log.row(lease.thread_id) == a_row(lease.thread_id)


@pytest.mark.parametrize(
    ("data", "sentence_part"),
    [
        ({"text": object()}, "cannot be written as JSON"),
        ({"n": 2**64}, "cannot be written as JSON"),
    ],
    ids=["not JSON", "integer too large"],
)
async def test_a_record_that_cannot_be_stored_refuses_the_whole_append(
    storage: Storage, data: dict[str, Any], sentence_part: str
) -> None:
    lease = await new_thread(storage, facts(1))
    with pytest.raises(StorageError, match=sentence_part):
        await storage.log.append(lease, [*facts(2), Record(kind="history", data=data)])
    assert await storage.log.read(lease.thread_id) == stored(1)


async def test_a_thread_may_begin_with_hundreds_of_records(storage: Storage) -> None:
    lease, last_seq = await storage.log.create(a_row(uuid7()), facts(*range(250)))
    assert last_seq == 250
    assert await storage.log.read(lease.thread_id) == stored(*range(250))


async def test_a_thread_is_created_once(storage: Storage) -> None:
    lease = await new_thread(storage, facts(1))
    with pytest.raises(StorageError, match="is in the log already"):
        await storage.log.create(a_row(lease.thread_id), facts(2))
    assert await storage.log.read(lease.thread_id) == stored(1)


async def test_a_thread_that_was_not_created_takes_no_records(storage: Storage) -> None:
    lease = await storage.leases.acquire(uuid7())
    with pytest.raises(StorageError, match="is not in the log"):
        await storage.log.append(lease, facts(1))
    assert await storage.log.read(lease.thread_id) == []


async def test_a_cancelled_append_is_either_stored_whole_or_not_at_all(storage: Storage) -> None:
    lease = await new_thread(storage)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await storage.log.append(lease, facts(1))
    assert scope.cancelled_caught
    assert await storage.log.read(lease.thread_id) == []
    assert await storage.log.append(lease, facts(2)) == 1


@given(appends=st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(), max_size=3)), max_size=8))
@settings(max_examples=25, deadline=None)
@pytest.mark.parametrize("world_name", WORLDS)
async def test_any_sequence_of_appends_reads_back_as_it_was_written(
    world_name: str, tmp_path_factory: pytest.TempPathFactory, appends: list[tuple[int, list[int]]]
) -> None:
    async with WORLDS[world_name](tmp_path_factory.mktemp("home")) as world:
        stage = Stage(world)
        storage = stage.process()
        leases = [await new_thread(storage) for _ in range(3)]
        model: list[list[int]] = [[], [], []]
        for index, numbers in appends:
            small = [number % 1000 for number in numbers]
            model[index] += small
            assert await storage.log.append(leases[index], facts(*small)) == len(model[index])
        for lease, numbers in zip(leases, model, strict=True):
            middle = len(numbers) // 2
            assert await storage.log.read(lease.thread_id) == stored(*numbers)
            assert await storage.log.read(lease.thread_id, after_seq=middle) == stored(*numbers)[middle:]
        await stage.aclose()


# --- leases


async def test_our_own_lease_is_renewed_unchanged(storage: Storage) -> None:
    thread_id = uuid7()
    assert await storage.leases.acquire(thread_id) == await storage.leases.acquire(thread_id)


async def test_a_live_process_keeps_its_lease(stage: Stage) -> None:
    lease = await new_thread(stage.process())
    with pytest.raises(LeaseHeld, match=f"^Thread {lease.thread_id} already has an active writer; "):
        await stage.process().leases.acquire(lease.thread_id)


async def test_a_released_lease_goes_to_the_next_with_a_higher_epoch(stage: Stage) -> None:
    first, second = stage.process(), stage.process()
    lease = await new_thread(first, facts(1))
    await first.leases.release(lease)
    taken = await second.leases.acquire(lease.thread_id)
    assert taken == replace(lease, owner=taken.owner, epoch=lease.epoch + 1)
    assert taken.owner != lease.owner
    assert await second.log.append(taken, facts(2)) == 2


async def test_a_closed_process_gives_its_leases_back(stage: Stage) -> None:
    first = stage.process()
    lease = await new_thread(first)
    await first.aclose()
    assert (await stage.process().leases.acquire(lease.thread_id)).epoch == lease.epoch + 1


async def test_releasing_a_lost_lease_does_nothing(stage: Stage) -> None:
    first, second = stage.process(), stage.process()
    lease = await new_thread(first)
    await first.leases.release(lease)
    taken = await second.leases.acquire(lease.thread_id)
    await first.leases.release(lease)
    assert await second.leases.acquire(lease.thread_id) == taken


async def test_a_dead_owners_lease_is_taken_over_and_what_it_still_sends_is_refused(stage: Stage) -> None:
    first, second = stage.process(), stage.process()
    old = await new_thread(first, facts(1))
    await stage.kill(old.owner)
    new = await second.leases.acquire(old.thread_id)
    assert new.epoch == old.epoch + 1
    with pytest.raises(LeaseLost, match=f"^Thread {old.thread_id} was taken over"):
        await first.log.append(old, facts(2), row=a_row(old.thread_id, name="old"))
    with pytest.raises(LeaseLost):
        await first.log.delete(old)
    assert await second.log.append(new, facts(3)) == 2
    assert await second.log.read(old.thread_id) == stored(1, 3)
    assert await second.log.row(old.thread_id) == a_row(old.thread_id)


async def test_a_lease_from_before_its_release_is_refused_though_the_owner_is_the_same(storage: Storage) -> None:
    old = await new_thread(storage)
    await storage.leases.release(old)
    with pytest.raises(LeaseLost):
        await storage.log.append(old, facts(1))
    new = await storage.leases.acquire(old.thread_id)
    with pytest.raises(LeaseLost):
        await storage.log.append(old, facts(1))
    assert await storage.log.append(new, facts(1)) == 1


async def test_a_new_thread_comes_with_its_lease(stage: Stage) -> None:
    ours, theirs = stage.process(), stage.process()
    lease = await new_thread(ours)
    assert await ours.leases.acquire(lease.thread_id) == lease
    with pytest.raises(LeaseHeld):
        await theirs.leases.acquire(lease.thread_id)


async def test_a_thread_of_which_another_process_has_the_lease_is_not_created(stage: Stage) -> None:
    ours, theirs = stage.process(), stage.process()
    held = await theirs.leases.acquire(uuid7())
    with pytest.raises(LeaseHeld):
        await ours.log.create(a_row(held.thread_id), facts(1))
    assert (await ours.log.row(held.thread_id), await ours.log.read(held.thread_id)) == (None, [])


async def test_a_refused_append_leaves_the_others_made_at_the_same_time_alone(storage: Storage) -> None:
    good, lost = await new_thread(storage), await new_thread(storage)
    await storage.leases.release(lost)
    outcomes: dict[int, int | str] = {}

    async def append(number: int, lease: Lease) -> None:
        try:
            outcomes[number] = await storage.log.append(lease, facts(number))
        except LeaseLost as error:
            outcomes[number] = type(error).__name__

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(append, number, lost if number % 2 else good)
    assert outcomes == {0: 1, 1: "LeaseLost", 2: 2, 3: "LeaseLost", 4: 3, 5: "LeaseLost"}


# --- the index


async def test_the_index_row_changes_in_the_same_commit_as_the_records(storage: Storage) -> None:
    lease = await new_thread(storage)
    changed = a_row(lease.thread_id, name="Fox", archived=True, meta={"readState": {"revision": 2}})
    assert await storage.log.append(lease, facts(1), row=changed) == 1
    assert await storage.log.append(lease, []) == 1
    assert await storage.log.row(lease.thread_id) == changed


async def test_a_row_of_another_thread_is_refused(storage: Storage) -> None:
    lease = await new_thread(storage)
    with pytest.raises(StorageError, match="came with the lease of thread"):
        await storage.log.append(lease, facts(1), row=a_row(uuid7()))
    assert await storage.log.read(lease.thread_id) == []


async def all_pages(storage: Storage, query: ThreadQuery) -> list[ThreadPage]:
    pages: list[ThreadPage] = []
    while not pages or pages[-1].has_more:
        if pages:
            last = pages[-1].rows[-1]
            query = replace(query, after=(getattr(last, f"{query.sort_key}_ms"), last.thread_id))
        pages.append(await storage.log.page(query))
    return pages


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort_key", ["created_at", "updated_at", "recency_at"])
async def test_pages_walk_the_whole_index_in_order_even_where_times_are_equal(
    storage: Storage, sort_key: ThreadSortKey, descending: bool
) -> None:
    rows = [
        a_row(uuid7(), created_at_ms=100 + n // 3, updated_at_ms=500 - n // 2, recency_at_ms=n * 7 % 5)
        for n in range(10)
    ]
    for row in rows:
        await new_thread(storage, row=row)
    pages = await all_pages(storage, ThreadQuery(limit=3, sort_key=sort_key, descending=descending))
    expected = sorted(rows, key=lambda row: (getattr(row, f"{sort_key}_ms"), row.thread_id), reverse=descending)
    assert [len(page.rows) for page in pages] == [3, 3, 3, 1]
    assert [row for page in pages for row in page.rows] == expected


async def test_a_cursor_stays_valid_while_threads_come_and_go(storage: Storage) -> None:
    leases = [await new_thread(storage, row=a_row(uuid7(), at_ms=n)) for n in range(4)]
    first = await storage.log.page(ThreadQuery(limit=2))
    await storage.log.delete(leases[2])
    await new_thread(storage, row=a_row(uuid7(), at_ms=99))
    second = await storage.log.page(ThreadQuery(limit=2, after=(2, leases[2].thread_id)))
    assert [row.thread_id for row in first.rows] == [leases[3].thread_id, leases[2].thread_id]
    assert [row.thread_id for row in second.rows] == [leases[1].thread_id, leases[0].thread_id]
    assert (first.has_more, second.has_more) == (True, False)


FILTERED = {
    "fox": a_row("fox", at_ms=1, preview="A Red 100% fox"),
    "ball": a_row("ball", at_ms=2, name="Grüner ÄPFEL_baum", cwd="/home", preview=""),
    "old": a_row("old", at_ms=3, archived=True),
    "new": a_row("new", at_ms=4, listed=False),
    "vsc": a_row("vsc", at_ms=5, source="vscode", model_provider="openai"),
}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (ThreadQuery(), ["vsc", "ball", "fox"]),
        (ThreadQuery(archived=True), ["old"]),
        (ThreadQuery(cwds=("/home", "/other")), ["ball"]),
        (ThreadQuery(cwds=("/home", "/work"), sources=("cli",)), ["ball", "fox"]),
        (ThreadQuery(cwds=()), []),
        (ThreadQuery(sources=("vscode", "exec")), ["vsc"]),
        (ThreadQuery(providers=("openai",)), ["vsc"]),
        (ThreadQuery(search="red"), ["vsc", "fox"]),
        (ThreadQuery(search="0% F"), ["fox"]),
        (ThreadQuery(search="%"), ["fox"]),
        (ThreadQuery(search="_"), ["ball"]),
        (ThreadQuery(search="äpfel"), ["ball"]),
        (ThreadQuery(search="nothing"), []),
        (ThreadQuery(tenant="other"), []),
    ],
    ids=str,
)
async def test_filters_choose_threads(storage: Storage, query: ThreadQuery, found: list[str]) -> None:
    for row in FILTERED.values():
        await new_thread(storage, row=row)
    assert await storage.log.page(query) == ThreadPage(rows=tuple(FILTERED[name] for name in found), has_more=False)


TEXTS = (
    "Straße",
    "STRASSE",
    "İstanbul",
    "i̇stanbul",
    "ΣΊΣΥΦΟΣ",
    "σίσυφος",
    "ﬁsh",
    "Fish",
    "\x00\x01",
    "\x010",
    "",
    "a%_\\b",
)
"""Where upper and lower case are no pair, and what a database may take for something else."""


@pytest.mark.parametrize("search", [*TEXTS, "ss", "σ", "I", "\x00", "0", "\\", "e\u0301"])
async def test_a_search_finds_what_the_rule_says_in_any_alphabet(storage: Storage, search: str) -> None:
    rows = [
        a_row(uuid7(), at_ms=number, preview=text, name=TEXTS[-number] if number % 2 else None)
        for number, text in enumerate(TEXTS)
    ]
    for row in rows:
        await new_thread(storage, row=row)
    found = await storage.log.page(ThreadQuery(search=search, descending=False))
    assert found.rows == tuple(row for row in rows if search_matches(row.preview, row.name, search))


async def test_a_row_keeps_every_character(storage: Storage) -> None:
    odd = "\x00 \x01 \x010 \x011 ✓ \U0001f98a \r\n"
    row = a_row(uuid7(), name=odd, preview=odd, cwd=odd, source=odd, model=odd, model_provider=odd, meta={odd: odd})
    lease = await new_thread(storage, [drawn("\x00", 1, prompt=odd, savedPath=odd, handle=odd, model=odd)], row=row)
    assert await storage.log.row(lease.thread_id) == row
    assert (await storage.log.page(ThreadQuery(cwds=(odd,), sources=(odd,), providers=(odd,)))).rows == (row,)
    (picture,) = await storage.log.pictures(PictureQuery(item_id="\x00"))
    assert (picture.prompt, picture.path, picture.handle, picture.model) == (odd, odd, odd, odd)


async def test_a_deleted_thread_leaves_nothing_and_its_lease_ends(storage: Storage) -> None:
    lease = await new_thread(storage, facts(1, 2))
    kept = await new_thread(storage, facts(3))
    await storage.log.delete(lease)
    assert (await storage.log.read(lease.thread_id), await storage.log.row(lease.thread_id)) == ([], None)
    assert [row.thread_id for row in (await storage.log.page(ThreadQuery())).rows] == [kept.thread_id]
    with pytest.raises(LeaseLost):
        await storage.log.append(lease, facts(4))
    assert await storage.log.read(kept.thread_id) == stored(3)


async def test_tenants_do_not_see_each_other_even_with_equal_thread_ids(stage: Stage) -> None:
    ours, theirs = stage.process(), stage.process()
    thread_id = uuid7()
    rows = {tenant: a_row(thread_id, tenant=tenant, name=tenant) for tenant in ("local", "guest")}
    lease = await new_thread(ours, facts(1), row=rows["local"])
    await new_thread(theirs, facts(2), row=rows["guest"])
    for tenant, number in (("local", 1), ("guest", 2)):
        assert await ours.log.read(thread_id, tenant=tenant) == stored(number)
        assert await ours.log.row(thread_id, tenant=tenant) == rows[tenant]
        assert (await ours.log.page(ThreadQuery(tenant=tenant))).rows == (rows[tenant],)
    await ours.log.delete(lease)
    assert await ours.log.read(thread_id, tenant="guest") == stored(2)


async def test_a_closed_storage_says_so_and_closes_again_quietly(storage: Storage) -> None:
    lease = await new_thread(storage)
    await storage.aclose()
    await storage.aclose()
    with pytest.raises(StorageError, match="The storage was closed"):
        await storage.log.append(lease, facts(1))
    with pytest.raises(StorageError, match="The storage was closed"):
        await storage.log.read(lease.thread_id)


# --- blobs

PNG = b"\x89PNG\r\n\x1a\n of a fox"
UNKNOWN_SHA256 = "0" * 64


def ref_of(data: bytes) -> PictureRef:
    digest = hashlib.sha256(data).hexdigest()
    return PictureRef(sha256=digest, mime="image/png", size_bytes=len(data), width=4, height=3)


def saved(home: Path, name: str = "generated_images/t/c.png", data: bytes = PNG) -> Path:
    file = home / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return file


async def test_bytes_that_were_put_are_read_back_by_every_process(stage: Stage, storage: Storage) -> None:
    ref = ref_of(PNG)
    assert await storage.blobs.put(PNG, ref, owner="t1") == ref
    assert await storage.blobs.put(PNG, ref, owner="t2") == ref
    assert await storage.blobs.read(ref.sha256) == PNG
    assert await stage.process().blobs.read(ref.sha256) == PNG


@pytest.mark.usefixtures("_files_are_blobs")
async def test_an_adopted_file_is_the_blob(storage: Storage, home: Path) -> None:
    ref, file = ref_of(PNG), saved(home)
    assert await storage.blobs.adopt(str(file), ref, owner="t1") == ref
    assert (await storage.blobs.read(ref.sha256), await storage.blobs.path(ref.sha256)) == (PNG, str(file))


@pytest.mark.parametrize("sha256", [UNKNOWN_SHA256, "", "../../etc/passwd", "A" * 64, "0" * 63])
async def test_an_unknown_picture_is_missing(storage: Storage, sha256: str) -> None:
    assert await storage.blobs.path(sha256) is None
    with pytest.raises(BlobMissing, match="is not there any more"):
        await storage.blobs.read(sha256)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_picture_whose_file_was_removed_is_missing(storage: Storage, home: Path) -> None:
    ref, file = ref_of(PNG), saved(home)
    await storage.blobs.adopt(str(file), ref, owner="t1")
    file.unlink()
    assert await storage.blobs.path(ref.sha256) is None
    with pytest.raises(BlobMissing, match=f"^Picture {ref.sha256} is not there any more; "):
        await storage.blobs.read(ref.sha256)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_picture_whose_file_was_edited_is_altered(storage: Storage, home: Path) -> None:
    ref, file = ref_of(PNG), saved(home)
    await storage.blobs.adopt(str(file), ref, owner="t1")
    file.write_bytes(b"edited")
    with pytest.raises(BlobAltered, match=f"^Picture {ref.sha256} at .* was changed after it was stored; "):
        await storage.blobs.read(ref.sha256)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_second_copy_of_a_picture_serves_when_the_first_was_edited(storage: Storage, home: Path) -> None:
    ref, file, copy = ref_of(PNG), saved(home, "a.png"), saved(home, "b.png")
    for path in (file, copy):
        await storage.blobs.adopt(str(path), ref, owner="t1")
    file.write_bytes(b"edited")
    assert await storage.blobs.read(ref.sha256) == PNG
    copy.unlink()
    with pytest.raises(BlobAltered):
        await storage.blobs.read(ref.sha256)


async def test_bytes_and_files_that_do_not_match_their_reference_are_refused(storage: Storage, home: Path) -> None:
    ref, file = ref_of(PNG), saved(home, data=b"other")
    with pytest.raises(StorageError, match="do not match their reference"):
        await storage.blobs.put(b"other", ref, owner="t1")
    with pytest.raises(BlobAltered):
        await storage.blobs.adopt(str(file), ref, owner="t1")
    with pytest.raises(BlobMissing):
        await storage.blobs.adopt(str(home / "none.png"), ref, owner="t1")
    with pytest.raises(BlobMissing):
        await storage.blobs.read(ref.sha256)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_file_goes_with_its_last_owner(storage: Storage, home: Path) -> None:
    ref, file = ref_of(PNG), saved(home)
    await storage.blobs.adopt(str(file), ref, owner="t1")
    await storage.blobs.share("t1", "fork")
    assert await storage.blobs.release("t1") == ()
    assert await storage.blobs.read(ref.sha256) == PNG
    assert await storage.blobs.release("fork") == (str(file),)
    assert not file.exists()
    assert await storage.blobs.release("fork") == ()
    with pytest.raises(BlobMissing):
        await storage.blobs.read(ref.sha256)


async def test_a_picture_that_was_put_goes_with_its_last_owner(storage: Storage) -> None:
    ref = ref_of(PNG)
    await storage.blobs.put(PNG, ref, owner="t1")
    await storage.blobs.share("t1", "fork")
    await storage.blobs.release("t1")
    assert await storage.blobs.read(ref.sha256) == PNG
    await storage.blobs.release("fork")
    with pytest.raises(BlobMissing):
        await storage.blobs.read(ref.sha256)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_file_outside_the_home_is_never_removed(storage: Storage, home: Path, tmp_path: Path) -> None:
    ref, file = ref_of(PNG), saved(tmp_path, "holiday.png")
    await storage.blobs.adopt(str(file), ref, owner="t1")
    assert await storage.blobs.release("t1") == ()
    assert file.read_bytes() == PNG


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_file_saved_again_with_other_bytes_stays_until_the_newer_picture_is_released(
    storage: Storage, home: Path
) -> None:
    first, second = ref_of(PNG), ref_of(PNG + b"!")
    file = saved(home)
    await storage.blobs.adopt(str(file), first, owner="t1")
    saved(home, data=PNG + b"!")
    await storage.blobs.adopt(str(file), second, owner="t2")
    assert await storage.blobs.release("t1") == ()
    assert await storage.blobs.read(second.sha256) == PNG + b"!"
    assert await storage.blobs.release("t2") == (str(file),)


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_file_outside_the_home_goes_with_its_last_owner_when_it_is_ours(
    storage: Storage, tmp_path: Path
) -> None:
    ref, file = ref_of(PNG), saved(tmp_path, "pictures/c.png")
    await storage.blobs.adopt(str(file), ref, owner="t1", ours=True)
    assert await storage.blobs.release("t1") == (str(file),)
    assert not file.exists()


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_file_of_ours_outside_the_home_stays_when_somebody_edited_it(storage: Storage, tmp_path: Path) -> None:
    ref, file = ref_of(PNG), saved(tmp_path, "pictures/c.png")
    await storage.blobs.adopt(str(file), ref, owner="t1", ours=True)
    file.write_bytes(PNG + b" with a hat")
    assert await storage.blobs.release("t1") == ()
    assert file.read_bytes() == PNG + b" with a hat"


@pytest.mark.usefixtures("_files_are_blobs")
async def test_one_picture_of_an_owner_is_released_by_its_path(storage: Storage, home: Path) -> None:
    ref, first, second = ref_of(PNG), saved(home, "a.png"), saved(home, "b.png")
    for file in (first, second):
        await storage.blobs.adopt(str(file), ref, owner="t1")
    assert await storage.blobs.release_picture("t1", ref.sha256, str(first)) == (str(first),)
    assert (first.exists(), await storage.blobs.path(ref.sha256)) == (False, str(second))
    assert await storage.blobs.release_picture("t1", ref.sha256, str(home / "elsewhere.png")) == (str(second),)
    assert await storage.blobs.release_picture("t1", ref.sha256) == ()


@pytest.mark.usefixtures("_files_are_blobs")
async def test_a_picture_that_another_owner_has_stays_when_one_lets_go_of_it(storage: Storage, home: Path) -> None:
    ref, other, file = ref_of(PNG), ref_of(PNG + b"!"), saved(home)
    await storage.blobs.adopt(str(file), ref, owner="t1")
    await storage.blobs.put(PNG + b"!", other, owner="t1")
    await storage.blobs.share("t1", "fork")
    assert await storage.blobs.release_picture("t1", ref.sha256) == ()
    assert await storage.blobs.read(ref.sha256) == PNG
    assert await storage.blobs.release_picture("fork", ref.sha256) == (str(file),)
    assert await storage.blobs.read(other.sha256) == PNG + b"!"


async def test_the_store_knows_the_facts_of_a_picture_and_what_adopted_ones_weigh(storage: Storage, home: Path) -> None:
    ref, kept, file = ref_of(PNG), ref_of(b"an attachment"), saved(home)
    await storage.blobs.adopt(str(file), ref, owner="t1")
    await storage.blobs.put(b"an attachment", kept, owner="t1")
    assert [await storage.blobs.ref(one) for one in (ref.sha256, kept.sha256, UNKNOWN_SHA256, "../x")] == [
        ref, kept, None, None
    ]  # fmt: skip
    weights = await storage.blobs.adopted_bytes(), await storage.blobs.kept_bytes()
    assert weights == (len(PNG), len(PNG) + len(b"an attachment"))
    await storage.blobs.release("t1")
    weights = await storage.blobs.adopted_bytes(), await storage.blobs.kept_bytes()
    assert (await storage.blobs.ref(ref.sha256), weights) == (None, (0, 0))


# --- the index of pictures


def drawn(item_id: str, at_ms: int, data: bytes = PNG, turn_id: str = "turn", **members: Any) -> Record:
    """The record of a finished picture."""
    item = {"type": "imageGeneration", "id": item_id, "status": "completed", **members}
    picture = ref_of(data).to_json()
    return Record(kind="item_completed", data={"turnId": turn_id, "item": item, "picture": picture}, at_ms=at_ms)


def removed(item_id: str, turn_id: str = "turn") -> Record:
    return Record(kind="picture_removed", data={"turnId": turn_id, "itemId": item_id, "reason": "deleted"})


async def found(storage: Storage, **query: Any) -> list[str]:
    return [row.item_id for row in await storage.log.pictures(PictureQuery(**query))]


async def test_a_finished_picture_is_in_the_index_with_what_its_item_says(storage: Storage) -> None:
    text = Record(kind="item_completed", data={"turnId": "turn", "item": {"type": "agentMessage", "id": "m"}})
    failed = Record(kind="item_completed", data={"turnId": "turn", "item": {"type": "imageGeneration", "id": "f"}})
    whole = drawn("c1", 5, savedPath="/p/c1.png", handle="img_1", prompt="a fox", revisedPrompt="a red fox", model="m")
    lease = await new_thread(storage, [text, whole])
    await storage.log.append(lease, [failed, drawn("c2", 6, data=b"two", revisedPrompt="a hen", turn_id="next")])
    facts = {"thread_id": lease.thread_id}
    assert await storage.log.pictures(PictureQuery()) == [
        PictureRow(**facts, seq=4, at_ms=6, turn_id="next", item_id="c2", ref=ref_of(b"two"), prompt="a hen"),
        PictureRow(
            **facts, seq=2, at_ms=5, turn_id="turn", item_id="c1", ref=ref_of(PNG), path="/p/c1.png", handle="img_1",
            prompt="a fox", model="m",
        ),
    ]  # fmt: skip


async def test_pictures_are_found_by_thread_item_and_sha256_the_newest_first(storage: Storage) -> None:
    one = await new_thread(storage, [drawn("a", 1), drawn("b", 3, data=b"other")])
    two = await new_thread(storage, [drawn("c", 2), drawn("a", 4)])
    assert await found(storage) == ["a", "b", "c", "a"]
    assert await found(storage, thread_id=one.thread_id) == ["b", "a"]
    assert await found(storage, thread_id=two.thread_id, item_id="a") == ["a"]
    assert await found(storage, sha256=ref_of(b"other").sha256) == ["b"]
    assert await found(storage, tenant="somebody") == []
    assert await found(storage, limit=1) == ["a"]


async def test_pages_of_pictures_walk_all_of_them_even_where_times_are_equal(storage: Storage) -> None:
    for name in "ab":
        await new_thread(storage, [drawn(f"{name}{number}", 7) for number in range(3)])
    seen: list[tuple[int, str, int]] = []
    while page := await storage.log.pictures(PictureQuery(limit=2, before=seen[-1] if seen else None)):
        seen += [row.place for row in page]
    assert (len(seen), seen) == (6, sorted(set(seen), reverse=True))


async def test_a_removed_picture_and_those_of_a_deleted_thread_leave_the_index(storage: Storage) -> None:
    lease = await new_thread(storage, [drawn("a", 1), drawn("b", 2), drawn("a", 3, turn_id="next")])
    gone = await new_thread(storage, [drawn("x", 4)])
    await storage.log.append(lease, [removed("a")])
    await storage.log.delete(gone)
    assert await found(storage) == ["a", "b"]
    assert (await storage.log.pictures(PictureQuery()))[0].turn_id == "next"
