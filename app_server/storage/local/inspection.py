"""Looks at the storage of a home without changing it: what `app-server doctor` is told. Blocking."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app_server.ids import parse_uuid
from app_server.storage.base import StorageError
from app_server.storage.local.copies import copy_files, has_copies
from app_server.storage.local.process_lock import is_locked, others_live
from app_server.storage.local.salvage import BROKEN, DATABASE, SalvageReport, salvage
from app_server.storage.local.schema import newest_version
from app_server.storage.local.tolerant import integrity, open_tolerant, schema_version, table
from app_server.values import frozen

_CHUNK_BYTES: Final = 1024 * 1024


@frozen
class DatabaseFacts:
    """The database file. `version` None: it cannot be read."""

    path: Path
    exists: bool
    copies: int
    version: int | None = None
    newest: int = 0
    threads: int = 0
    faults: tuple[str, ...] = ()


@frozen
class BlobFacts:
    """The pictures that the database knows; only `hashed` of them were read whole."""

    known: int
    hashed: int
    missing: tuple[str, ...]
    altered: tuple[str, ...]


@frozen
class LeaseFacts:
    """Threads that somebody writes, and whether that somebody lives."""

    live: int
    dead: int
    home_open: bool


def inspect_database(home: Path) -> DatabaseFacts:
    """Its integrity, as SQLite itself sees it, and its schema's version."""
    path = home / DATABASE
    copies = len(copy_files(home))
    if not path.exists():
        return DatabaseFacts(path=path, exists=False, copies=copies)
    version, threads = None, 0
    with open_tolerant(path) as connection:
        if connection is not None:
            version = schema_version(connection)
            threads = len(table(connection, "thread_id", "threads")[0])
    return DatabaseFacts(
        path=path,
        exists=True,
        copies=copies,
        version=version,
        newest=newest_version(),
        threads=threads,
        faults=tuple(integrity(path)),
    )


def inspect_blobs(home: Path, *, hash_bytes: int | None) -> BlobFacts:
    """Every known picture's file is there with its size; of `hash_bytes` of them (None: all) the sha256 is checked."""
    with open_tolerant(home / DATABASE) as connection:
        blobs = table(connection, "sha256, path, size_bytes", "blobs")[0] if connection is not None else set()
    missing, altered, hashed = [], [], 0
    left_bytes = hash_bytes
    for sha256, stored, size_bytes in sorted(blobs, key=str):
        path = home / str(stored)
        try:
            if path.stat().st_size != size_bytes:
                altered.append(str(path))
            elif left_bytes is None or left_bytes >= size_bytes:
                hashed += 1
                left_bytes = None if left_bytes is None else left_bytes - size_bytes
                if _sha256(path) != sha256:
                    altered.append(str(path))
        except OSError:
            missing.append(str(path))
    return BlobFacts(known=len(blobs), hashed=hashed, missing=tuple(missing), altered=tuple(altered))


def inspect_leases(home: Path) -> LeaseFacts:
    """Who writes here now. No lock file is touched."""
    with open_tolerant(home / DATABASE) as connection:
        rows = set() if connection is None else table(connection, "thread_id, owner", "leases")[0]
    owners = [str(owner) for _, owner in rows if owner is not None]
    alive = {owner for owner in set(owners) if is_locked(home / "locks", owner)}
    live = sum(owner in alive for owner in owners)
    return LeaseFacts(live=live, dead=len(owners) - live, home_open=home_is_open(home))


def home_is_open(home: Path) -> bool:
    """Whether a server has this home open now."""
    folder = home / "locks"
    return any(is_locked(folder, path.stem) for path in folder.glob("*.lock") if parse_uuid(path.stem))


def temporary_files(home: Path, pictures: Path) -> list[Path]:
    """Files that a process was writing when it died; nothing reads them."""
    places: tuple[tuple[Path, str], ...] = (
        (home / "blobs", ".*.tmp"),
        (home / "copies", ".*.tmp"),
        (pictures, ".new-*"),
        (home, f"{DATABASE}.repair*"),
        (home, ".config.toml.*"),
        (home, ".auth.json.*"),
    )
    return sorted({path for folder, pattern in places for path in _below(folder, pattern, deep=folder != home)})


def broken_databases(home: Path) -> list[Path]:
    """Databases that a salvage put aside."""
    suffixes = ("-wal", "-shm", ".json")
    return sorted(path for path in home.glob(f"{DATABASE}{BROKEN}*") if not path.name.endswith(suffixes))


def repair(home: Path) -> SalvageReport:
    """Salvage, unless a server has the home open. Raises StorageError."""
    if others_live(home / "locks"):
        raise StorageError(f"A server has {home} open; stop it, then repair.")
    path = home / DATABASE
    if not path.exists() and not has_copies(home):
        raise StorageError(f"{home} has neither a database nor copies of threads; there is nothing to repair.")
    return salvage(home)


def _below(folder: Path, pattern: str, *, deep: bool) -> Iterator[Path]:
    found = folder.rglob(pattern) if deep else folder.glob(pattern)
    return (path for path in found if path.is_file())


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
