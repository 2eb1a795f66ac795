"""The log of threads in PostgreSQL. Owns the statements that make, read and remove a thread; appends are in `appends`.

Data is encoded before a job is queued, so a record that cannot be stored fails its caller alone and early. Called
through the `ThreadLog` protocol only.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio
import asyncpg
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.storage.base import (
    LOCAL_TENANT,
    Lease,
    LeaseLost,
    PictureQuery,
    PictureRow,
    Record,
    StorageError,
    ThreadPage,
    ThreadQuery,
    ThreadRow,
)
from app_server.storage.postgres.appends import Append, Encoded
from app_server.storage.postgres.leases import FREE, TAKE
from app_server.storage.postgres.pictures import (
    PICTURE_COLUMNS,
    Change,
    picture_changes,
    pictures_statement,
    read_picture,
)
from app_server.storage.postgres.rounds import AppendJob
from app_server.storage.postgres.rows import ROW_COLUMNS, SELECT_ROW, page_statement, read_row, row_values
from app_server.storage.rules import check_row, decode_record, encode_record, lease_held, lease_lost, thread_exists

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.storage.postgres.database import PostgresDatabase
    from app_server.storage.postgres.leases import PostgresLeaseManager
    from app_server.storage.postgres.writer import PostgresWriter

_DECODED_HERE_BYTES: Final = 512 * 1024
"""More than that is decoded in a thread, so that nobody else waits for it."""
_READ: Final = (
    "SELECT seq, kind, at_ms, data FROM records WHERE tenant = $1 AND thread_id = $2 AND seq > $3 ORDER BY seq LIMIT $4"
)
_LEASE: Final = f"""
WITH lease AS (
    INSERT INTO leases (tenant, thread_id, owner, epoch, expires, last_seq)
    VALUES ($1, $2, $3, 1, clock_timestamp() + make_interval(secs => $4::float8), $5)
    ON CONFLICT (tenant, thread_id) DO UPDATE SET {TAKE}, last_seq = excluded.last_seq
    WHERE leases.last_seq IS NULL AND {FREE}
    RETURNING epoch
)
SELECT (SELECT epoch FROM lease) AS epoch,
    EXISTS (SELECT FROM leases WHERE tenant = $1 AND thread_id = $2 AND last_seq IS NOT NULL) AS is_there
"""
"""A lease whose row has a last seq is that of a thread that is there: so a thread is made once."""
_INSERT_ROW: Final = (
    f"INSERT INTO threads (tenant, thread_id, {', '.join(name for name, _ in ROW_COLUMNS)}) "
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(ROW_COLUMNS) + 3))})"
)
_INSERT_RECORDS: Final = (
    "INSERT INTO records (tenant, thread_id, seq, kind, at_ms, data) "
    "SELECT $1, $2, r.seq, r.kind, r.at_ms, r.data FROM unnest($3::text[], $4::bigint[], $5::bytea[]) "
    "WITH ORDINALITY AS r (kind, at_ms, data, seq)"
)
_INSERT_PICTURE: Final = (
    f"INSERT INTO pictures (tenant, thread_id, seq, {', '.join(name for name, _ in PICTURE_COLUMNS)}) "
    f"VALUES ({', '.join(f'${number}' for number in range(1, len(PICTURE_COLUMNS) + 4))})"
)
_REMOVE_PICTURE: Final = "DELETE FROM pictures WHERE tenant = $1 AND thread_id = $2 AND turn_id = $3 AND item_id = $4"
_DELETE: Final = """
WITH lease AS (
    DELETE FROM leases WHERE tenant = $1 AND thread_id = $2 AND owner = $3 AND epoch = $4 RETURNING tenant, thread_id
), records_gone AS (
    DELETE FROM records AS r USING lease WHERE r.tenant = lease.tenant AND r.thread_id = lease.thread_id
), pictures_gone AS (
    DELETE FROM pictures AS p USING lease WHERE p.tenant = lease.tenant AND p.thread_id = lease.thread_id
), threads_gone AS (
    DELETE FROM threads AS t USING lease WHERE t.tenant = lease.tenant AND t.thread_id = lease.thread_id
)
SELECT count(*) FROM lease
"""


class PostgresThreadLog:
    """`ThreadLog` of all tenants; closing it closes the storage of this process, whose part it is."""

    def __init__(
        self,
        database: PostgresDatabase,
        writer: PostgresWriter,
        leases: PostgresLeaseManager,
        *,
        clock: Clock,
        replica: str,
        ttl_s: float,
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._database = database
        self._writer = writer
        self._leases = leases
        self._clock = clock
        self._replica = replica
        self._ttl_s = ttl_s
        self._close = close

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        self._leases.check_open()
        lease = Lease(thread_id=row.thread_id, tenant=row.tenant, owner=self._replica, epoch=1)
        made: tuple[Lease, int] = await self._shielded(
            _Create(self._append(lease, records, row), self._ttl_s), self._keep
        )
        return made

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        if row is not None:
            check_row(row, lease)
        try:
            last_seq: int = await self._writer.run(AppendJob(self._append(lease, records, row)))
        except LeaseLost:
            self._leases.forget(lease)
            raise
        return last_seq

    async def read(
        self, thread_id: str, *, tenant: str = LOCAL_TENANT, after_seq: int = 0, limit: int | None = None
    ) -> list[Record]:
        values = (tenant, thread_id, after_seq, limit)
        found = await self._database.run(lambda connection: connection.fetch(_READ, *values), repeatable=True)
        if sum(len(data) for *_, data in found) > _DECODED_HERE_BYTES:
            return await anyio.to_thread.run_sync(_decode, thread_id, found)
        return _decode(thread_id, found)

    async def row(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> ThreadRow | None:
        found = await self._database.run(
            lambda connection: connection.fetchrow(SELECT_ROW, tenant, thread_id), repeatable=True
        )
        return None if found is None else read_row(tuple(found))

    async def page(self, query: ThreadQuery) -> ThreadPage:
        statement, values = page_statement(query)
        rows = await self._database.run(lambda connection: connection.fetch(statement, *values), repeatable=True)
        found = tuple(read_row(tuple(row)) for row in rows[: query.limit])
        return ThreadPage(rows=found, has_more=len(rows) > query.limit)

    async def pictures(self, query: PictureQuery) -> list[PictureRow]:
        statement, values = pictures_statement(query)
        rows = await self._database.run(lambda connection: connection.fetch(statement, *values), repeatable=True)
        return [read_picture(tuple(row)) for row in rows]

    async def delete(self, lease: Lease) -> None:
        await checkpoint_if_cancelled()
        self._leases.forget(lease)  # before: a renewal that does not find it would take it for lost
        try:
            await self._shielded(_Delete(lease), lambda result: None)
        except LeaseLost:
            raise
        except StorageError:
            self._leases.keep(lease)
            raise

    async def aclose(self) -> None:
        await self._close()

    def _append(self, lease: Lease, records: Sequence[Record], row: ThreadRow | None) -> Append:
        now_ms = self._clock.now_ms()
        encoded = tuple(
            (record.kind, record.at_ms or now_ms, encode_record(lease.thread_id, record)) for record in records
        )
        return Append(
            lease=lease,
            records=encoded,
            row=None if row is None else row_values(row),
            pictures=tuple(picture_changes(lease, records, [at_ms for _, at_ms, _ in encoded])),
            size_bytes=sum(len(data) for *_, data in encoded),
        )

    def _keep(self, made: tuple[Lease, int]) -> None:
        self._leases.keep(made[0])

    async def _shielded(self, job: _Create | _Delete, then: Callable[[Any], None]) -> Any:
        await checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True):
            result = await self._writer.run(job)
            then(result)
        return result


class _Create:
    """A new thread with its lease."""

    def __init__(self, append: Append, ttl_s: float) -> None:
        self._append = append
        self._ttl_s = ttl_s

    async def execute(self, connection: asyncpg.Connection) -> dict[str, Any]:
        lease, records = self._append.lease, self._append.records
        key = (lease.tenant, lease.thread_id)
        epoch, is_there = await connection.fetchrow(_LEASE, *key, lease.owner, self._ttl_s, len(records))
        if epoch is None:
            return {"isThere": is_there}
        await connection.execute(_INSERT_ROW, *key, *(self._append.row or ()))
        if records:
            await connection.execute(_INSERT_RECORDS, *key, *_columns(records))
        for change in self._append.pictures:
            await _index(connection, key, change)
        return {"epoch": epoch}

    def hints(self, answer: Any) -> tuple[str, ...]:
        return ()

    def result(self, answer: dict[str, Any]) -> tuple[Lease, int]:
        lease = self._append.lease
        if "epoch" not in answer:
            raise thread_exists(lease.thread_id) if answer["isThere"] else lease_held(lease.thread_id)
        made = Lease(thread_id=lease.thread_id, tenant=lease.tenant, owner=lease.owner, epoch=answer["epoch"])
        return made, len(self._append.records)


class _Delete:
    """A thread that goes, with all that is its own."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    async def execute(self, connection: asyncpg.Connection) -> int:
        lease = self._lease
        gone: int = await connection.fetchval(_DELETE, lease.tenant, lease.thread_id, lease.owner, lease.epoch)
        return gone

    def hints(self, answer: Any) -> tuple[str, ...]:
        return ()

    def result(self, answer: int) -> None:
        if not answer:
            raise lease_lost(self._lease)


async def _index(connection: asyncpg.Connection, key: tuple[str, str], change: Change) -> None:
    place, values, item = change
    if values is None:
        await connection.execute(_REMOVE_PICTURE, *key, *item)
    else:
        await connection.execute(_INSERT_PICTURE, *key, place, *values)


def _columns(records: Sequence[Encoded]) -> list[list[Any]]:
    return [list(column) for column in zip(*records, strict=True)]


def _decode(thread_id: str, rows: Sequence[Any]) -> list[Record]:
    return [
        Record(kind=kind, data=decode_record(thread_id, seq, data), seq=seq, at_ms=at_ms)
        for seq, kind, at_ms, data in rows
    ]
