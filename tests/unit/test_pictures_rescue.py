"""A picture that was saved and not recorded is found again by its name, and no other is taken for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from app_server.pictures.rescue import PictureRescue
from app_server.pictures.store import FOLDER, PictureStore, Saving
from app_server.storage import records as kinds
from app_server.storage.base import Record, Storage, ThreadRow
from app_server.storage.local import open_local_storage
from tests.support.image_fakes import checked
from tests.support.pictures import BLUE, GREEN, png

pytestmark = pytest.mark.anyio
THREAD = "019a0000-0000-7000-8000-000000000001"
ITEM = {"type": "imageGeneration", "id": "call_1", "prompt": "A Red Fox", "startedAtMs": 1}


def rescue(home: Path, storage: Storage, template: str = "{thread}/{call}") -> PictureRescue:
    return PictureRescue(Saving(root=home / FOLDER, name_template=template), storage.log, storage.blobs)


async def save(home: Path, storage: Storage, data: bytes, template: str = "{thread}/{call}") -> Path:
    store = PictureStore(home, storage.blobs, saving=Saving(root=home / FOLDER, name_template=template))
    return (await store.save_generated(checked(data), thread_id=THREAD, call_id="call_1", prompt="A Red Fox")).path


async def record(storage: Storage, data: bytes, path: Path) -> None:
    """Let a finished item of the thread show the picture."""
    row = ThreadRow(
        thread_id=THREAD,
        created_at_ms=1,
        updated_at_ms=1,
        recency_at_ms=1,
        cwd="/",
        source="vscode",
        model="m",
        model_provider="p",
    )
    item: dict[str, Any] = {**ITEM, "id": "call_0", "status": "completed", "savedPath": str(path)}
    shown = {"turnId": "t", "item": item, "picture": checked(data).ref.to_json()}
    await storage.log.create(row, [Record(kind=kinds.ITEM_COMPLETED, data=shown)])


async def test_a_saved_picture_without_a_record_is_found(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    path = await save(tmp_path, storage, png())
    found = await rescue(tmp_path, storage).find(THREAD, ITEM)
    assert found is not None
    assert (found.path, found.picture.ref) == (path, checked(png()).ref)
    await storage.aclose()


async def test_a_file_that_the_store_does_not_know_yet_is_made_its_own(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    path = tmp_path / FOLDER / THREAD / "call_1-2.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(png(colour=BLUE))
    found = await rescue(tmp_path, storage).find(THREAD, ITEM)
    assert found is not None
    assert await storage.blobs.read(found.picture.ref.sha256) == png(colour=BLUE)
    assert await storage.blobs.release(THREAD) == (str(path),)
    await storage.aclose()


async def test_the_picture_of_another_item_is_not_taken(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    await record(storage, png(), await save(tmp_path, storage, png()))
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) is None
    own = await save(tmp_path, storage, png(colour=GREEN))
    found = await rescue(tmp_path, storage).find(THREAD, ITEM)
    assert found is not None
    assert found.path == own
    await storage.aclose()


async def test_a_file_that_is_older_than_the_item_or_no_picture_is_left_alone(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    path = await save(tmp_path, storage, png())
    (path.parent / "call_1-2.png").write_bytes(b"no picture")
    os.utime(path, (10, 10))
    assert await rescue(tmp_path, storage).find(THREAD, {**ITEM, "startedAtMs": 60_000}) is None
    await storage.aclose()


async def test_names_with_a_date_and_words_are_found_as_well(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    template = "{date}/{slug}"
    path = await save(tmp_path, storage, png(), template)
    begun_ms = path.stat().st_mtime_ns // 1_000_000
    found = await rescue(tmp_path, storage, template).find(THREAD, {**ITEM, "startedAtMs": begun_ms})
    assert found is not None
    assert found.path == path
    await storage.aclose()


async def test_what_was_just_being_written_is_removed(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    half = tmp_path / FOLDER / THREAD / ".new-abc.png"
    half.parent.mkdir(parents=True)
    half.write_bytes(png()[:20])
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) is None
    assert not half.exists()
    await storage.aclose()


async def test_a_home_without_pictures_has_none(tmp_path: Path) -> None:
    storage = open_local_storage(tmp_path)
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) is None
    await storage.aclose()
