"""Puts the storage in PostgreSQL together: one engine in this process, and what each tenant sees of it.

What goes on beside requests runs here: leases are renewed, hints are heard, old rows are swept away. Opened by
`storage/registry.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio

from app_server.clock import Clock, SystemClock
from app_server.ids import uuid7
from app_server.observability.logging import get_logger
from app_server.storage.base import BlobStore, Storage, StorageError, StorageSource
from app_server.storage.cluster import LEASE_TTL_S, Hint
from app_server.storage.postgres.cluster import PostgresCluster
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.hearing import Hearing
from app_server.storage.postgres.hints import Heard
from app_server.storage.postgres.leases import PostgresLeaseManager
from app_server.storage.postgres.letters import sweep
from app_server.storage.postgres.log import PostgresThreadLog
from app_server.storage.postgres.places import PostgresPlaces
from app_server.storage.postgres.writer import PostgresWriter
from app_server.storage.tenancy import TenantLeases, TenantLog

log = get_logger("storage")

SECRET_BYTES: Final = 32
_SWEEP_PAUSE_S: Final = 600.0
_RETRY_PAUSE_S: Final = 0.5
_CLOSE_TIMEOUT_S: Final = 5.0
_SECRET: Final = """
INSERT INTO secrets (tenant, name, secret) VALUES ($1, $2, $3)
ON CONFLICT (tenant, name) DO UPDATE SET secret = secrets.secret RETURNING secret
"""
_ABANDONED: Final = """
SELECT DISTINCT tenant FROM leases
WHERE owner <> $1 AND expires <= clock_timestamp() AND last_seq IS NOT NULL LIMIT 100
"""
_FORGET_WRITER: Final = "DELETE FROM writers WHERE replica = $1"
_SWEEP_WRITERS: Final = "DELETE FROM writers WHERE seen_at < clock_timestamp() - interval '1 day'"
"""Of replicas that died; one that lives and was silent for so long makes its row again."""


def open_postgres_source(
    url: str, blobs_url: str | None, home: Path, *, lease_ttl_s: float = LEASE_TTL_S
) -> StorageSource:
    """The storage of all tenants at `url`. Nothing is connected here: that happens at the first use.

    Raises:
        ConfigurationError: one of the URLs makes no sense.
    """
    from app_server.storage.s3 import open_blobs  # loads a library that only this needs

    database = PostgresDatabase(url)
    return PostgresSource(database, open_blobs(database, blobs_url, home), lease_ttl_s=lease_ttl_s)


class PostgresSource:
    """`StorageSource`; this process is one replica, with an id of its own."""

    def __init__(
        self,
        database: PostgresDatabase,
        blobs: Callable[[str], BlobStore],
        *,
        lease_ttl_s: float = LEASE_TTL_S,
        clock: Clock | None = None,
    ) -> None:
        self.replica = uuid7()
        self._database = database
        self._blobs = blobs
        self._ttl_s = lease_ttl_s
        self._writer = PostgresWriter(database, self.replica, lease_ttl_s=lease_ttl_s)
        self._hearing = Hearing(database, self.replica)
        self.leases = PostgresLeaseManager(database, self.replica, ttl_s=lease_ttl_s, settled=self._writer.settled)
        """Of all tenants; `log` as well."""
        self.log = PostgresThreadLog(
            database,
            self._writer,
            self.leases,
            clock=clock or SystemClock(),
            replica=self.replica,
            ttl_s=lease_ttl_s,
            close=self.aclose,
        )
        self._places = PostgresPlaces(database, self.replica, ttl_s=lease_ttl_s)
        self._secrets: dict[tuple[str, str], bytes] = {}
        self._closed = False

    def storage(self, tenant: str) -> Storage:
        async def shared_secret(name: str) -> bytes:
            return await self._secret(tenant, name)

        return Storage(
            log=TenantLog(self.log, tenant),
            blobs=self._blobs(tenant),
            leases=TenantLeases(self.leases, tenant),
            cluster=PostgresCluster(self._database, self._writer, self._hearing, replica=self.replica, tenant=tenant),
            shared_secret=shared_secret,
            places=lambda: self._places.of(tenant),
        )

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._hearing.run)
            tasks.start_soon(self._renew)
            tasks.start_soon(self._sweep)

    async def abandoned(self) -> list[str]:
        rows = await self._database.run(lambda connection: connection.fetch(_ABANDONED, self.replica), repeatable=True)
        return [tenant for (tenant,) in rows]

    def drain(self) -> None:
        self.leases.drain()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        with anyio.CancelScope(shield=True):
            await self._writer.aclose()
            with anyio.move_on_after(_CLOSE_TIMEOUT_S):
                await self._give_back()
            await self._database.aclose()

    async def _give_back(self) -> None:
        """Leases that cannot be given back run out."""
        if not self._database.is_open:
            return
        try:
            await self.leases.release_all()
            await self._places.release_all()
            await self._database.run(lambda connection: connection.execute(_FORGET_WRITER, self.replica))
        except StorageError as error:
            log.warning("storage_leases_not_released", message=error.message)

    async def _renew(self) -> None:
        while True:
            pause_s = self._ttl_s / 3
            try:
                for tenant, thread_id in await self.leases.renew():
                    log.warning("storage_lease_lost", thread_id=thread_id)
                    self._hearing.hand_on(Heard(tenant=tenant, hint=Hint(kind="lost", thread_id=thread_id)))
                await self._places.renew()
            except StorageError as error:
                log.warning("storage_leases_not_renewed", message=error.message)
                pause_s = min(pause_s, _RETRY_PAUSE_S)
            await anyio.sleep(pause_s)

    async def _sweep(self) -> None:
        while True:
            try:
                await sweep(self._database)
                await self._database.run(lambda connection: connection.execute(_SWEEP_WRITERS), repeatable=True)
            except StorageError as error:
                log.warning("storage_not_swept", message=error.message)
            await anyio.sleep(_SWEEP_PAUSE_S)

    async def _secret(self, tenant: str, name: str) -> bytes:
        if (tenant, name) not in self._secrets:
            values = (tenant, name, secrets.token_bytes(SECRET_BYTES))
            kept = await self._database.run(lambda connection: connection.fetchval(_SECRET, *values), repeatable=True)
            self._secrets[tenant, name] = kept
        return self._secrets[tenant, name]
