"""Reads a database that is damaged: row by row, from both ends of a table, around pages that cannot be read.

It never writes to the file. `salvage` asks it thread by thread; `checks` asks for SQLite's own verdict.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from app_server.storage.local.queries import SELECT_ROW

Row = tuple[Any, ...]

_MAX_SINGLE = 10_000
"""Records between two readable ends of a thread that are tried one by one."""
_RECORD: Final = "SELECT seq, kind, at_ms, data FROM records WHERE tenant = ? AND thread_id = ?"
_IDS: Final = (
    ("threads", "INDEXED BY threads_by_created WHERE listed = 1"),
    ("threads", "INDEXED BY threads_by_recency WHERE listed = 1"),
    ("threads", ""),
    ("pictures", "INDEXED BY pictures_by_time"),
    ("leases", ""),
)
"""Everywhere a thread's id stands beside its records: indexes are pages of their own."""


@contextmanager
def open_tolerant(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A reader that overlooks a file shorter than its header says; None where there is no readable schema."""
    connection = None
    try:
        connection = sqlite3.connect(read_only_uri(path), uri=True, isolation_level=None)
        connection.execute("PRAGMA writable_schema=ON")  # read-only all the same: it relaxes the check of the size
        connection.execute("SELECT count(*) FROM records LIMIT 0").fetchall()
        usable: sqlite3.Connection | None = connection
    except sqlite3.Error:
        usable = None
    try:
        yield usable
    finally:
        if connection is not None:
            connection.close()


def integrity(path: Path, limit: int = 20) -> list[str]:
    """What SQLite finds wrong with the file; empty when nothing."""
    try:
        connection = sqlite3.connect(read_only_uri(path), uri=True, isolation_level=None)
    except sqlite3.Error as error:
        return [str(error)]
    try:
        found = [str(text) for (text,) in connection.execute(f"PRAGMA integrity_check({limit:d})")]
        return [] if found == ["ok"] else found
    except sqlite3.Error as error:
        return [str(error)]
    finally:
        connection.close()


def schema_version(connection: sqlite3.Connection) -> int | None:
    """The number of the last migration, or None."""
    try:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    except (sqlite3.Error, TypeError):
        return None
    return version


def table(connection: sqlite3.Connection, columns: str, name: str, rest: str = "") -> tuple[set[Row], bool]:
    """The rows that can be read from either end, and whether any could not."""
    rows: set[Row] = set()
    whole = _into(rows, connection, f"SELECT {columns} FROM {name} {rest}")
    if not whole:
        order = ", ".join(f"{column.strip()} DESC" for column in columns.split(","))
        _into(rows, connection, f"SELECT {columns} FROM {name} {rest} ORDER BY {order}")
    return rows, not whole


def thread_keys(connection: sqlite3.Connection) -> tuple[set[tuple[str, str]], bool]:
    """(tenant, id) of every thread that any table still names, and whether a table could not be read to its end."""
    keys: set[Row] = set()
    damaged = False
    for name, rest in _IDS:
        found, broken = table(connection, "tenant, thread_id", name, rest)
        keys |= found
        damaged |= broken
    for direction in (">", "<"):
        damaged |= not _walk(keys, connection, direction)
    return {key for key in keys if len(key) == 2 and all(isinstance(part, str) for part in key)}, damaged


def index_row(connection: sqlite3.Connection, key: tuple[str, str]) -> Row | None:
    """The thread's row of the index, if it can be read."""
    try:
        found: Row | None = connection.execute(SELECT_ROW, key).fetchone()
    except sqlite3.Error:
        return None
    return found


def thread_records(connection: sqlite3.Connection, key: tuple[str, str]) -> tuple[dict[int, Row], bool]:
    """seq → (kind, at_ms, data) of what can be read, and whether a page could not."""
    found: dict[int, Row] = {}
    if _collect(found, connection, f"{_RECORD} ORDER BY seq", key):
        return found, False
    first_end = max(found, default=0)
    _collect(found, connection, f"{_RECORD} ORDER BY seq DESC", key)
    second_end = min((seq for seq in found if seq > first_end), default=first_end)
    for seq in range(first_end + 1, min(second_end, first_end + _MAX_SINGLE)):
        _collect(found, connection, f"{_RECORD} AND seq = ?", (*key, seq))
    return found, True


def read_only_uri(path: Path) -> str:
    """Without a write-ahead log nobody writes, and the file is read without making one; so a read-only disk will do."""
    immutable = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    return f"{path.absolute().as_uri()}?mode=ro{immutable}"


def _into(rows: set[Row], connection: sqlite3.Connection, statement: str) -> bool:
    """Take rows until the end, or until a page cannot be read (False)."""
    try:
        for row in connection.execute(statement):
            rows.add(row)
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


def _collect(found: dict[int, Row], connection: sqlite3.Connection, statement: str, values: Sequence[Any]) -> bool:
    try:
        for seq, *record in connection.execute(statement, values):
            if isinstance(seq, int):
                found.setdefault(seq, tuple(record))
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True


def _walk(keys: set[Row], connection: sqlite3.Connection, direction: str) -> bool:
    """From one thread's records to the next one's, by key; False when a page cannot be read."""
    order = "ASC" if direction == ">" else "DESC"
    statement = (
        f"SELECT tenant, thread_id FROM records WHERE (tenant, thread_id) {direction} (?, ?) "
        f"ORDER BY tenant {order}, thread_id {order} LIMIT 1"
    )
    last: Row = ("", "") if direction == ">" else ("\U0010ffff", "")
    try:
        while (found := connection.execute(statement, last).fetchone()) is not None and found != last:
            keys.add(found)
            last = found
    except (sqlite3.Error, UnicodeDecodeError):
        return False
    return True
