"""Connections to `state.sqlite`, and the numbered migrations that bring its schema up. Called by `database` in threads.

`PRAGMA user_version` is the number of the last migration that ran; all missing ones run in one transaction. A
migration is a file `migrations/NNNN_what.sql`; a file that was released is never changed.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from app_server.storage.base import StorageError
from app_server.storage.local.failures import BUSY_TIMEOUT_S, storage_error
from app_server.storage.rules import search_matches

_MIGRATIONS = Path(__file__).parent / "migrations"
_RETRY_PAUSE_S = 0.02


def connect_writer(path: Path) -> sqlite3.Connection:
    """The connection that may write; makes the folder, the file (for its user only) and the schema where missing."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(path)
    except OSError as error:
        raise storage_error(path.parent if isinstance(error, FileExistsError) else path, error) from error
    try:
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise storage_error(path, error) from error
    try:
        _use_write_ahead_log(connection)
        connection.execute("PRAGMA synchronous=FULL")
        migrate(connection, path)
    except sqlite3.Error as error:
        connection.close()
        raise storage_error(path, error) from error
    except StorageError:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that cannot write. Usable from one thread at a time, whichever it is."""
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.create_function("search_matches", 3, search_matches, deterministic=True)
    return connection


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Run the migrations that the database has not seen, all or none.

    Raises:
        StorageError: the database was made by a newer version of the server.
    """
    migrations = _migrations()
    newest = max(migrations)
    if _version(connection, path, newest) == newest:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, path, newest)  # again: another process may have run them while we waited
        for number in range(done + 1, newest + 1):
            for statement in _statements(migrations[number].read_text(encoding="utf-8")):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={newest:d}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def newest_version() -> int:
    """The schema version that this server writes."""
    return max(_migrations())


def _version(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > newest:
        raise StorageError(
            f"{path} has schema version {version} and this server knows {newest}; "
            "install the newer server that wrote it, or choose another home."
        )
    return version


def _migrations() -> dict[int, Path]:
    return {int(file.name.split("_", 1)[0]): file for file in _MIGRATIONS.glob("[0-9]*.sql")}


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: running a whole script at once would commit the transaction around it."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _make_private(path: Path) -> None:
    """Only its user may read it; the files that SQLite puts beside it get the same mode.

    An existing file is never opened here: closing it would free the locks of other connections of this process.
    """
    if path.is_dir():
        return
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        return
    with suppress(PermissionError):  # a file of another user, or a read-only disk: opening it says more
        path.chmod(0o600)


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """Switch the journal mode; SQLite does not wait by itself when another process is switching it right now."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(_RETRY_PAUSE_S)
