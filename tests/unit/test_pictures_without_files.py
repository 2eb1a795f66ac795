"""Pictures of a storage that keeps no files: saved under their item, found again after a crash, counted, addressed."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from app_server.extension_api import SavedPicture
from app_server.extension_api.services import PictureRejected
from app_server.extension_api.tools import PictureRef
from app_server.pictures.links import PictureLinks, read_key, signature, tenant_in
from app_server.pictures.listing import Gallery
from app_server.pictures.rescue import PictureRescue, Rescued
from app_server.pictures.store import FOLDER, PictureStore, Saving
from app_server.storage import records as kinds
from app_server.storage.base import Record, Storage, StorageError, ThreadRow
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.memory_blobs import MemoryBlobStore
from app_server.threads.replay import closing_records, replay
from app_server.transport.http import HttpReply, HttpRequest
from tests.support.image_fakes import checked
from tests.support.pictures import BLUE, GREEN, png

pytestmark = pytest.mark.anyio
THREAD = "019a0000-0000-7000-8000-000000000001"
ITEM = {"type": "imageGeneration", "id": "call_1", "prompt": "a fox", "startedAtMs": 1}
ROW = ThreadRow(
    thread_id=THREAD, created_at_ms=1, updated_at_ms=1, recency_at_ms=1, cwd="/", source="s", model="m",
    model_provider="p",
)  # fmt: skip
NOW_S = 1_700_000_000


class StandingClock:
    def now_ms(self) -> int:
        return NOW_S * 1000

    def monotonic_s(self) -> float:
        return 0.0


def storage_without_files() -> Storage:
    return MemoryStorageWorld(keeps_files=False).process()


def store(home: Path, storage: Storage, quota_bytes: int = 0) -> PictureStore:
    return PictureStore(home, storage.blobs, saving=Saving(root=home / FOLDER, quota_bytes=quota_bytes))


async def save(home: Path, storage: Storage, data: bytes, call_id: str = "call_1") -> SavedPicture:
    return await store(home, storage).save_generated(checked(data), thread_id=THREAD, call_id=call_id)


def rescue(home: Path, storage: Storage) -> PictureRescue:
    return PictureRescue(Saving(root=home / FOLDER), storage.log, storage.blobs)


def finished(item_id: str, data: bytes, turn_id: str = "t1") -> Record:
    item: dict[str, Any] = {**ITEM, "id": item_id, "status": "completed"}
    return Record(
        kind=kinds.ITEM_COMPLETED, data={"turnId": turn_id, "item": item, "picture": checked(data).ref.to_json()}
    )


async def test_a_generated_picture_has_no_path_and_leaves_no_file(tmp_path: Path) -> None:
    storage = storage_without_files()
    saved = await save(tmp_path, storage, png())
    assert saved == SavedPicture(ref=checked(png()).ref, path=None)
    assert await store(tmp_path, storage).read(saved.ref) == png()
    assert await store(tmp_path, storage).path_of(saved.ref) is None
    assert list(tmp_path.iterdir()) == []


class RefusingBlobs(MemoryBlobStore):
    """A store that is down."""

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        raise StorageError("the store is down")


async def test_a_picture_that_the_store_refuses_is_an_oserror_with_its_words(tmp_path: Path) -> None:
    blobs = storage_without_files().blobs
    assert isinstance(blobs, MemoryBlobStore)
    pictures = PictureStore(tmp_path, RefusingBlobs(blobs._process))
    with pytest.raises(OSError, match="the store is down"):
        await pictures.save_generated(checked(png()), thread_id=THREAD, call_id="c")


async def test_the_quota_counts_generated_pictures_and_not_attachments(tmp_path: Path) -> None:
    storage = storage_without_files()
    pictures = store(tmp_path, storage, quota_bytes=1)
    await pictures.keep(checked(png(colour=BLUE)), thread_id=THREAD)
    await pictures.require_room()
    await save(tmp_path, storage, png())
    with pytest.raises(PictureRejected, match="the saved pictures take"):
        await pictures.require_room()


async def test_a_picture_that_was_put_and_not_recorded_is_found_by_its_item(tmp_path: Path) -> None:
    storage = storage_without_files()
    await save(tmp_path, storage, png())
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) == Rescued(picture=checked(png()), path=None)
    assert await rescue(tmp_path, storage).find(THREAD, {**ITEM, "id": "call_2"}) is None
    assert await rescue(tmp_path, storage).find("another thread", ITEM) is None


async def test_the_picture_of_an_earlier_item_of_the_same_id_is_not_taken_for_that_of_the_open_one(
    tmp_path: Path,
) -> None:
    storage = storage_without_files()
    await save(tmp_path, storage, png())
    await storage.log.create(ROW, [finished("call_1", png())])
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) is None
    await save(tmp_path, storage, png(colour=GREEN))
    found = await rescue(tmp_path, storage).find(THREAD, ITEM)
    assert found is not None
    assert found.picture.data == png(colour=GREEN)


async def test_a_picture_whose_bytes_are_gone_is_not_rescued_and_nothing_is_raised(tmp_path: Path) -> None:
    world = MemoryStorageWorld(keeps_files=False)
    storage = world.process()
    saved = await save(tmp_path, storage, png())
    world.blobs = {key: b"altered" for key in world.blobs if key[0] == saved.ref.sha256}
    assert await rescue(tmp_path, storage).find(THREAD, ITEM) is None


def opened() -> list[Record]:
    """A turn in which a picture was paid for, and then nothing more."""
    call = {"type": "function_call", "call_id": "call_1", "name": "imagegen", "arguments": "{}"}
    return [
        Record(kind=kinds.TURN_STARTED, data={"turnId": "t1", "startedAtMs": 1}),
        Record(kind=kinds.HISTORY, data={"items": [call]}),
        Record(kind=kinds.ITEM_STARTED, data={"turnId": "t1", "item": ITEM}),
        Record(kind=kinds.PAID_CALL, data={"turnId": "t1", "itemId": "call_1", "key": "k"}),
    ]


async def test_after_a_crash_a_picture_that_was_put_ends_its_item_and_one_that_was_not_is_unknown(
    tmp_path: Path,
) -> None:
    storage = storage_without_files()
    await save(tmp_path, storage, png())
    found = await rescue(tmp_path, storage).find(THREAD, ITEM)
    assert found is not None
    kept, lost = (
        {
            record.data["item"]["status"]: record.data["item"]
            for record in closing_records(replay(opened()), 9, rescued)
            if record.kind == kinds.ITEM_COMPLETED
        }
        for rescued in ({"call_1": found}, {})
    )
    assert (kept["completed"]["sha256"], "savedPath" in kept["completed"]) == (found.picture.ref.sha256, False)
    assert lost["failed"]["error"]["type"] == "unknownOutcome"


async def test_a_removed_picture_goes_alone_and_the_same_bytes_of_another_item_stay(tmp_path: Path) -> None:
    storage = storage_without_files()
    for call_id in ("call_1", "call_2"):
        await save(tmp_path, storage, png(), call_id)
    lease, _ = await storage.log.create(ROW, [finished("call_1", png()), finished("call_2", png())])

    async def note(thread_id: str, record: Record) -> None:
        await storage.log.append(lease, [record])

    gallery = Gallery(storage.log, storage.blobs, note, ephemeral=storage_without_files().log)
    row = await gallery.of_item(THREAD, "call_1")
    assert row is not None
    assert row.path is None
    await gallery.remove(row, "deleted")
    assert [await gallery.of_item(THREAD, "call_1"), await storage.blobs.named(THREAD, "call_1")] == [None, None]
    assert await storage.blobs.read(row.ref.sha256) == png()


# --- addresses


class SigningBlobs(MemoryBlobStore):
    """A store that has addresses of its own."""

    async def url(self, sha256: str, life_s: int) -> str | None:
        return f"https://store.example/{sha256}?life={life_s}"


async def shared_secret(name: str) -> bytes:
    return name.encode().ljust(32, b"*")


async def links_of(home: Path, tenant: str = "user:ann", blobs: MemoryBlobStore | None = None) -> PictureLinks:
    """Links to a store with one picture."""
    if blobs is None:
        made = storage_without_files().blobs
        assert isinstance(made, MemoryBlobStore)
        blobs = made
    await blobs.put(png(), checked(png()).ref, owner=THREAD, name="call_1")
    return PictureLinks(
        home, StandingClock(), PictureStore(home, blobs), blobs, tenant=tenant, shared=shared_secret
    )  # fmt: skip


def request(address: str) -> HttpRequest:
    parts = urlsplit(address)
    return HttpRequest(path=parts.path, query=parts.query, headers={})


SHA256 = checked(png()).ref.sha256


def test_the_tenant_is_signed_and_without_one_the_signature_is_as_it_was() -> None:
    key = b"k" * 32
    assert signature(key, SHA256, 5, "local") == signature(key, SHA256, 5)
    assert len({signature(key, SHA256, 5, tenant) for tenant in ("local", "user:ann", "user:bob")}) == 3


@pytest.mark.parametrize(
    ("query", "tenant"),
    [
        ("expires=1&sig=x", "local"),
        ("expires=1&sig=x&tenant=user%3Aann%26b", "user:ann&b"),
        ("tenant=a&tenant=b", ""),
        ("", "local"),
    ],
)
def test_an_address_says_whose_picture_it_shows(query: str, tenant: str) -> None:
    assert tenant_in(query) == tenant


async def test_an_address_of_one_replica_is_good_at_every_other_one(tmp_path: Path) -> None:
    one, two = await links_of(tmp_path / "one"), await links_of(tmp_path / "two")
    address, _ = await one.path(SHA256)
    assert tenant_in(urlsplit(address).query) == "user:ann"
    assert (await two.answer(request(address))).body == png()
    assert not (tmp_path / "one").exists()  # no secret of its own


async def test_an_address_of_a_tenant_is_good_for_that_tenant_alone(tmp_path: Path) -> None:
    ann, bob = await links_of(tmp_path), await links_of(tmp_path, "user:bob")
    address, _ = await ann.path(SHA256)
    assert await bob.refusal(request(address)) is None  # it is good, but not here
    answers = [
        await bob.answer(request(address)),
        await bob.answer(request(address.replace("ann", "bob"))),
        await bob.answer(request(address.partition("&tenant")[0])),
        await ann.answer(request(f"{address}&tenant=user%3Abob")),
    ]
    assert [answer.status for answer in answers] == [404, 403, 403, 403]


async def test_a_bad_address_is_refused_whatever_tenant_it_names(tmp_path: Path) -> None:
    links = await links_of(tmp_path, "local")
    forged = f"/images/{SHA256}?expires={NOW_S + 60}&sig=x&tenant=user%3Aann"
    refusals = [await links.refusal(request(forged)), await links.refusal(request("/images/x"))]
    assert [refusal and refusal.status for refusal in refusals] == [403, 404]


async def test_where_the_store_has_an_address_of_its_own_it_is_given_for_the_rest_of_the_time(tmp_path: Path) -> None:
    blobs = storage_without_files().blobs
    assert isinstance(blobs, MemoryBlobStore)
    links = await links_of(tmp_path, blobs=SigningBlobs(blobs._process))
    address, _ = await links.path(SHA256, 45)
    assert await links.answer(request(address)) == HttpReply(
        status=302,
        headers={
            "Location": f"https://store.example/{SHA256}?life=45",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, max-age=45, immutable",
        },
    )
    unknown, _ = await links.path("f" * 64)
    assert (await links.answer(request(unknown))).status == 404


async def test_a_secret_that_cannot_be_had_is_an_oserror_with_its_words(tmp_path: Path) -> None:
    async def refuse(name: str) -> bytes:
        raise StorageError("the database is down")

    blobs = storage_without_files().blobs
    links = PictureLinks(tmp_path, StandingClock(), PictureStore(tmp_path, blobs), blobs, shared=refuse)
    with pytest.raises(OSError, match="the database is down"):
        await links.path(SHA256)
    assert (await links.answer(request(f"/images/{SHA256}?expires=1&sig=x"))).status == 404


async def test_without_a_shared_secret_the_home_keeps_one(tmp_path: Path) -> None:
    blobs = storage_without_files().blobs
    links = PictureLinks(tmp_path, StandingClock(), PictureStore(tmp_path, blobs), blobs)
    address, expires_s = await links.path(SHA256)
    assert signature(read_key(tmp_path / "picture_links.key"), SHA256, expires_s) in address
