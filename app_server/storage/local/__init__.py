"""Storage in one folder: a SQLite log with one writer thread, picture files, and leases held by OS locks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app_server.clock import Clock, SystemClock
from app_server.storage.base import LOCAL_TENANT, Notices, Storage
from app_server.storage.local.blobs import FileBlobStore
from app_server.storage.local.database import LocalDatabase
from app_server.storage.local.leases import SqliteLeaseManager
from app_server.storage.local.log import SqliteThreadLog

if TYPE_CHECKING:
    from app_server.storage.places import Places


def open_local_storage(home: Path, *, clock: Clock | None = None) -> Storage:
    """The storage of `home`, wired around one database. Nothing is opened or made before the first use."""
    notices, used_clock = Notices(), clock or SystemClock()
    database = LocalDatabase(home, notices)

    def places() -> Places:
        from app_server.storage.local.places import SqlitePlaces

        return SqlitePlaces(database, LOCAL_TENANT, clock=used_clock)

    return Storage(
        log=SqliteThreadLog(database, clock=used_clock),
        blobs=FileBlobStore(database),
        leases=SqliteLeaseManager(database),
        notices=notices,
        places=places,
    )
