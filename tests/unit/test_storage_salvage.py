"""Real damage to real databases: what still opens, what is said, what is saved and what is counted as lost."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app_server.extension_api.tools import PictureRef
from app_server.ids import uuid7
from app_server.storage.base import Lease, Record, Storage, StorageDamaged, StorageError, ThreadQuery, ThreadRow
from app_server.storage.inspection import broken_databases, inspect_database, repair
from app_server.storage.local import open_local_storage
from app_server.storage.local.copies import ThreadCopies, read_copy
from app_server.storage.local.salvage import salvage

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"picture" * 30
NUL_PAGE = b"\0" * 4096


def a_row(thread_id: str) -> ThreadRow:
    return ThreadRow(
        thread_id=thread_id,
        created_at_ms=1,
        updated_at_ms=2,
        recency_at_ms=3,
        listed=True,
        preview="a fox",
        cwd="/w",
        source="vscode",
        model="m",
        model_provider="p",
        meta={"originator": "test"},
    )


def facts(count: int, text: str = "x") -> list[Record]:
    return [Record(kind="history", data={"items": [], "text": f"{n} {text * 900}"}, at_ms=n) for n in range(count)]


async def thread(storage: Storage, records: list[Record]) -> Lease:
    lease, _ = await storage.log.create(a_row(uuid7()), records)
    return lease


async def home_with(home: Path, *threads: list[Record]) -> list[str]:
    storage = open_local_storage(home)
    ids = [(await thread(storage, records)).thread_id for records in threads]
    await storage.aclose()
    return ids


async def texts(home: Path, thread_id: str) -> list[str]:
    storage = open_local_storage(home)
    try:
        return [record.data["text"].split()[0] for record in await storage.log.read(thread_id) if record.kind != "lost"]
    finally:
        await storage.aclose()


def without_copies(home: Path) -> None:
    for path in (home / "copies").iterdir():
        path.unlink()


def pages_with(path: Path, needle: bytes) -> list[int]:
    data = path.read_bytes()
    return [at for at in range(0, len(data), 4096) if needle in data[at : at + 4096]]


def overwrite(path: Path, at: int, data: bytes = NUL_PAGE) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 1000)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def emptied_schema(path: Path) -> None:
    overwrite(path, 0)


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [garbage, cut_in_half, emptied_schema, removed])
async def test_a_database_that_cannot_be_opened_is_made_again_from_the_copies(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    first, second = await home_with(tmp_path, facts(20), facts(3, "y"))
    damage(tmp_path / "state.sqlite")
    assert await texts(tmp_path, first) == [str(n) for n in range(20)]
    assert await texts(tmp_path, second) == ["0", "1", "2"]
    assert len(broken_databases(tmp_path)) == (0 if damage is removed else 1)


async def test_a_database_that_was_made_again_lists_and_takes_records(tmp_path: Path) -> None:
    (thread_id,) = await home_with(tmp_path, facts(2))
    garbage(tmp_path / "state.sqlite")
    storage = open_local_storage(tmp_path)
    page = await storage.log.page(ThreadQuery())
    assert page.rows == (a_row(thread_id),)
    lease = await storage.leases.acquire(thread_id)
    assert await storage.log.append(lease, facts(1)) == 3
    await storage.aclose()


@pytest.mark.parametrize("damage", [garbage, cut_in_half, emptied_schema])
async def test_without_copies_a_broken_database_is_left_as_it_is_and_the_error_names_it_and_the_doctor(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    (thread_id,) = await home_with(tmp_path, facts(20))
    without_copies(tmp_path)
    path = tmp_path / "state.sqlite"
    damage(path)
    before = path.read_bytes()
    storage = open_local_storage(tmp_path)
    with pytest.raises(StorageDamaged) as refused:
        await storage.log.read(thread_id)
    await storage.aclose()
    assert str(path) in refused.value.message
    assert "app-server doctor" in refused.value.message
    assert path.read_bytes() == before


async def test_a_damaged_page_costs_its_own_thread_alone_and_the_server_goes_on(tmp_path: Path) -> None:
    sound, hurt = await home_with(tmp_path, facts(30, "a"), facts(30, "b"))
    path = tmp_path / "state.sqlite"
    pages = pages_with(path, b"b" * 500)
    overwrite(path, pages[len(pages) // 2], b"\xff" * 4096)
    storage = open_local_storage(tmp_path)
    assert len(await storage.log.read(sound)) == 30
    with pytest.raises(StorageDamaged, match="app-server doctor"):
        await storage.log.read(hurt)
    lease = await storage.leases.acquire(sound)
    assert await storage.log.append(lease, facts(1)) == 31
    await storage.aclose()
    assert inspect_database(tmp_path).faults


async def test_repair_reads_around_a_damaged_page_and_counts_what_is_lost(tmp_path: Path) -> None:
    sound, hurt = await home_with(tmp_path, facts(30, "a"), facts(30, "b"))
    without_copies(tmp_path)
    path = tmp_path / "state.sqlite"
    pages = pages_with(path, b"b" * 500)
    overwrite(path, pages[len(pages) // 2], b"\xff" * 4096)
    report = repair(tmp_path)
    assert await texts(tmp_path, sound) == [str(n) for n in range(30)]
    kept = await texts(tmp_path, hurt)
    assert 15 <= len(kept) < 30
    assert report.threads_saved == 2
    assert report.records_saved == 30 + len(kept)
    assert report.threads_cut == {hurt: 30 - len(kept)}
    assert read_back(path) == sorted([(sound, 30), (hurt, 30)])
    assert report.records_lost == 30 - len(kept)
    assert not report.lossless
    assert inspect_database(tmp_path).faults == ()


async def test_repair_fills_a_damaged_page_from_the_copy(tmp_path: Path) -> None:
    (hurt,) = await home_with(tmp_path, facts(30, "b"))
    path = tmp_path / "state.sqlite"
    overwrite(path, pages_with(path, b"b" * 500)[2], b"\xff" * 4096)
    report = repair(tmp_path)
    assert await texts(tmp_path, hurt) == [str(n) for n in range(30)]
    assert report.from_copies > 0
    assert report.lossless


async def test_repair_of_a_database_cut_off_without_copies_saves_the_front_and_counts_the_rest(tmp_path: Path) -> None:
    ids = await home_with(tmp_path, *(facts(30, letter) for letter in "abcd"))
    without_copies(tmp_path)
    path = tmp_path / "state.sqlite"
    os.truncate(path, path.stat().st_size * 3 // 4 // 4096 * 4096)
    report = repair(tmp_path)
    assert report.database_readable
    assert report.threads_saved >= 2
    assert not report.lossless
    assert report.threads_saved + len(report.threads_lost) == len(ids)


async def test_repair_of_pure_garbage_without_copies_says_that_nothing_was_readable(tmp_path: Path) -> None:
    await home_with(tmp_path, facts(3))
    without_copies(tmp_path)
    garbage(tmp_path / "state.sqlite")
    report = repair(tmp_path)
    assert (report.threads_saved, report.database_readable) == (0, False)
    assert report.broken is not None
    assert Path(report.broken).read_bytes() == b"garbage" * 1000


async def test_repair_is_refused_while_a_server_has_the_home_open(tmp_path: Path) -> None:
    await home_with(tmp_path, facts(1))
    storage = open_local_storage(tmp_path)
    await storage.log.page(ThreadQuery())
    with pytest.raises(StorageError, match="open; stop it"):
        repair(tmp_path)
    await storage.aclose()
    assert repair(tmp_path).lossless


async def test_repair_of_a_newer_database_is_refused(tmp_path: Path) -> None:
    await home_with(tmp_path, facts(1))
    with sqlite3.connect(tmp_path / "state.sqlite") as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StorageError, match="newer server"):
        repair(tmp_path)


KILLED = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from tests.unit.test_storage_salvage import facts, thread
from app_server.storage.local import open_local_storage

async def main():
    storage = open_local_storage(Path({home!r}))
    print((await thread(storage, facts(5))).thread_id, flush=True)
    os._exit(9)

asyncio.run(main())
"""


def test_what_only_the_write_ahead_log_has_is_saved_too(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    code = KILLED.format(tests=root, home=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=False)
    thread_id = ended.stdout.strip()
    assert (tmp_path / "state.sqlite-wal").stat().st_size > 0
    without_copies(tmp_path)
    report = salvage(tmp_path)
    assert (report.threads_saved, report.records_saved, report.lossless) == (1, 5, True), ended.stderr
    assert [path.name for path in tmp_path.glob("state.sqlite-*")] == []
    assert read_back(tmp_path / "state.sqlite") == [(thread_id, 5)]


def read_back(path: Path) -> list[tuple[str, int]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT thread_id, count(*) FROM records GROUP BY thread_id").fetchall()
    connection.close()
    return found


async def test_pictures_are_found_again_from_what_the_records_say(tmp_path: Path) -> None:
    sha256 = hashlib.sha256(PNG).hexdigest()
    ref = PictureRef(sha256=sha256, mime="image/png", size_bytes=len(PNG), width=3, height=2)
    attached = {"items": [{"type": "message", "content": [{"picture": ref.to_json()}]}], "text": "0"}
    made = b"made" * 50
    drawn = PictureRef(
        sha256=hashlib.sha256(made).hexdigest(), mime="image/png", size_bytes=len(made), width=1, height=1
    )
    file = tmp_path / "generated_images" / "a.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(made)
    item = {"type": "imageGeneration", "id": "i", "savedPath": str(file)}
    finished = {"turnId": "t", "item": item, "picture": drawn.to_json(), "text": "1"}
    storage = open_local_storage(tmp_path)
    lease = await thread(storage, [Record(kind="history", data=attached), Record(kind="item_completed", data=finished)])
    await storage.blobs.put(PNG, ref, owner=lease.thread_id)
    await storage.blobs.adopt(str(file), drawn, owner=lease.thread_id, ours=True)
    await storage.aclose()
    garbage(tmp_path / "state.sqlite")

    again = open_local_storage(tmp_path)
    assert await again.blobs.read(sha256) == PNG
    assert await again.blobs.read(drawn.sha256) == made
    assert await again.blobs.path(drawn.sha256) == str(file)
    assert len(await again.blobs.release(lease.thread_id)) == 2
    await again.aclose()


# --- the copies themselves


@pytest.mark.parametrize("left", [b"", b"garbage", b'{"seq":1,"kind":"history","at":1,"data":{}}\n{"end":1}\n'])
async def test_a_file_that_is_in_the_place_of_a_new_threads_copy_is_replaced(tmp_path: Path, left: bytes) -> None:
    storage = open_local_storage(tmp_path)
    await thread(storage, facts(1))  # the database is there: nothing is made again from copies
    path = tmp_path / "copies" / f"{uuid7()}.jsonl"
    path.write_bytes(left)
    await storage.log.create(a_row(path.stem), facts(2))
    await storage.aclose()
    copy = read_copy(path)
    assert (sorted(copy.records), copy.bad_lines, copy.row is None) == ([1, 2], 0, False)


async def test_a_copy_follows_every_append_and_goes_with_its_thread(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    lease = await thread(storage, facts(2))
    await storage.log.append(lease, facts(1), row=a_row(lease.thread_id))
    copy = read_copy(tmp_path / "copies" / f"{lease.thread_id}.jsonl")
    assert (sorted(copy.records), copy.bad_lines) == ([1, 2, 3], 0)
    await storage.log.delete(lease)
    assert list((tmp_path / "copies").iterdir()) == []
    await storage.aclose()


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-25]),
        lambda path: path.write_bytes(path.read_bytes() + b"\0" * 4096),
        lambda path: path.write_bytes(b"{}\n" + b'{"end":1}\n'),
    ],
)
async def test_a_copy_that_does_not_end_where_the_thread_does_is_made_anew(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    storage = open_local_storage(tmp_path)
    lease = await thread(storage, facts(3))
    path = tmp_path / "copies" / f"{lease.thread_id}.jsonl"
    damage(path)
    await storage.log.append(lease, facts(1))
    await storage.aclose()
    copy = read_copy(path)
    assert (sorted(copy.records), copy.bad_lines, copy.row is None) == ([1, 2, 3, 4], 0, False)


async def test_a_copy_that_cannot_be_written_fails_no_append(tmp_path: Path) -> None:
    (tmp_path / "copies").write_text("a file where the folder should be")
    (thread_id,) = await home_with(tmp_path, facts(2))
    assert len(await texts(tmp_path, thread_id)) == 2


def test_lines_of_a_copy_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    path = tmp_path / f"{uuid7()}.jsonl"
    path.write_bytes(b'{"seq":1,"kind":"history","at":1,"data":{}}\n{"seq":2,"ki\n[]\n\xff\xfe\n{"end":2}\n')
    copy = read_copy(path)
    assert (copy.records, copy.bad_lines) == ({1: ("history", 1, b"{}")}, 3)


def test_a_thread_whose_id_is_no_uuid_has_no_copy(tmp_path: Path) -> None:
    connection = sqlite3.connect(":memory:")
    ThreadCopies(tmp_path).wrote(connection, ("local", "../../etc/x"), None, 1, [("history", 1, b"{}")])
    ThreadCopies(tmp_path).removed(("local", "../../etc/x"))
    connection.close()
    assert list(tmp_path.iterdir()) == []
