"""The local storage beyond the contract: files and modes, paging without scans, sentences for what the disk refuses."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import anyio
import orjson
import pytest

from app_server.clock import SystemClock
from app_server.extension_api.tools import PictureRef
from app_server.ids import uuid7
from app_server.storage.base import (
    Lease,
    LeaseHeld,
    PictureQuery,
    PictureRow,
    Record,
    Storage,
    StorageError,
    ThreadQuery,
    ThreadRow,
    ThreadSortKey,
)
from app_server.storage.local import open_local_storage, schema
from app_server.storage.local.database import LocalDatabase
from app_server.storage.local.leases import SqliteLeaseManager
from app_server.storage.local.log import SqliteThreadLog
from app_server.storage.local.pictures import select_pictures
from app_server.storage.local.queries import page_statement
from app_server.storage.local.schema import connect_reader, connect_writer, migrate
from app_server.storage.local.writer import SqliteWriter

pytestmark = pytest.mark.anyio

PNG = b"bytes of a picture"
MIGRATIONS = Path(schema.__file__).parent / "migrations"


def _ref(data: bytes) -> PictureRef:
    digest = hashlib.sha256(data).hexdigest()
    return PictureRef(sha256=digest, mime="image/png", size_bytes=len(data), width=1, height=1)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def database(home: Path) -> AsyncIterator[LocalDatabase]:
    database = LocalDatabase(home)
    yield database
    await database.aclose()


def a_row(thread_id: str) -> ThreadRow:
    return ThreadRow(
        thread_id=thread_id,
        created_at_ms=1,
        updated_at_ms=2,
        recency_at_ms=3,
        listed=True,
        cwd="/",
        source="cli",
        model="m",
        model_provider="offline",
    )


def fact(text: str) -> Record:
    return Record(kind="history", data={"text": text}, at_ms=1)


async def new_thread(storage: Storage, *records: Record) -> Lease:
    lease, _ = await storage.log.create(a_row(uuid7()), records)
    return lease


# --- files


async def test_nothing_is_made_before_the_first_use(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    await storage.aclose()
    assert files_below(tmp_path) == []


async def test_a_reopened_home_has_everything_that_was_written(home: Path) -> None:
    storage = open_local_storage(home)
    ref = _ref(PNG)
    lease = await new_thread(storage, fact("a"))
    await storage.log.append(lease, [fact("b")], row=replace(a_row(lease.thread_id), name="Fox"))
    await storage.blobs.put(PNG, ref, owner=lease.thread_id)
    await storage.aclose()

    again = open_local_storage(home)
    assert await again.log.read(lease.thread_id) == [replace(fact("a"), seq=1), replace(fact("b"), seq=2)]
    assert await again.log.row(lease.thread_id) == replace(a_row(lease.thread_id), name="Fox")
    assert await again.blobs.read(ref.sha256) == PNG
    assert (await again.leases.acquire(lease.thread_id)).epoch == lease.epoch + 1
    await again.aclose()


async def test_a_home_that_was_moved_still_has_its_pictures(home: Path) -> None:
    storage = open_local_storage(home)
    ref = _ref(PNG)
    await storage.blobs.put(PNG, ref, owner="t")
    await storage.aclose()
    new_home = Path(shutil.move(home, home.with_name("moved")))
    moved = open_local_storage(new_home)
    assert await moved.blobs.read(ref.sha256) == PNG
    assert await moved.blobs.path(ref.sha256) == str(new_home / "blobs" / ref.sha256[:2] / f"{ref.sha256}.png")
    await moved.aclose()


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
async def test_all_files_are_for_their_user_only(home: Path) -> None:
    storage = open_local_storage(home)
    await new_thread(storage, fact("a"))
    await storage.blobs.put(PNG, _ref(PNG), owner="t")
    modes = {path.suffix: stat.S_IMODE(path.stat().st_mode) for path in files_below(home)}
    await storage.aclose()
    assert modes == dict.fromkeys([".sqlite", ".sqlite-wal", ".sqlite-shm", ".lock", ".png", ".jsonl"], 0o600)


async def test_a_closed_storage_leaves_the_database_its_copies_and_no_lock_behind(home: Path) -> None:
    storage = open_local_storage(home)
    lease = await new_thread(storage, fact("a"))
    await storage.aclose()
    assert files_below(home) == [home / "copies" / f"{lease.thread_id}.jsonl", home / "state.sqlite"]


# --- paging


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize("after", [None, (5, "x")])
@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort_key", get_args(ThreadSortKey))
async def test_a_page_is_a_walk_along_an_index_without_scan_or_sort(
    database: LocalDatabase, sort_key: ThreadSortKey, descending: bool, after: tuple[int, str] | None, archived: bool
) -> None:
    statement, values = page_statement(
        ThreadQuery(sort_key=sort_key, descending=descending, after=after, archived=archived)
    )
    plan = await database.read(
        lambda connection: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    )
    index = f"threads_by_{sort_key.removesuffix('_at')}"
    bound = f" AND ({sort_key}_ms,thread_id){'<' if descending else '>'}(?,?)" if after else ""
    assert plan == [f"SEARCH threads USING INDEX {index} (tenant=? AND archived=?{bound})"]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT path FROM blobs WHERE sha256 = ? ORDER BY path",
        "SELECT 1 FROM blobs WHERE path = ?",
        "SELECT 1 FROM blob_owners WHERE sha256 = ? AND path = ?",
        "SELECT sha256, path FROM blob_owners WHERE owner = ?",
        "UPDATE leases SET owner = NULL WHERE owner = ?",
        "SELECT max(seq) FROM records WHERE tenant = ? AND thread_id = ?",
    ],
)
async def test_the_other_statements_search_too(database: LocalDatabase, statement: str) -> None:
    values = ["x"] * statement.count("?")
    plan = await database.read(
        lambda connection: [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]
    )
    assert [step.split()[0] for step in plan] == ["SEARCH"]


# --- leases across real processes

_HOLD_A_LEASE = """
import anyio, sys
from pathlib import Path
from app_server.storage.local import open_local_storage

async def main() -> None:
    storage = open_local_storage(Path(sys.argv[1]))
    lease = await storage.leases.acquire(sys.argv[2])
    sys.stdout.write(f"{lease.epoch}\\n")
    sys.stdout.flush()
    await anyio.to_thread.run_sync(sys.stdin.read)
    await storage.aclose()

anyio.run(main)
"""


async def test_a_lease_is_taken_over_only_after_its_process_was_killed(home: Path) -> None:
    thread_id = uuid7()
    storage = open_local_storage(home)
    async with await anyio.open_process([sys.executable, "-c", _HOLD_A_LEASE, str(home), thread_id]) as holder:
        assert holder.stdout is not None
        with anyio.fail_after(30):
            assert await holder.stdout.receive() == b"1\n"
        with pytest.raises(LeaseHeld):
            await storage.leases.acquire(thread_id)
        holder.kill()
        await holder.wait()
        assert (await storage.leases.acquire(thread_id)).epoch == 2
    assert len(files_below(home / "locks")) == 1
    await storage.aclose()


async def test_processes_that_open_a_new_home_at_once_all_succeed(home: Path) -> None:
    epochs: list[bytes] = []

    async def start() -> None:
        result = await anyio.run_process([sys.executable, "-c", _HOLD_A_LEASE, str(home), uuid7()], input=b"")
        epochs.append(result.stdout)

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(start)
    assert epochs == [b"1\n"] * 3


async def test_lock_files_of_processes_that_crashed_are_swept_and_other_files_are_kept(home: Path) -> None:
    locks = home / "locks"
    locks.mkdir(parents=True)
    for name in (f"{uuid7()}.lock", "mine.lock", "note.txt"):
        (locks / name).touch()
    storage = open_local_storage(home)
    lease = await storage.leases.acquire(uuid7())
    assert {path.name for path in files_below(locks)} == {f"{lease.owner}.lock", "mine.lock", "note.txt"}
    await storage.aclose()


# --- what the disk refuses


def a_folder_in_place_of_the_database(home: Path) -> None:
    (home / "state.sqlite").mkdir(parents=True)


def a_file_in_place_of_the_home(home: Path) -> None:
    home.write_text("not a folder")


def a_file_above_the_home(home: Path) -> None:
    home.parent.rmdir()
    home.parent.write_text("not a folder")


def another_kind_of_file(home: Path) -> None:
    home.mkdir()
    (home / "state.sqlite").write_text("no database at all, but a text of some length" * 50)


def a_newer_database(home: Path) -> None:
    connection = connect_writer(home / "state.sqlite")
    connection.execute("PRAGMA user_version=99")
    connection.close()


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (
            a_folder_in_place_of_the_database,
            "{path} cannot be opened; make sure that it is a file this user may read and write, "
            "or choose another home.",
        ),
        (
            a_file_in_place_of_the_home,
            "{home} is a file where a folder is needed; move that file away, or choose another home.",
        ),
        (
            a_file_above_the_home,
            "{path} lies below a file instead of a folder; move that file away, or choose another home.",
        ),
        (
            another_kind_of_file,
            "{path} is not a database; `app-server doctor` tells what is wrong, and `app-server doctor --repair` "
            "saves what can be read.",
        ),
        (
            a_newer_database,
            "{path} has schema version 99 and this server knows 3; "
            "install the newer server that wrote it, or choose another home.",
        ),
    ],
)
async def test_a_database_that_cannot_be_opened_is_one_sentence(
    tmp_path: Path, prepare: Callable[[Path], None], sentence: str
) -> None:
    home = tmp_path / "below" / "home"
    home.parent.mkdir()
    prepare(home)
    database = LocalDatabase(home)
    for attempt in (database.open, lambda: database.read(lambda connection: None)):
        with pytest.raises(StorageError) as refusal:
            await attempt()
        assert refusal.value.message == sentence.format(home=home, path=database.path)
    await database.aclose()


async def test_an_opening_that_failed_is_tried_again_at_the_next_use(home: Path) -> None:
    a_folder_in_place_of_the_database(home)
    database = LocalDatabase(home)
    with pytest.raises(StorageError):
        await database.open()
    shutil.rmtree(home)
    await database.open()
    await database.aclose()


async def test_a_full_disk_refuses_the_append_and_keeps_what_was_stored(database: LocalDatabase) -> None:
    storage_log = SqliteThreadLog(database, clock=SystemClock())
    thread_id = uuid7()
    lease, _ = await storage_log.create(a_row(thread_id), [fact("a")])
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count=30").fetchall())
    with pytest.raises(StorageError) as refusal:
        await storage_log.append(lease, [fact("x" * 500_000)], row=replace(a_row(thread_id), name="changed"))
    assert refusal.value.message == f"The disk that holds {database.path} is full; free some space and try again."
    assert (await storage_log.read(thread_id), await storage_log.row(thread_id)) == (
        [replace(fact("a"), seq=1)],
        a_row(thread_id),
    )
    await database.write(lambda connection: connection.execute("PRAGMA max_page_count=100000").fetchall())
    assert await storage_log.append(lease, [fact("b")]) == 2


async def test_a_transaction_that_broke_fails_every_job_of_its_batch(database: LocalDatabase) -> None:
    writer_is_busy, batch_is_queued = threading.Event(), threading.Event()
    outcomes: list[str] = []

    def wait_for_the_batch(connection: sqlite3.Connection) -> None:
        writer_is_busy.set()
        batch_is_queued.wait(30)

    def break_the_transaction(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        connection.execute("SELECT no_such_column")

    async def run(job: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await database.write(job)
        except StorageError as error:
            outcomes.append(error.message.split(" (")[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(database.write, wait_for_the_batch)
        await anyio.to_thread.run_sync(writer_is_busy.wait, 30)
        tasks.start_soon(run, lambda connection: connection.execute("CREATE TABLE lost (x)").fetchall())
        tasks.start_soon(run, break_the_transaction)
        await anyio.wait_all_tasks_blocked()
        batch_is_queued.set()
    assert outcomes == [f"{database.path} refused an operation"] * 2
    with pytest.raises(StorageError, match="no such table: lost"):
        await database.read(lambda connection: connection.execute("SELECT * FROM lost"))


async def test_a_fault_in_a_job_reaches_its_caller_and_the_writer_goes_on(database: LocalDatabase) -> None:
    def divide(connection: sqlite3.Connection) -> float:
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        await database.write(divide)
    assert await database.write(lambda connection: 7) == 7


async def test_readers_cannot_write(database: LocalDatabase) -> None:
    with pytest.raises(StorageError, match="is read-only"):
        await database.read(lambda connection: connection.execute("DELETE FROM threads"))


async def test_a_long_read_does_not_hold_up_a_write_and_sees_none_of_it(database: LocalDatabase) -> None:
    reading, written = anyio.Event(), anyio.Event()

    def count_leases_slowly(connection: sqlite3.Connection) -> list[tuple[int]]:
        connection.execute("BEGIN")
        counts = connection.execute("SELECT count(*) FROM leases").fetchall()
        anyio.from_thread.run_sync(reading.set)
        anyio.from_thread.run(written.wait)
        counts += connection.execute("SELECT count(*) FROM leases").fetchall()
        connection.execute("COMMIT")
        return counts

    async def write() -> None:
        await reading.wait()
        await SqliteLeaseManager(database).acquire(uuid7())
        written.set()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            assert await database.read(count_leases_slowly) == [(0,), (0,)]
    assert await database.read(lambda connection: connection.execute("SELECT count(*) FROM leases").fetchall()) == [
        (1,)
    ]


def test_migrations_run_once_and_leave_the_version(home: Path) -> None:
    connection = connect_writer(home / "state.sqlite")
    migrate(connection, home / "state.sqlite")
    version = connection.execute("PRAGMA user_version").fetchone()
    settings = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    connection.close()
    assert (version, settings) == ((3,), ["wal", 2])


def test_a_reader_finds_a_home_whose_path_needs_quoting(tmp_path: Path) -> None:
    path = tmp_path / "a ho#me?x=1 100%" / "state.sqlite"
    writer = connect_writer(path)
    reader = connect_reader(path)
    assert reader.execute("SELECT count(*) FROM threads").fetchone() == (0,)
    reader.close()
    writer.close()


def test_pictures_of_an_older_home_are_in_the_index_after_its_migration(home: Path) -> None:
    first, *_ = sorted(MIGRATIONS.glob("*.sql"))
    home.mkdir(parents=True)
    connection = sqlite3.connect(home / "state.sqlite", isolation_level=None)
    connection.executescript(first.read_text(encoding="utf-8"))
    picture = {"sha256": "5" * 64, "mime": "image/png", "bytes": 3, "width": 2, "height": 1}
    item = {"type": "imageGeneration", "id": "c1", "savedPath": "/p/c1.png", "prompt": None, "revisedPrompt": "a fox"}
    done = {"turnId": "u", "item": item, "picture": picture}
    others = ({"turnId": "u", "item": item}, {"turnId": "u", "item": {"type": "agentMessage"}})
    for seq, data in enumerate((done, *others)):
        row = ("local", "t", seq, "item_completed", 7, orjson.dumps(data))
        connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", row)
    connection.execute("PRAGMA user_version=1")
    migrate(connection, home / "state.sqlite")
    found = select_pictures(connection, PictureQuery())
    connection.close()
    ref = PictureRef(sha256="5" * 64, mime="image/png", size_bytes=3, width=2, height=1)
    path, prompt = "/p/c1.png", "a fox"
    assert found == [
        PictureRow(thread_id="t", seq=0, at_ms=7, turn_id="u", item_id="c1", ref=ref, path=path, prompt=prompt)
    ]


async def test_the_writer_lets_go_of_what_it_wrote_while_nothing_else_comes(tmp_path: Path) -> None:
    writer = SqliteWriter(tmp_path / "db", lambda path: sqlite3.connect(path, isolation_level=None))

    def job(_connection: sqlite3.Connection) -> None:
        """As one that holds large records."""

    held = weakref.ref(job)
    await writer.run(job)
    del job
    with anyio.fail_after(5):
        while held() is not None:
            await anyio.lowlevel.checkpoint()
    await writer.aclose()
