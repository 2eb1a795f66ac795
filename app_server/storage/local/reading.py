"""A home's threads and pictures, read whole and left as they are: what `app-server import` takes along. Blocking.

The database is opened read-only and by nobody else: a server that has the home open would write meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app_server.extension_api.tools import PictureRef
from app_server.storage.base import LOCAL_TENANT, Record, StorageError, ThreadRow
from app_server.storage.local.failures import storage_error
from app_server.storage.local.inspection import home_is_open
from app_server.storage.local.queries import SELECT_ROW, read_row
from app_server.storage.local.salvage import DATABASE
from app_server.storage.local.schema import newest_version
from app_server.storage.local.tolerant import read_only_uri
from app_server.storage.rules import decode_record
from app_server.values import frozen

_BY_THREAD = "tenant = ? AND thread_id = ?"


@frozen
class StoredPicture:
    """Bytes that a thread owns, and every file that should hold them."""

    ref: PictureRef
    paths: tuple[Path, ...]


@contextmanager
def open_home(home: Path) -> Iterator[StoredHome]:
    """The stored home. Raises StorageError: a server has it open, or there is nothing that can be read."""
    if home_is_open(home):
        raise StorageError(f"A server has {home} open; stop it, then import from it.")
    path = home / DATABASE
    if not path.exists():
        raise StorageError(f"{home} has no {DATABASE}; name the home of a server that kept threads there.")
    try:
        connection = sqlite3.connect(read_only_uri(path), uri=True, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise storage_error(path, error) from error
    try:
        stored = StoredHome(connection, home, path)
        stored.check_version()
        yield stored
    finally:
        connection.close()


class StoredHome:
    """What a home keeps. Usable from one thread at a time, whichever it is. Everything raises StorageError."""

    def __init__(self, connection: sqlite3.Connection, home: Path, path: Path) -> None:
        self._connection, self._home, self._path = connection, home, path

    def check_version(self) -> None:
        """Refuse a schema that this server does not know."""
        version = int(self._ask("PRAGMA user_version")[0][0])
        if version > newest_version():
            raise StorageError(
                f"{self._path} has schema version {version} and this server knows {newest_version()}; "
                "import with the newer server that wrote it."
            )

    def thread_ids(self) -> list[str]:
        """All threads, listed or not, the oldest first."""
        found = self._ask(
            "SELECT thread_id FROM threads WHERE tenant = ? ORDER BY created_at_ms, thread_id", LOCAL_TENANT
        )
        return [thread_id for (thread_id,) in found]

    def row(self, thread_id: str) -> ThreadRow:
        return read_row(self._ask(SELECT_ROW, LOCAL_TENANT, thread_id)[0])

    def records(self, thread_id: str, after_seq: int, limit: int) -> list[Record]:
        """Records with `seq > after_seq`, in order."""
        found = self._ask(
            f"SELECT seq, kind, at_ms, data FROM records WHERE {_BY_THREAD} AND seq > ? ORDER BY seq LIMIT ?",
            LOCAL_TENANT,
            thread_id,
            after_seq,
            limit,
        )
        return [
            Record(kind=kind, data=decode_record(thread_id, seq, data), seq=seq, at_ms=at_ms)
            for seq, kind, at_ms, data in found
        ]

    def pictures(self, thread_id: str) -> list[StoredPicture]:
        """What the thread owns, attached and generated, by sha256."""
        found = self._ask(
            "SELECT sha256, mime, size_bytes, width, height, path FROM blobs "
            "WHERE sha256 IN (SELECT sha256 FROM blob_owners WHERE owner = ?) ORDER BY sha256, path",
            thread_id,
        )
        refs: dict[str, PictureRef] = {}
        paths: dict[str, list[Path]] = {}
        for sha256, mime, size_bytes, width, height, path in found:
            refs[sha256] = PictureRef(sha256=sha256, mime=mime, size_bytes=size_bytes, width=width, height=height)
            paths.setdefault(sha256, []).append(self._home / path)
        return [StoredPicture(ref=refs[sha256], paths=tuple(found)) for sha256, found in paths.items()]

    def left_over(self) -> int:
        """Pictures whose owner is no thread that was stored: those of ephemeral threads."""
        statement = (
            "SELECT count(DISTINCT sha256) FROM blobs WHERE sha256 NOT IN (SELECT sha256 FROM blob_owners "
            "WHERE owner IN (SELECT thread_id FROM threads WHERE tenant = ?))"
        )
        return int(self._ask(statement, LOCAL_TENANT)[0][0])

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise storage_error(self._path, error) from error
