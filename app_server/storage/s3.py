"""Objects of an S3-compatible store, or files of a folder that all replicas see; and which of them a URL means.

| URL | objects |
|---|---|
| `s3://bucket/prefix?endpoint=…&region=…&public_endpoint=…` | of a bucket; without `endpoint` that of AWS |
| `file:///folder` | files below the folder |
| none | files in `<home>/blobs-shared` |

Credentials never stand in the URL: they come from the environment or from the machine's role, as is usual with AWS.
`public_endpoint` is the store as clients reach it, in signed addresses; `none` there: pictures go through this server.
Plain HTTP is spoken where the URL says `http:`, and nowhere else. `storage/postgres/source.py` calls `open_blobs`.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import anyio
import anyio.to_thread

from app_server.errors import ConfigurationError
from app_server.storage.base import BlobStore, StorageError
from app_server.storage.object_blobs import ObjectBlobStore
from app_server.values import frozen

if TYPE_CHECKING:
    from obstore.store import LocalStore, S3Store

    from app_server.storage.postgres.database import PostgresDatabase

    Store = S3Store | LocalStore

FOLDER: Final = "blobs-shared"
BOUND_S: Final = 25.0
"""Of one operation with all its retries; who saves a picture waits a little longer than this."""
CONNECT_TIMEOUT_S: Final = 5.0
MAX_RETRIES: Final = 3
LONGEST_ADDRESS_S: Final = 7 * 24 * 60 * 60
"""No store signs for longer (AWS Signature Version 4)."""
OPTIONS: Final = ("endpoint", "region", "public_endpoint")
NO_ADDRESSES: Final = "none"

T = TypeVar("T")


@frozen
class Bucket:
    """Where the objects of an `s3:` URL are."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    public_endpoint: str | None = None


def open_blobs(database: PostgresDatabase, blobs_url: str | None, home: Path) -> Callable[[str], BlobStore]:
    """The blob store of each tenant, with its rows in `database`. Nothing is connected or made here.

    Raises:
        ConfigurationError: the URL makes no sense, or the library of object stores is not installed.
    """
    from app_server.storage.postgres.blobs import BlobLocks, PostgresBlobRows

    objects, locks = open_objects(blobs_url, home), BlobLocks(database)
    return lambda tenant: ObjectBlobStore(objects, PostgresBlobRows(database, locks, tenant), tenant)


def open_objects(blobs_url: str | None, home: Path, *, bound_s: float = BOUND_S) -> ObstoreObjects:
    """The objects that the URL names; `bound_s` is for one operation. Raises as `open_blobs`."""
    try:
        import obstore  # slow to load, and an extra
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "The pictures of a shared storage need the library obstore, which is not installed; install the server "
            "with its extra s3."
        ) from error
    del obstore
    if blobs_url is None:
        return _folder_objects(home / FOLDER, bound_s)
    scheme = blobs_url.partition(":")[0].lower()
    if scheme == "file":
        return _folder_objects(_folder(blobs_url), bound_s)
    if scheme == "s3":
        return _bucket_objects(read_bucket(blobs_url), bound_s)
    raise ConfigurationError("storage.blobs names no store that is known; write s3://bucket/prefix or file:///folder.")


def read_bucket(url: str) -> Bucket:
    """The parts of an `s3:` URL. Raises ConfigurationError, which never repeats the URL: it may hold a secret."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(
            "storage.blobs cannot be read as a URL; write it as s3://bucket/prefix?endpoint=https://host."
        ) from None
    if "@" in parts.netloc:
        raise ConfigurationError(
            "storage.blobs must not hold a login; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment."
        )
    if not parts.netloc:
        raise ConfigurationError("storage.blobs names no bucket; write it as s3://bucket/prefix.")
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise ConfigurationError(
            f"storage.blobs has the unknown option {unknown[0][:40]}; it takes {', '.join(OPTIONS)}."
        )
    for name in ("endpoint", "public_endpoint"):
        if name in options and not (name == "public_endpoint" and options[name] == NO_ADDRESSES):
            _check_endpoint(name, options[name])
    return Bucket(name=parts.netloc, prefix=unquote(parts.path).strip("/"), **options)


def _check_endpoint(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(
            f"The option {name} of storage.blobs is no address of a store; write https://host:port, without a login."
        )


def _folder(url: str) -> Path:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ConfigurationError("storage.blobs names no folder of this machine; write it as file:///folder.")
    from urllib.request import url2pathname  # brings an HTTP client along

    return Path(url2pathname(parts.path))


def _folder_objects(folder: Path, bound_s: float) -> ObstoreObjects:
    def open_store() -> LocalStore:
        from obstore.store import LocalStore

        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return LocalStore(folder)

    return ObstoreObjects(f"The folder {folder}", open_store, bound_s, folder=folder)


def _bucket_objects(bucket: Bucket, bound_s: float) -> ObstoreObjects:
    def open_at(endpoint: str | None) -> S3Store:
        from obstore.store import S3Store

        config: dict[str, Any] = {"disable_bulk_delete": "true"}  # one object at a time: every store knows that
        config |= {"endpoint": endpoint} if endpoint else {}
        config |= {"region": bucket.region} if bucket.region else {}
        plain = endpoint is not None and endpoint.startswith("http:")
        return S3Store(
            bucket.name,
            prefix=bucket.prefix or None,
            config=cast("Any", config),  # obstore's table of names lacks one of them
            client_options={
                "allow_http": plain,
                "timeout": timedelta(seconds=bound_s),
                "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
            },
            retry_config={"max_retries": MAX_RETRIES, "retry_timeout": timedelta(seconds=bound_s)},
        )

    title = f"The bucket {bucket.name}" + (f" at {bucket.endpoint}" if bucket.endpoint else "")
    signs = bucket.public_endpoint != NO_ADDRESSES
    return ObstoreObjects(
        title,
        lambda: open_at(bucket.endpoint),
        bound_s,
        open_signer=(lambda: open_at(bucket.public_endpoint or bucket.endpoint)) if signs else None,
        prefix=bucket.prefix,
    )


class ObstoreObjects:
    """The `Objects` of `storage/object_blobs.py`, over a store that obstore knows; opened at the first use."""

    def __init__(
        self,
        title: str,
        open_store: Callable[[], Store],
        bound_s: float,
        *,
        open_signer: Callable[[], S3Store] | None = None,
        folder: Path | None = None,
        prefix: str = "",
    ) -> None:
        self.title, self._bound_s = title, bound_s
        self._open_store, self._open_signer, self._folder = open_store, open_signer, folder
        self._prefix = f"{prefix}/" if prefix else ""
        self._store: Store | None = None
        self._signer: S3Store | None = None

    def place(self, key: str) -> str:
        return str(self._folder / key) if self._folder else self._prefix + key

    async def put(self, key: str, data: bytes, mime: str) -> None:
        import obstore

        async def write(store: Store) -> None:
            if self._folder is None:
                await obstore.put_async(store, key, data, attributes={"Content-Type": mime}, use_multipart=False)
            else:  # renamed into place, but not synced; and a file has no type
                await obstore.put_async(store, key, data, use_multipart=False)
                await anyio.to_thread.run_sync(_sync, self._folder / key)

        await self._do(write)

    async def get(self, key: str) -> bytes | None:
        import obstore

        async def read(store: Store) -> bytes:
            return bytes(await (await obstore.get_async(store, key)).bytes_async())

        with suppress(_Absent):
            return await self._do(read, may_be_absent=True)
        return None

    async def exists(self, key: str) -> bool:
        import obstore

        with suppress(_Absent):
            await self._do(lambda store: obstore.head_async(store, key), may_be_absent=True)
            return True
        return False

    async def remove(self, key: str) -> None:
        import obstore

        with suppress(_Absent):
            await self._do(lambda store: obstore.delete_async(store, key), may_be_absent=True)

    async def url(self, key: str, life_s: int) -> str | None:
        if (open_signer := self._open_signer) is None:
            return None
        import obstore

        life = timedelta(seconds=min(max(life_s, 1), LONGEST_ADDRESS_S))

        async def sign(_: Store) -> str:
            if self._signer is None:
                self._signer = await anyio.to_thread.run_sync(open_signer)
            return await obstore.sign_async(self._signer, "GET", key, life)

        return await self._do(sign)

    async def probe(self) -> None:
        """Write, look for, read and remove a small object: whether all rights are there. Raises StorageError."""
        key, data = f"probe/{secrets.token_hex(8)}", secrets.token_bytes(16)
        await self.put(key, data, "application/octet-stream")
        same = await self.exists(key) and await self.get(key) == data
        await self.remove(key)
        if not same or await self.exists(key):
            raise StorageError(f"{self.title} does not give back what was put there, or keeps what was removed.")

    async def _do(self, work: Callable[[Store], Awaitable[T]], *, may_be_absent: bool = False) -> T:
        """One operation, bounded. No words of the store are repeated: they may name keys and accounts."""
        from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

        try:
            with anyio.fail_after(self._bound_s):
                if self._store is None:
                    self._store = await anyio.to_thread.run_sync(self._open_store)
                return await work(self._store)
        except FileNotFoundError:
            if may_be_absent:
                raise _Absent from None
            cause = "is not there; make it, or name another one in storage.blobs"
        except (PermissionDeniedError, UnauthenticatedError, PermissionError):
            cause = "refuses this server; check its credentials, and its rights to read, list, write and remove there"
        except TimeoutError:
            cause = f"did not answer within {self._bound_s:g} s; check the store and the network, and try again"
        except (BaseError, OSError, ValueError, NotImplementedError):
            cause = "cannot be reached, or refused the operation; check that it works, and storage.blobs"
        raise StorageError(f"{self.title} {cause}.")


def _sync(file: Path) -> None:
    """Let the file outlive a loss of power, its name too where a folder can be synced."""
    for path in (file, file.parent) if os.name == "posix" else ():  # elsewhere a reader cannot sync
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Absent(Exception):
    """There is no such object."""
