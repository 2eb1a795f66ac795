"""Storage in one folder: a SQLite log with one writer thread, picture files, and leases held by OS locks."""

from __future__ import annotations

from pathlib import Path

from app_server.clock import Clock, SystemClock
from app_server.storage.base import Notices, Storage
from app_server.storage.local.blobs import FileBlobStore
from app_server.storage.local.database import LocalDatabase
from app_server.storage.local.leases import SqliteLeaseManager
from app_server.storage.local.log import SqliteThreadLog


def open_local_storage(home: Path, *, clock: Clock | None = None) -> Storage:
    """The storage of `home`, wired around one database. Nothing is opened or made before the first use."""
    notices = Notices()
    database = LocalDatabase(home, notices)
    return Storage(
        log=SqliteThreadLog(database, clock=clock or SystemClock()),
        blobs=FileBlobStore(database),
        leases=SqliteLeaseManager(database),
        notices=notices,
    )
