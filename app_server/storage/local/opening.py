"""Opens the database of a home for writing; makes it anew first when it cannot be opened at all and there are copies.

| the file | copies of threads | another process has the home open | then |
|---|---|---|---|
| opens | – | – | it is used |
| is missing | none | – | a new one is made |
| is broken | none | – | StorageDamaged: `doctor --repair` decides, with its user |
| is missing or broken | some | yes | StorageDamaged |
| is missing or broken | some | no | salvaged: the old file is kept, the log says what was saved and lost |

A database that opens and has damaged pages is used: the threads on other pages are as they were.
Called in the writer's thread.
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from app_server.observability.logging import get_logger
from app_server.storage.base import StorageDamaged
from app_server.storage.local.copies import has_copies
from app_server.storage.local.process_lock import ProcessLock, others_live
from app_server.storage.local.schema import connect_writer

if TYPE_CHECKING:
    from app_server.storage.local.salvage import SalvageReport

log = get_logger("storage")


def connect_or_salvage(path: Path, lock: ProcessLock) -> tuple[sqlite3.Connection, SalvageReport | None]:
    """The writer's connection, and what was saved if the database was made anew. Raises StorageError.

    This process shows from then on that it has the home open."""
    report = None
    try:
        if not path.exists() and has_copies(path.parent):
            raise StorageDamaged(
                f"{path} is gone, but copies of its threads are there; `app-server doctor --repair` makes it anew."
            )
        connection = connect_writer(path)
    except StorageDamaged:
        if not has_copies(path.parent) or others_live(lock.folder, lock.owner):
            raise
        from app_server.storage.local.salvage import salvage  # of use to a damaged database alone

        report = salvage(path.parent)
        log.warning("database_salvaged", message=report.sentence(), **asdict(report))
        connection = connect_writer(path)
    try:
        lock.hold()
    except BaseException:
        connection.close()
        raise
    return connection, report
