"""Pictures that are no files: what every blob store promises of them, and what is special about an object store.

A *place* is what outlives a process: two stores of one place are two replicas to each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from app_server.errors import ConfigurationError
from app_server.extension_api.tools import PictureRef
from app_server.storage.base import BlobAltered, BlobMissing, BlobStore, StorageError
from app_server.storage.local import open_local_storage
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.object_blobs import ObjectBlobStore
from app_server.storage.postgres.blobs import BlobLocks, PostgresBlobRows
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.s3 import FOLDER, Bucket, ObstoreObjects, open_blobs, open_objects, read_bucket
from tests.support import s3
from tests.support.postgres import ask, cluster

pytestmark = pytest.mark.anyio

PNG, OTHER = b"\x89PNG\r\n\x1a\n of a fox", b"\x89PNG\r\n\x1a\n of a hen"


def ref_of(data: bytes) -> PictureRef:
    digest = hashlib.sha256(data).hexdigest()
    return PictureRef(sha256=digest, mime="image/png", size_bytes=len(data), width=4, height=3)


REF, OTHER_REF = ref_of(PNG), ref_of(OTHER)
WAITING = (
    "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
async def database() -> AsyncIterator[str]:
    url = await cluster().new_database()
    yield url
    await cluster().drop(url)


class Shared:
    """Replicas over one database and one store of objects."""

    def __init__(self, database: str, blobs_url: str | None, home: Path) -> None:
        self.database, self.blobs_url, self._home = database, blobs_url, home
        self._opened: list[PostgresDatabase] = []

    def store(self, tenant: str = "local") -> BlobStore:
        """Of a replica of its own."""
        return open_blobs(self._new(), self.blobs_url, self._home)(tenant)

    def over(self, objects: Any, tenant: str = "local") -> ObjectBlobStore:
        """Of a replica whose objects are those of a test."""
        rows = self._new()
        return ObjectBlobStore(objects, PostgresBlobRows(rows, BlobLocks(rows), tenant), tenant)

    def objects(self) -> ObstoreObjects:
        return open_objects(self.blobs_url, self._home)

    async def aclose(self) -> None:
        for database in self._opened:
            await database.aclose()

    def _new(self) -> PostgresDatabase:
        self._opened.append(PostgresDatabase(self.database))
        return self._opened[-1]


@pytest.fixture(params=["bucket", "folder"])
async def shared(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> AsyncIterator[Shared]:
    blobs_url = s3.blobs_url(s3.new_bucket()) if request.param == "bucket" else None
    made = Shared(database, blobs_url, tmp_path / "home")
    yield made
    await made.aclose()


@pytest.fixture
async def in_bucket(database: str, tmp_path: Path) -> AsyncIterator[tuple[Shared, str]]:
    """Replicas over a bucket, and its name."""
    bucket = s3.new_bucket()
    made = Shared(database, s3.blobs_url(bucket), tmp_path / "home")
    yield made, bucket
    await made.aclose()


# --- every store: pictures that are put for an item


PLACES = ("memory", "memory without files", "local", "bucket", "folder")


@pytest.fixture(params=PLACES)
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    home = tmp_path / "home"
    if request.param.startswith("memory"):
        storage = MemoryStorageWorld(home=home, keeps_files=request.param == "memory").process()
        yield storage.blobs
    elif request.param == "local":
        storage = open_local_storage(home)
        yield storage.blobs
        await storage.aclose()
    else:
        url = await cluster().new_database()
        made = Shared(url, s3.blobs_url(s3.new_bucket()) if request.param == "bucket" else None, home)
        yield made.store()
        await made.aclose()
        await cluster().drop(url)


async def test_a_picture_that_was_put_for_an_item_is_found_by_it_alone(blobs: BlobStore) -> None:
    assert await blobs.put(PNG, REF, owner="t1", name="call_1") == REF
    assert await blobs.put(OTHER, OTHER_REF, owner="t1") == OTHER_REF
    found = [await blobs.named("t1", "call_1"), await blobs.named("t1", "call_2"), await blobs.named("t2", "call_1")]
    assert found == [REF, None, None]
    assert (await blobs.read(REF.sha256), await blobs.ref(REF.sha256)) == (PNG, REF)


@pytest.mark.parametrize("name", ["../../x", "a/b", "", "ä\x00b", "c" * 400, ".", "%-", "Call_1"])
async def test_the_name_of_an_item_may_be_anything(blobs: BlobStore, name: str) -> None:
    await blobs.put(PNG, REF, owner="t1", name=f"{name}!")
    await blobs.put(PNG, REF, owner="t1", name=name or "empty")
    assert [await blobs.named("t1", f"{name}!"), await blobs.named("t1", name or "empty")] == [REF, REF]
    await blobs.release("t1")
    assert await blobs.named("t1", name or "empty") is None


async def test_of_two_pictures_of_one_item_the_newer_is_found(blobs: BlobStore) -> None:
    for data, ref in ((PNG, REF), (OTHER, OTHER_REF), (PNG, REF)):
        await blobs.put(data, ref, owner="t1", name="call_1")
    assert await blobs.named("t1", "call_1") == REF


async def test_only_pictures_that_were_put_for_an_item_count_as_generated(blobs: BlobStore) -> None:
    await blobs.put(PNG, REF, owner="t1")
    assert (await blobs.adopted_bytes(), await blobs.kept_bytes()) == (0, len(PNG))
    await blobs.put(OTHER, OTHER_REF, owner="t1", name="call_1")
    await blobs.put(PNG, REF, owner="t1", name="call_2")
    assert await blobs.adopted_bytes() == len(PNG) + len(OTHER)
    await blobs.release("t1")
    assert await blobs.adopted_bytes() == 0


async def test_a_fork_finds_the_pictures_of_its_items_when_the_first_thread_is_gone(blobs: BlobStore) -> None:
    await blobs.put(PNG, REF, owner="t1", name="call_1")
    await blobs.share("t1", "fork")
    await blobs.release("t1")
    assert (await blobs.named("fork", "call_1"), await blobs.read(REF.sha256)) == (REF, PNG)
    assert await blobs.adopted_bytes() == len(PNG)
    await blobs.release("fork")
    with pytest.raises(BlobMissing):
        await blobs.read(REF.sha256)


async def test_the_picture_of_one_item_is_released_and_the_same_bytes_of_another_stay(blobs: BlobStore) -> None:
    if blobs.keeps_files:
        pytest.skip("where files are blobs, each item has a path of its own")
    for name in ("call_1", "call_2"):
        await blobs.put(PNG, REF, owner="t1", name=name)
    await blobs.release_picture("t1", REF.sha256, "call_1")
    assert [await blobs.named("t1", "call_1"), await blobs.named("t1", "call_2")] == [None, REF]
    assert await blobs.read(REF.sha256) == PNG
    await blobs.release_picture("t1", REF.sha256, "another name")  # then all of it goes
    with pytest.raises(BlobMissing):
        await blobs.read(REF.sha256)


async def test_a_file_that_is_adopted_where_no_files_are_kept_becomes_a_picture_of_its_name(
    blobs: BlobStore, tmp_path: Path
) -> None:
    if blobs.keeps_files:
        pytest.skip("the file itself is the blob")
    file = tmp_path / "call_1.png"
    file.write_bytes(PNG)
    assert await blobs.adopt(str(file), REF, owner="t1", ours=True) == REF
    assert (await blobs.path(REF.sha256), await blobs.named("t1", "call_1")) == (None, REF)
    await blobs.release("t1")
    assert file.read_bytes() == PNG
    with pytest.raises(BlobAltered):
        await blobs.adopt(str(file), OTHER_REF, owner="t1")
    with pytest.raises(BlobMissing):
        await blobs.adopt(str(tmp_path / "none.png"), REF, owner="t1")


# --- objects


async def test_what_one_replica_puts_another_reads_and_removes(shared: Shared) -> None:
    one, two = shared.store(), shared.store()
    assert await one.put(PNG, REF, owner="t1") == REF
    assert (await two.read(REF.sha256), await two.ref(REF.sha256), two.keeps_files) == (PNG, REF, False)
    (place,) = await two.release("t1")
    assert place.endswith(f"/local/{REF.sha256[:2]}/{REF.sha256}")
    assert await one.ref(REF.sha256) is None
    with pytest.raises(BlobMissing):
        await one.read(REF.sha256)
    assert await ask(shared.database, "SELECT * FROM blobs") == []


async def test_bytes_that_do_not_match_their_reference_are_not_put(shared: Shared) -> None:
    with pytest.raises(StorageError, match="do not match their reference"):
        await shared.store().put(OTHER, REF, owner="t1")
    assert await shared.store().ref(REF.sha256) is None


@pytest.mark.parametrize("sha256", ["0" * 64, "", "../../etc/passwd", "A" * 64])
async def test_an_unknown_picture_is_missing_and_has_no_address(shared: Shared, sha256: str) -> None:
    with pytest.raises(BlobMissing):
        await shared.store().read(sha256)
    assert await shared.store().ref(sha256) is None


async def test_an_object_that_was_altered_is_found_out_and_can_be_put_again(shared: Shared) -> None:
    store, key = shared.store(), f"local/{REF.sha256[:2]}/{REF.sha256}"
    await store.put(PNG, REF, owner="t1")
    await shared.objects().put(key, b"altered", "image/png")
    with pytest.raises(BlobAltered, match=f"^Picture {REF.sha256} at .*{key} was changed after it was stored; "):
        await store.read(REF.sha256)
    await store.put(PNG, REF, owner="t2")
    assert await store.read(REF.sha256) == PNG


async def test_tenants_have_nothing_in_common_but_the_store(shared: Shared) -> None:
    ours, theirs = shared.store("user:ann"), shared.store("user:bob/..")
    for store in (ours, theirs):
        await store.put(PNG, REF, owner="t1", name="call_1")
    await ours.put(OTHER, OTHER_REF, owner="t1", name="call_2")
    assert [await theirs.ref(OTHER_REF.sha256), await theirs.named("t1", "call_2")] == [None, None]
    assert (await ours.adopted_bytes(), await theirs.adopted_bytes()) == (len(PNG) + len(OTHER), len(PNG))
    with pytest.raises(BlobMissing):
        await theirs.read(OTHER_REF.sha256)
    await theirs.share("t1", "fork")
    await theirs.release("t1")
    await theirs.release("fork")
    assert (await ours.read(REF.sha256), await ours.named("t1", "call_1")) == (PNG, REF)
    with pytest.raises(BlobMissing):
        await theirs.read(REF.sha256)


class Hooked:
    """Objects that stop at a hook, or fail, where a test says so."""

    def __init__(self, objects: ObstoreObjects) -> None:
        self._objects = objects
        self.after_put: Callable[[], Awaitable[object]] | None = None
        self.before_remove: Callable[[], Awaitable[object]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._objects, name)

    async def put(self, key: str, data: bytes, mime: str) -> None:
        await self._objects.put(key, data, mime)
        if (hook := self.after_put) is not None:
            self.after_put = None
            await hook()

    async def remove(self, key: str) -> None:
        if (hook := self.before_remove) is not None:
            self.before_remove = None
            await hook()
        await self._objects.remove(key)


async def test_a_picture_that_is_removed_while_it_is_put_again_is_there_in_the_end(shared: Shared) -> None:
    hooked, first = Hooked(shared.objects()), shared.store()
    await first.put(PNG, REF, owner="t1")
    removed: list[tuple[str, ...]] = []

    async def remove() -> None:
        removed.append(await first.release("t1"))

    hooked.after_put = remove
    await shared.over(hooked).put(PNG, REF, owner="t2")
    assert len(removed[0]) == 1
    assert await first.read(REF.sha256) == PNG


async def test_a_picture_that_is_put_again_while_it_is_removed_is_there_in_the_end(shared: Shared) -> None:
    removing, putting = Hooked(shared.objects()), Hooked(shared.objects())
    first, second = shared.over(removing), shared.over(putting)
    await first.put(PNG, REF, owner="t1")
    uploaded, noted = asyncio.Event(), asyncio.Event()

    async def note() -> None:
        uploaded.set()

    async def put() -> None:
        await second.put(PNG, REF, owner="t2")
        noted.set()

    async with anyio.create_task_group() as tasks:

        async def let_somebody_put_it() -> None:
            """Until it is put, and its owner waits to be noted, or was noted."""
            tasks.start_soon(put)
            await uploaded.wait()
            while not noted.is_set() and not await ask(shared.database, WAITING):
                pass

        putting.after_put, removing.before_remove = note, let_somebody_put_it
        await first.release("t1")
    assert await first.read(REF.sha256) == PNG
    await second.release("t2")
    assert await ask(shared.database, "SELECT * FROM blobs") == []


async def test_of_owners_who_let_go_at_the_same_time_one_removes_the_picture(shared: Shared) -> None:
    one, two = shared.store(), shared.store()
    for _ in range(5):
        for owner in ("t1", "t2"):
            await one.put(PNG, REF, owner=owner)
        assert await two.ref(REF.sha256) == REF  # both are connected: their statements take turns
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.release, "t1")
            tasks.start_soon(two.release, "t2")
    assert await ask(shared.database, "SELECT * FROM blobs") == []


async def test_an_object_that_could_not_be_removed_is_nobodys_and_goes_with_a_later_release(shared: Shared) -> None:
    hooked = Hooked(shared.objects())
    store = shared.over(hooked)
    await store.put(PNG, REF, owner="t1")

    async def refuse() -> None:
        raise StorageError("The store is down.")

    hooked.before_remove = refuse
    assert await store.release("t1") == ()
    assert await store.ref(REF.sha256) is None
    assert await store.release("t2") == ()  # too early: somebody may be putting it
    await ask(shared.database, "UPDATE blobs SET unowned_since = unowned_since - interval '1 hour'")
    (place,) = await store.release("t2")
    assert place.endswith(REF.sha256)
    with pytest.raises(BlobMissing):
        await store.read(REF.sha256)


async def test_the_object_of_a_process_that_died_before_its_row_goes_with_a_later_release(shared: Shared) -> None:
    hooked, store = Hooked(shared.objects()), shared.store()

    async def die() -> None:
        raise RuntimeError

    hooked.after_put = die
    with pytest.raises(RuntimeError):
        await shared.over(hooked).put(PNG, REF, owner="t1")
    assert (await store.ref(REF.sha256), await store.named("t1", "")) == (None, None)
    await ask(shared.database, "UPDATE blobs SET unowned_since = unowned_since - interval '1 hour'")
    assert len(await store.release("anybody")) == 1
    assert await ask(shared.database, "SELECT * FROM blobs") == []


async def test_a_store_is_probed_by_an_object_that_is_gone_again(shared: Shared, tmp_path: Path) -> None:
    await shared.objects().probe()
    assert [path for path in (tmp_path / "home" / FOLDER).rglob("*") if path.is_file()] == []


# --- a bucket


async def test_the_signed_address_of_a_picture_shows_it_to_whoever_has_it(in_bucket: tuple[Shared, str]) -> None:
    store, (url, life) = in_bucket[0].store("user:ann"), (None, None)
    await store.put(PNG, REF, owner="t1")
    url = await store.url(REF.sha256, 90)
    assert url is not None
    async with httpx.AsyncClient() as client:
        answer = await client.get(url)
    life = httpx.URL(url).params["X-Amz-Expires"]
    assert (answer.content, answer.headers["Content-Type"], life) == (PNG, "image/png", "90")
    assert s3.CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in url
    assert await store.url("../x", 90) is None


async def test_addresses_name_the_store_as_clients_reach_it_or_there_are_none(
    in_bucket: tuple[Shared, str], tmp_path: Path
) -> None:
    bucket = in_bucket[1]
    public = open_objects(s3.blobs_url(bucket, public_endpoint="https://pictures.example"), tmp_path)
    assert (await public.url("k", 60) or "").startswith(f"https://pictures.example/{bucket}/prefix/k?")
    assert await open_objects(s3.blobs_url(bucket, public_endpoint="none"), tmp_path).url("k", 60) is None
    assert await open_objects(None, tmp_path).url("k", 60) is None


async def test_objects_lie_below_the_prefix_by_tenant_and_sha256(in_bucket: tuple[Shared, str]) -> None:
    await in_bucket[0].store("user:ann").put(PNG, REF, owner="t1")
    assert s3.keys(in_bucket[1]) == [f"prefix/user%3Aann/{REF.sha256[:2]}/{REF.sha256}"]


async def failure(blobs_url: str, home: Path, **options: float) -> str:
    """What is said when something is put; nothing hangs on to what the store said."""
    with pytest.raises(StorageError) as failed:
        await open_objects(blobs_url, home, **options).put("k", PNG, "image/png")
    assert (failed.value.__cause__, failed.value.__context__) == (None, None)
    return failed.value.message


async def test_a_bucket_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert await failure(s3.blobs_url("nowhere"), tmp_path) == (
        f"The bucket nowhere at {s3.endpoint()} is not there; make it, or name another one in storage.blobs."
    )


async def test_a_store_that_is_down_is_named_with_what_to_do(tmp_path: Path) -> None:
    said = await failure("s3://b/p?endpoint=http://127.0.0.1:9", tmp_path)
    assert said.startswith("The bucket b at http://127.0.0.1:9 cannot be reached, or refused the operation; check ")


async def test_plain_http_is_spoken_only_where_the_url_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.new_bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint())
    assert "cannot be reached" in await failure(f"s3://{bucket}/prefix", tmp_path)
    assert s3.keys(bucket) == []


async def test_a_store_that_is_silent_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody_accepts:
        address = f"http://127.0.0.1:{nobody_accepts.getsockname()[1]}"
        said = await failure(f"s3://b?endpoint={address}", tmp_path, bound_s=0.2)
    assert (
        said
        == f"The bucket b at {address} did not answer within 0.2 s; check the store and the network, and try again."
    )


async def test_a_refusal_says_what_to_check_and_nothing_of_the_login(tmp_path: Path) -> None:
    words = b"<Error><Code>InvalidAccessKeyId</Code><AWSAccessKeyId>AKIATESTS</AWSAccessKeyId>open-sesame</Error>"
    head = b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(words)

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head + words)
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        said = await failure(f"s3://b?endpoint={address}", tmp_path)
    assert said == (
        f"The bucket b at {address} refuses this server; check its credentials, and its rights to read, list, write "
        "and remove there."
    )


# --- URLs


@pytest.mark.parametrize(
    ("url", "bucket"),
    [
        ("s3://b", Bucket(name="b")),
        ("s3://b/a/c%20d/", Bucket(name="b", prefix="a/c d")),
        (
            "s3://b?endpoint=https://s3.host&region=eu&public_endpoint=none",
            Bucket(name="b", endpoint="https://s3.host", region="eu", public_endpoint="none"),
        ),
    ],
)
def test_a_url_names_a_bucket(url: str, bucket: Bucket) -> None:
    assert read_bucket(url) == bucket


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("s3:///prefix", "storage.blobs names no bucket; "),
        ("s3://AKIA:hush@b/p", "storage.blobs must not hold a login; set AWS_ACCESS_KEY_ID and "),
        ("s3://b?endpoint=ftp://hush", "The option endpoint of storage.blobs is no address of a store; "),
        ("s3://b?endpoint=https://u:hush@host", "The option endpoint of storage.blobs is no address of a store; "),
        ("s3://b?secret_key=hush", "storage.blobs has the unknown option secret_key; it takes endpoint, region, "),
        ("s3://b?hush", "storage.blobs cannot be read as a URL; "),
        ("s3://[hush", "storage.blobs cannot be read as a URL; "),
        ("file://host/folder", "storage.blobs names no folder of this machine; "),
        ("gs://b", "storage.blobs names no store that is known; "),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_being_repeated(url: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_objects(url, tmp_path)
    assert refused.value.message.startswith(sentence)
    assert "hush" not in refused.value.message


async def test_a_folder_may_be_named_and_is_made_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "shared pictures"
    await open_objects(folder.as_uri(), tmp_path).put("t/ab/abc", PNG, "image/png")
    assert (folder / "t" / "ab" / "abc").read_bytes() == PNG
    assert folder.stat().st_mode & 0o077 == 0
