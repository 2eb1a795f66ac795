"""The connections to one PostgreSQL database: a pool for reads and single statements, and connections of their own.

Opened at the first use, which also brings the schema up (`migrating`). Knows no table. Called by everything in
`storage/postgres` and by the object store for its rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import anyio
import asyncpg

from app_server.storage.base import StorageError
from app_server.storage.postgres.address import read_address
from app_server.storage.postgres.failures import FAILURES, is_lost, storage_error
from app_server.storage.postgres.migrating import SchemaVersions, migrate, versions
from app_server.storage.rules import storage_closed

T = TypeVar("T")
Work = Callable[[asyncpg.Connection], Awaitable[T]]

CONNECT_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 60.0
"""Of one statement; a server that is silent for longer is as good as gone."""
_CLOSE_TIMEOUT_S: Final = 5.0
_SETTINGS: Final = {
    "tcp_keepalives_idle": "10",  # the server lets go of a replica that was cut off, and of the rows it had locked
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}


class PostgresDatabase:
    """A database by its URL. Raises ConfigurationError when that makes no sense."""

    def __init__(self, url: str) -> None:
        self.address = read_address(url)
        self._opening = asyncio.Lock()
        self._pool: asyncpg.Pool | None = None
        self._closed = False

    @property
    def place(self) -> str:
        """Host and database, for messages."""
        return self.address.place

    @property
    def is_open(self) -> bool:
        """Whether it was connected to, and not closed since."""
        return self._pool is not None

    async def run(self, work: Work[T], *, repeatable: bool = False) -> T:
        """What `work` returns, on a pooled connection. It leaves no transaction open and no setting changed behind it.

        repeatable: doing it twice is as doing it once, so it is tried again when the connection turns out to be gone.

        Raises:
            StorageError: PostgreSQL cannot be reached or refused; for what else `work` raises, see there.
        """
        pool = await self._open()
        try:
            return await _on_pool(pool, work)
        except FAILURES as error:
            if not (repeatable and is_lost(error) and not self._closed):
                raise self.failure(error) from error
        try:
            return await _on_pool(pool, work)
        except FAILURES as error:
            raise self.failure(error) from error

    async def connect(self, purpose: str) -> asyncpg.Connection:
        """A connection of its own, with the schema up to date; whoever asked for it closes it. Raises StorageError.

        purpose: what the server's list of connections shows.
        """
        await self._open()
        try:
            return await self._connect(purpose)
        except FAILURES as error:
            raise self.failure(error) from error

    def failure(self, error: BaseException) -> StorageError:
        """The error to raise for what asyncpg raised."""
        return storage_closed() if self._closed else storage_error(self.place, error)

    async def versions(self) -> SchemaVersions:
        """Where the schema stands; nothing is changed. Raises StorageError."""
        return await self._about_schema(versions)

    async def upgrade(self) -> SchemaVersions:
        """Bring the schema up, as the first use does; returns where it stood before. Raises StorageError."""
        return await self._about_schema(migrate)

    async def aclose(self) -> None:
        """Close the pool; idempotent. Connections of their own are not closed."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(_CLOSE_TIMEOUT_S):
            await pool.close()
        pool.terminate()

    async def _open(self) -> asyncpg.Pool:
        if self._closed:
            raise storage_closed()
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._pool is None:
                await self.upgrade()
                try:
                    self._pool = await self._make_pool()
                except FAILURES as error:
                    raise self.failure(error) from error
            return self._pool

    async def _about_schema(
        self, ask: Callable[[asyncpg.Connection, str], Awaitable[SchemaVersions]]
    ) -> SchemaVersions:
        try:
            connection = await self._connect("migration")
            try:
                return await ask(connection, self.place)
            finally:
                await connection.close(timeout=_CLOSE_TIMEOUT_S)
        except FAILURES as error:
            raise self.failure(error) from error

    async def _connect(self, purpose: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            self.address.dsn,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={**_SETTINGS, "application_name": f"app-server {purpose}"},
        )

    async def _make_pool(self) -> asyncpg.Pool:
        return await asyncpg.create_pool(
            self.address.dsn,
            min_size=1,
            max_size=self.address.pool_size,
            reset=_nothing_to_reset,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            server_settings={**_SETTINGS, "application_name": "app-server pool"},
        )


async def _on_pool(pool: asyncpg.Pool, work: Work[T]) -> T:
    connection = await pool.acquire()
    try:
        return await work(connection)
    finally:
        with anyio.CancelScope(
            shield=True
        ):  # a query that was cancelled is ended before somebody else gets its connection
            await pool.release(connection, timeout=_CLOSE_TIMEOUT_S)


async def _nothing_to_reset(connection: Any) -> None:
    """By default a second round trip follows each use, to undo settings; `run` is used by code that makes none."""
