"""The log of threads and its two indexes in SQLite. Owns the statements on `threads` and `records`.

Data is encoded before a job is queued, so a record that cannot be stored fails its caller alone and early. Called
through the `ThreadLog` protocol only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app_server.storage.base import (
    LOCAL_TENANT,
    Lease,
    PictureQuery,
    PictureRow,
    Record,
    ThreadPage,
    ThreadQuery,
    ThreadRow,
)
from app_server.storage.local.leases import require_lease, take_lease
from app_server.storage.local.pictures import index_pictures, select_pictures
from app_server.storage.local.queries import INSERT_ROW, SELECT_ROW, UPDATE_ROW, page_statement, read_row, row_values
from app_server.storage.rules import check_row, decode_records, encode_record, thread_exists, thread_unknown

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.storage.local.database import LocalDatabase
    from app_server.storage.local.writer import After

_Encoded = tuple[str, int, bytes]
"""kind, at_ms, data"""

_BY_THREAD = "tenant = ? AND thread_id = ?"
_INSERT, _ROW = "INSERT INTO records (tenant, thread_id, seq, kind, at_ms, data) VALUES", "(?, ?, ?, ?, ?, ?)"
_ROWS_AT_ONCE = 100
"""In one statement: a fork brings thousands, and a statement for each takes longer than its row."""


class SqliteThreadLog:
    """`ThreadLog` over one database file; closing it closes the database, and with it the leases and blobs."""

    def __init__(self, database: LocalDatabase, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def open(self) -> None:
        """Open the database now instead of at the first use. Raises StorageError."""
        await self._database.open()

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        values, encoded = row_values(row), self._encode(row.thread_id, records)
        lock, copies, key = self._database.lock, self._database.copies, (row.tenant, row.thread_id)

        def job(connection: sqlite3.Connection) -> tuple[Lease, int]:
            lease = take_lease(connection, lock, row.tenant, row.thread_id)
            if _exists(connection, lease):
                raise thread_exists(lease.thread_id)
            connection.execute(INSERT_ROW, values)
            index_pictures(connection, lease, 0, records, [at_ms for _, at_ms, _ in encoded])
            return lease, _insert(connection, lease, 0, encoded)

        return await self._database.write(
            job, lambda connection, result: copies.wrote(connection, key, values, 1, encoded)
        )

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        if row is not None:
            check_row(row, lease)
        values = None if row is None else row_values(row)
        encoded = self._encode(lease.thread_id, records)

        def job(connection: sqlite3.Connection) -> int:
            require_lease(connection, lease)
            last_seq = _last_seq(connection, lease)
            if values is not None:
                connection.execute(UPDATE_ROW, (*values[2:], *values[:2]))
            index_pictures(connection, lease, last_seq, records, [at_ms for _, at_ms, _ in encoded])
            return _insert(connection, lease, last_seq, encoded)

        return await self._database.write(job, self._copied(lease, values, encoded))

    async def read(
        self, thread_id: str, *, tenant: str = LOCAL_TENANT, after_seq: int = 0, limit: int | None = None
    ) -> list[Record]:
        def query(connection: sqlite3.Connection) -> list[Record]:
            found = connection.execute(
                f"SELECT seq, kind, at_ms, data FROM records WHERE {_BY_THREAD} AND seq > ? ORDER BY seq LIMIT ?",
                (tenant, thread_id, after_seq, -1 if limit is None else limit),
            ).fetchall()
            decoded = decode_records(thread_id, [(seq, data) for seq, _, _, data in found])
            return [
                Record(kind=kind, data=data, seq=seq, at_ms=at_ms)
                for (seq, kind, at_ms, _), data in zip(found, decoded, strict=True)
            ]

        return await self._database.read(query)

    async def row(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> ThreadRow | None:
        def query(connection: sqlite3.Connection) -> ThreadRow | None:
            found = connection.execute(SELECT_ROW, (tenant, thread_id)).fetchone()
            return None if found is None else read_row(found)

        return await self._database.read(query)

    async def page(self, query: ThreadQuery) -> ThreadPage:
        statement, values = page_statement(query)
        rows = await self._database.read(lambda connection: connection.execute(statement, values).fetchall())
        return ThreadPage(rows=tuple(map(read_row, rows[: query.limit])), has_more=len(rows) > query.limit)

    async def pictures(self, query: PictureQuery) -> list[PictureRow]:
        return await self._database.read(lambda connection: select_pictures(connection, query))

    async def delete(self, lease: Lease) -> None:
        def job(connection: sqlite3.Connection) -> None:
            require_lease(connection, lease)
            for table in ("records", "pictures", "threads", "leases"):
                connection.execute(f"DELETE FROM {table} WHERE {_BY_THREAD}", (lease.tenant, lease.thread_id))

        copies = self._database.copies
        await self._database.write(job, lambda connection, result: copies.removed((lease.tenant, lease.thread_id)))

    async def aclose(self) -> None:
        await self._database.aclose()

    def _copied(self, lease: Lease, values: tuple[Any, ...] | None, records: list[_Encoded]) -> After:
        """What brings the thread's copy to where the commit left it."""
        copies, key = self._database.copies, (lease.tenant, lease.thread_id)
        return lambda connection, last_seq: copies.wrote(connection, key, values, last_seq - len(records) + 1, records)

    def _encode(self, thread_id: str, records: Sequence[Record]) -> list[_Encoded]:
        now_ms = self._clock.now_ms()
        return [(record.kind, record.at_ms or now_ms, encode_record(thread_id, record)) for record in records]


def _exists(connection: sqlite3.Connection, lease: Lease) -> bool:
    statement = f"SELECT 1 FROM threads WHERE {_BY_THREAD}"
    return connection.execute(statement, (lease.tenant, lease.thread_id)).fetchone() is not None


def _last_seq(connection: sqlite3.Connection, lease: Lease) -> int:
    statement = f"SELECT max(seq) FROM records WHERE {_BY_THREAD}"
    last_seq: int | None = connection.execute(statement, (lease.tenant, lease.thread_id)).fetchone()[0]
    if last_seq is None and not _exists(connection, lease):
        raise thread_unknown(lease.thread_id)
    return last_seq or 0


def _insert(connection: sqlite3.Connection, lease: Lease, last_seq: int, records: list[_Encoded]) -> int:
    """Number the records on from `last_seq`: safe, because this transaction alone may write."""
    for first in range(0, len(records), _ROWS_AT_ONCE):
        rows = records[first : first + _ROWS_AT_ONCE]
        values: list[Any] = []
        for seq, (kind, at_ms, data) in enumerate(rows, last_seq + first + 1):
            values += (lease.tenant, lease.thread_id, seq, kind, at_ms, data)
        connection.execute(f"{_INSERT} {', '.join([_ROW] * len(rows))}", values)
    return last_seq + len(records)
