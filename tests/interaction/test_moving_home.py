"""A home is moved into another storage: what a client saw there it sees here, however often the move was stopped."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.moving import target as moving_target
from app_server.moving.home import move_home
from app_server.moving.report import Report
from app_server.storage.base import (
    Lease,
    LeaseHeld,
    PictureQuery,
    Record,
    Storage,
    StorageError,
    ThreadQuery,
    ThreadRow,
)
from app_server.storage.inspection import open_home
from app_server.storage.local import open_local_storage
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.registry import open_source
from tests.interaction.conversation import imagegen, picture_home, run_turn, start_thread
from tests.support import postgres, s3
from tests.support.failing_storage import Killed, failing_at
from tests.support.pictures import BLUE, RED, data_url, png
from tests.support.server import Home, serving
from tests.support.upstream import ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def source(tmp_path: Path, up: ScriptedUpstream) -> Home:
    """A home with a thread that has an attached and a generated picture, a fork, an archived and an unused thread."""
    home = picture_home(tmp_path / "source", up)
    async with serving(home) as (_, client):
        thread_id = await start_thread(client)
        up.images.append(image_reply(png(9, 9, BLUE)))
        up.queue += [sse("resp_1", imagegen("call_1", prompt="a fox")), text_turn("resp_2", "Drawn.")]
        await run_turn(client, thread_id, input=[{"type": "image", "url": data_url(png(colour=RED))}])
        await client.request("thread/name/set", {"threadId": thread_id, "name": "Foxes"})
        await client.request("thread/fork", {"threadId": thread_id})
        other = await start_thread(client)
        up.queue.append(text_turn("resp_3", "Hello."))
        await run_turn(client, other)
        await client.request("thread/archive", {"threadId": other})
        await start_thread(client)
    return home


async def moved(home: Path, target: Storage | None) -> Report:
    return await move_home(home, target, lambda report: None)


async def all_of(storage: Storage) -> list[tuple[ThreadRow, list[Record]]]:
    """The listed threads of a storage, the archived ones too."""
    pages = [await storage.log.page(ThreadQuery(archived=archived, limit=100)) for archived in (False, True)]
    return [(row, await storage.log.read(row.thread_id)) for page in pages for row in page.rows]


def files_of(home: Path) -> dict[str, bytes]:
    """What a move must not change."""
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def without_places(value: Any) -> Any:
    """Records without what says where a picture lies."""
    if isinstance(value, dict):
        return {key: without_places(one) for key, one in value.items() if key not in ("savedPath", "url")}
    if isinstance(value, list):
        return [without_places(one) for one in value]
    return "…" if isinstance(value, str) and ("/generated_images/" in value or "/blobs/" in value) else value


async def test_a_home_moves_into_another_home_and_is_not_changed(tmp_path: Path, source: Home) -> None:
    before = files_of(source.home)
    target = open_local_storage(tmp_path / "target")
    report = await moved(source.home, target)
    assert report.to_json() | {"records": 0, "pictureBytes": 0} == {
        "source": str(source.home),
        "dryRun": False,
        "complete": True,
        "threads": {"total": 4, "moved": 4},
        "records": 0,
        "pictures": 4,
        "pictureBytes": 0,
        "verified": {"threads": 4, "pictures": 4},
        "problems": [],
        "notes": [],
    }
    assert files_of(source.home) == before
    theirs = open_local_storage(source.home)
    pairs = zip(await all_of(theirs), await all_of(target), strict=True)
    for (old_row, old_records), (new_row, new_records) in pairs:
        assert new_row == old_row
        assert [(one.seq, one.kind, one.at_ms) for one in new_records] == [
            (one.seq, one.kind, one.at_ms) for one in old_records
        ]
        assert [without_places(one.data) for one in new_records] == [without_places(one.data) for one in old_records]
    text = str([records for _, records in await all_of(target)])
    assert [path for path in source.home.rglob("*.png") if str(path) in text] == []
    await theirs.aclose()
    await target.aclose()


async def test_a_client_of_the_new_home_reads_the_pictures_and_goes_on(
    tmp_path: Path, source: Home, up: ScriptedUpstream
) -> None:
    home = picture_home(tmp_path / "new", up)
    target = open_local_storage(home.home)
    await moved(source.home, target)
    await target.aclose()
    for path in (*source.home.rglob("*.png"),):
        path.unlink()
    async with serving(home) as (_, client):
        page = await client.request("thread/list", {})
        named = next(thread for thread in page["data"] if thread["name"] == "Foxes")
        read = await client.request("image/read", {"threadId": named["id"], "itemId": "call_1"})
        assert base64.b64decode(read["data"]) == png(9, 9, BLUE)
        thread = (await client.request("thread/resume", {"threadId": named["id"]}))["thread"]
        (picture,) = (one for one in thread["turns"][0]["items"] if one["type"] == "imageGeneration")
        assert Path(picture["savedPath"]).read_bytes() == png(9, 9, BLUE)
        up.queue.append(text_turn("resp_4", "Yes."))
        turn = await run_turn(client, named["id"], "Still there?")
        assert turn["status"] == "completed"
    sent = up.requests[-1].body["input"]
    urls = [part.get("image_url") for one in sent for part in one.get("content") or [] if isinstance(part, dict)]
    assert data_url(png(colour=RED)) in urls


async def test_where_no_files_are_kept_pictures_lose_their_paths_and_are_read_all_the_same(
    tmp_path: Path, source: Home
) -> None:
    target = MemoryStorageWorld(home=tmp_path / "target", keeps_files=False).process()
    report = await moved(source.home, target)
    assert (report.complete, report.verified_pictures) == (True, 4)
    rows = await target.log.pictures(PictureQuery())
    assert {row.path for row in rows} == {None}
    assert [await target.blobs.read(row.ref.sha256) for row in rows] == [png(9, 9, BLUE)] * 2
    assert await target.blobs.named(rows[0].thread_id, "call_1") == rows[0].ref
    contents = [
        part
        for _, records in await all_of(target)
        for record in records
        if record.kind == "item_completed" and record.data["item"]["type"] == "userMessage"
        for part in record.data["item"]["content"]
        if part["type"] == "image"
    ]
    assert contents
    assert {part["url"].partition(":sha256:")[0] for part in contents} == {"urn"}


async def test_a_move_that_is_killed_at_any_write_goes_on_and_doubles_nothing(
    tmp_path: Path, source: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_target, "BATCH_RECORDS", 5)
    whole = MemoryStorageWorld(home=tmp_path / "whole").process()
    assert (await moved(source.home, whole)).complete
    expected = await all_of(whole)
    writes, ended = 0, False
    while not ended:
        world = MemoryStorageWorld(home=tmp_path / "target")
        dying = world.process()
        try:
            await moved(source.home, failing_at(dying, writes))
            ended = True
        except Killed:
            await dying.aclose()
        target = world.process()
        listed = {row.thread_id: len(records) for row, records in await all_of(target)}
        assert listed.items() <= {row.thread_id: len(records) for row, records in expected}.items(), "a part is listed"
        report = await moved(source.home, target)
        assert (report.complete, report.verified_threads, report.verified_pictures) == (True, 4, 4)
        assert await all_of(target) == expected
        writes += 1
    assert writes > 10


class _KillsTheHolder:
    """Leases that are held at the first try; their holder dies then."""

    def __init__(self, leases: Any, world: MemoryStorageWorld, holder: str) -> None:
        self._leases, self._world, self._holder = leases, world, holder

    async def acquire(self, thread_id: str) -> Lease:
        try:
            lease: Lease = await self._leases.acquire(thread_id)
        except LeaseHeld:
            self._world.kill(self._holder)
            raise
        return lease

    async def release(self, lease: Lease) -> None:
        await self._leases.release(lease)


async def test_the_lease_of_a_move_that_was_killed_is_waited_for(
    tmp_path: Path, source: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving_target, "POLL_S", 0.0)
    with open_home(source.home) as stored:
        row = stored.row(stored.thread_ids()[0])
        begun = stored.records(row.thread_id, 0, 1)
    world = MemoryStorageWorld(home=tmp_path / "target")
    killed, target = world.process(), world.process()
    lease, _ = await killed.log.create(replace(row, listed=False), begun)
    leases: Any = _KillsTheHolder(target.leases, world, lease.owner)
    report = await moved(source.home, replace(target, leases=leases))
    assert (report.threads, report.complete) == ({"resumed": 1, "moved": 3}, True)
    assert await target.log.row(row.thread_id) == row


async def test_a_second_run_finds_all_of_it_and_a_thread_that_grew_here_stays(tmp_path: Path, source: Home) -> None:
    target = MemoryStorageWorld(home=tmp_path / "target").process()
    await moved(source.home, target)
    (row, records), *_ = await all_of(target)
    lease = await target.leases.acquire(row.thread_id)
    await target.log.append(lease, [Record(kind="name_set", data={"name": "Mine"})])
    await target.leases.release(lease)
    report = await moved(source.home, target)
    assert (report.threads, report.complete) == ({"present": 4}, True)
    assert len(await target.log.read(row.thread_id)) == len(records) + 1


async def test_other_content_and_a_thread_that_is_open_are_told_and_left_alone(tmp_path: Path, source: Home) -> None:
    with open_home(source.home) as stored:
        first, second, *_ = (stored.row(thread_id) for thread_id in stored.thread_ids())
        begun = stored.records(second.thread_id, 0, 1)
    world = MemoryStorageWorld(home=tmp_path / "target")
    server, target = world.process(), world.process()
    lease, _ = await server.log.create(first, [Record(kind="thread_started", data={"settings": {}})])
    await server.leases.release(lease)
    await server.log.create(second, begun)
    report = await moved(source.home, target)
    assert (report.threads, report.verified_threads) == ({"differs": 1, "held": 1, "moved": 2}, 2)
    assert [problem.thread_id for problem in report.problems] == [first.thread_id, second.thread_id]
    assert len(await target.log.read(first.thread_id)) == 1


async def test_a_picture_that_the_source_has_lost_is_named(tmp_path: Path, source: Home) -> None:
    for path in (source.home / "generated_images").rglob("*.png"):
        path.write_bytes(b"changed")
    report = await moved(source.home, MemoryStorageWorld(home=tmp_path / "target").process())
    assert not report.complete
    assert {problem.sentence.split(" of thread ")[1][37:] for problem in report.problems} == {
        "is gone or changed in the source."
    }
    assert (report.verified_threads, report.verified_pictures) == (4, 2)


async def test_a_home_that_a_server_has_open_is_refused(tmp_path: Path, source: Home) -> None:
    async with serving(source) as (_, client):
        await start_thread(client)
        with pytest.raises(StorageError, match=r"A server has .* open; stop it, then import from it"):
            await moved(source.home, None)


async def test_a_dry_run_counts(source: Home) -> None:
    report = await moved(source.home, None)
    assert (report.dry_run, report.total, report.pictures, report.done, report.complete) == (True, 4, 4, 0, True)
    assert report.records > 20


async def test_a_folder_that_is_no_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"has no state.sqlite; name the home of a server"):
        await moved(tmp_path, None)


@asynccontextmanager
async def hosted(url: str, blobs: str, home: Path, tenant: str) -> AsyncIterator[Storage]:
    """The storage of a tenant in PostgreSQL and an object store, while its leases are renewed."""
    engine = open_source(url, blobs, home)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(engine.run)
        yield engine.storage(tenant)
        await engine.aclose()
        tasks.cancel_scope.cancel()


async def test_a_home_moves_to_postgres_and_s3_for_one_tenant_however_often_it_is_stopped(
    tmp_path: Path, source: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(moving_target, "BATCH_RECORDS", 5)
    database, blobs = await postgres.cluster().new_database(), s3.blobs_url(s3.new_bucket())
    for writes in (0, 2, 5, 8):
        async with hosted(database, blobs, tmp_path, "ann") as target:
            with pytest.raises(Killed):
                await moved(source.home, failing_at(target, writes))
    async with hosted(database, blobs, tmp_path, "ann") as target:
        report = await moved(source.home, target)
        assert (report.complete, report.verified_threads, report.verified_pictures) == (True, 4, 4)
        assert (await moved(source.home, target)).threads == {"present": 4}
        with open_home(source.home) as stored:
            for thread_id in stored.thread_ids():
                row, records = stored.row(thread_id), stored.records(thread_id, 0, 1000)
                assert await target.log.row(thread_id) == replace(row, tenant="ann")
                found = await target.log.read(thread_id)
                assert [(one.seq, one.kind, one.at_ms) for one in found] == [
                    (one.seq, one.kind, one.at_ms) for one in records
                ]
        (newest, *_) = await target.log.pictures(PictureQuery())
        assert (newest.path, await target.blobs.read(newest.ref.sha256)) == (None, png(9, 9, BLUE))
    async with hosted(database, blobs, tmp_path, "bob") as stranger:
        assert await all_of(stranger) == []
    await postgres.cluster().drop(database)
