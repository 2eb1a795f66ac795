"""Pictures as files: adopted ones where they are, others under `<home>/blobs/`; rows say which thread owns which.

    blobs/ab/abcd….png              put as it is: an attachment
    blobs/named/<name>/abcd….png    put for an item of this name

Two rules keep a file from going while somebody gets it: files are renamed into place and removed inside write
transactions, which exclude each other across processes; and a release first lets go of the rows, then removes the
files that still have no owner. A file outside the home is removed only when it was adopted as ours and still has its
size: whoever edited it there keeps it. Called through the `BlobStore` protocol only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio

from app_server.extension_api.tools import PictureRef
from app_server.ids import uuid7
from app_server.storage.base import BlobAltered, BlobMissing
from app_server.storage.local.failures import storage_error
from app_server.storage.rules import blob_altered, blob_missing, check_bytes, has_sha256, is_sha256

if TYPE_CHECKING:
    from app_server.storage.local.database import LocalDatabase

_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}
_MAX_FILE_THREADS = 4
_INSERT_BLOB = (
    "INSERT OR REPLACE INTO blobs (sha256, path, mime, size_bytes, width, height, ours) VALUES (?, ?, ?, ?, ?, ?, ?)",
    "INSERT OR IGNORE INTO blob_owners (owner, sha256, path) VALUES (?, ?, ?)",
)

T = TypeVar("T")


class FileBlobStore:
    """`BlobStore` over files, with its rows in the database of the home."""

    keeps_files = True

    def __init__(self, database: LocalDatabase) -> None:
        self._database = database
        self._home = database.home
        self._limiter = anyio.CapacityLimiter(_MAX_FILE_THREADS)

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        folder = f"blobs/{ref.sha256[:2]}" if name is None else _folder_named(name)
        path = self._home / folder / f"{ref.sha256}{_SUFFIXES.get(ref.mime, '')}"
        temporary = path.with_name(f".{uuid7()}.tmp")

        def job(connection: sqlite3.Connection) -> None:
            try:
                temporary.replace(path)
            except OSError as error:
                raise storage_error(path, error) from error
            self._own(connection, path, ref, owner)

        with anyio.CancelScope(shield=True):
            await self._in_thread(_write_file, temporary, data, ref)
            try:
                await self._database.write(job)
            finally:
                await self._in_thread(_finish_file, temporary)
        return ref

    async def named(self, owner: str, name: str) -> PictureRef | None:
        folder = f"{_folder_named(name)}/"
        statement = "SELECT path FROM blob_owners WHERE owner = ? AND substr(path, 1, ?) = ?"
        found = await self._database.read(
            lambda connection: connection.execute(statement, (owner, len(folder), folder)).fetchall()
        )
        paths = [self._home / path for (path,) in found]
        return await self.ref((await self._in_thread(_newest, paths)).stem) if paths else None

    async def url(self, sha256: str, life_s: int) -> str | None:
        return None

    async def adopt(self, path: str, ref: PictureRef, *, owner: str, ours: bool = False) -> PictureRef:
        file = _absolute(path)

        def job(connection: sqlite3.Connection) -> None:
            if not file.is_file():  # released by its last owner since it was checked
                raise blob_missing(ref.sha256)
            self._own(connection, file, ref, owner, ours)

        await self._in_thread(_read_file, file, ref.sha256)
        await self._database.write(job)
        return ref

    async def read(self, sha256: str) -> bytes:
        failure: BlobMissing | BlobAltered = blob_missing(sha256)
        for path in await self._paths(sha256):
            try:
                return await self._in_thread(_read_file, path, sha256)
            except BlobMissing:
                continue
            except BlobAltered as error:
                failure = error
        raise failure

    async def path(self, sha256: str) -> str | None:
        for path in await self._paths(sha256):
            if await self._in_thread(path.is_file):
                return str(path)
        return None

    async def share(self, owner: str, new_owner: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR IGNORE INTO blob_owners (owner, sha256, path) "
                "SELECT ?, sha256, path FROM blob_owners WHERE owner = ?",
                (new_owner, owner),
            )

        await self._database.write(job)

    async def release(self, owner: str) -> tuple[str, ...]:
        def let_go(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            owned = connection.execute("SELECT sha256, path FROM blob_owners WHERE owner = ?", (owner,)).fetchall()
            connection.execute("DELETE FROM blob_owners WHERE owner = ?", (owner,))
            return owned

        with anyio.CancelScope(shield=True):
            owned = await self._database.write(let_go)
            removed: tuple[str, ...] = await self._database.write(
                lambda connection: self._remove_unowned(connection, owned)
            )
        return removed

    async def release_picture(self, owner: str, sha256: str, path: str | None = None) -> tuple[str, ...]:
        def let_go(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            owned = connection.execute(
                "SELECT sha256, path FROM blob_owners WHERE owner = ? AND sha256 = ?", (owner, sha256)
            ).fetchall()
            named = [blob for blob in owned if path is not None and blob[1] == self._stored(_absolute(path))]
            chosen = named or owned
            connection.executemany(
                "DELETE FROM blob_owners WHERE owner = ? AND sha256 = ? AND path = ?",
                [(owner, *blob) for blob in chosen],
            )
            return chosen

        with anyio.CancelScope(shield=True):
            owned = await self._database.write(let_go)
            removed: tuple[str, ...] = await self._database.write(
                lambda connection: self._remove_unowned(connection, owned)
            )
        return removed

    async def ref(self, sha256: str) -> PictureRef | None:
        if not is_sha256(sha256):
            return None
        statement = "SELECT mime, size_bytes, width, height FROM blobs WHERE sha256 = ? LIMIT 1"
        found = await self._database.read(lambda connection: connection.execute(statement, (sha256,)).fetchone())
        if found is None:
            return None
        mime, size_bytes, width, height = found
        return PictureRef(sha256=sha256, mime=mime, size_bytes=size_bytes, width=width, height=height)

    async def adopted_bytes(self) -> int:
        return await self._bytes("WHERE path NOT LIKE 'blobs/%' OR path LIKE 'blobs/named/%'")

    async def kept_bytes(self) -> int:
        return await self._bytes("")

    async def _bytes(self, which: str) -> int:
        statement = f"SELECT coalesce(sum(size_bytes), 0) FROM blobs {which}"
        total: int = await self._database.read(lambda connection: connection.execute(statement).fetchone()[0])
        return total

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._limiter)

    async def _paths(self, sha256: str) -> list[Path]:
        if not is_sha256(sha256):
            return []
        statement = "SELECT path FROM blobs WHERE sha256 = ? ORDER BY path"
        found = await self._database.read(lambda connection: connection.execute(statement, (sha256,)).fetchall())
        return [self._home / path for (path,) in found]

    def _own(self, connection: sqlite3.Connection, path: Path, ref: PictureRef, owner: str, ours: bool = False) -> None:
        stored = self._stored(path)
        insert_blob, insert_owner = _INSERT_BLOB
        connection.execute(insert_blob, (ref.sha256, stored, ref.mime, ref.size_bytes, ref.width, ref.height, ours))
        connection.execute(insert_owner, (owner, ref.sha256, stored))

    def _stored(self, path: Path) -> str:
        return path.relative_to(self._home).as_posix() if path.is_relative_to(self._home) else str(path)

    def _remove_unowned(self, connection: sqlite3.Connection, blobs: list[tuple[str, str]]) -> tuple[str, ...]:
        removed: list[str] = []
        for sha256, stored in blobs:
            by_blob = (sha256, stored)
            if connection.execute("SELECT 1 FROM blob_owners WHERE sha256 = ? AND path = ?", by_blob).fetchone():
                continue
            facts = connection.execute("SELECT size_bytes, ours FROM blobs WHERE sha256 = ? AND path = ?", by_blob)
            size_bytes, ours = facts.fetchone() or (0, 0)
            connection.execute("DELETE FROM blobs WHERE sha256 = ? AND path = ?", by_blob)
            path = self._home / stored
            used = connection.execute("SELECT 1 FROM blobs WHERE path = ?", (stored,)).fetchone()
            with suppress(OSError):  # gone already, or not ours to remove: nobody asks for it any more
                if used is None and (path.is_relative_to(self._home) or (ours and path.stat().st_size == size_bytes)):
                    path.unlink()
                    removed.append(str(path))
        return tuple(removed)


def _folder_named(name: str) -> str:
    from app_server.storage.blob_names import name_part  # where files are blobs, hardly anything is put by name

    return f"blobs/named/{name_part(name)}"


def _newest(paths: list[Path]) -> Path:
    return max(paths, key=lambda path: path.stat().st_mtime_ns if path.is_file() else 0)


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(path))


def _write_file(path: Path, data: bytes, ref: PictureRef) -> None:
    """The bytes in a new file that only its user may read, on the disk before it gets its name."""
    check_bytes(data, ref)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise storage_error(path, error) from error


def _finish_file(temporary: Path) -> None:
    """Drop the temporary file if it was not renamed, else make the renaming durable."""
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and renaming is durable by itself
        try:
            folder = os.open(temporary.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise storage_error(temporary.parent, error) from error


def _read_file(path: Path, sha256: str) -> bytes:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise blob_missing(sha256) from None
    except OSError as error:
        raise storage_error(path, error) from error
    if not has_sha256(data, sha256):
        raise blob_altered(sha256, str(path))
    return data
