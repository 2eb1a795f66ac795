"""Who may write a thread, as rows with a time to live by the clock of the database; this process renews its own.

| the row says | acquire |
|---|---|
| nothing, or no owner | ours, with the next epoch |
| we | the same lease again |
| somebody whose time is up | ours, with the next epoch, which fences off whatever that replica still sends |
| somebody else | LeaseHeld |

The fence itself is part of each append (`appends`). Called through the `LeaseManager` protocol, by `log` and `source`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import asyncpg
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.storage.base import LOCAL_TENANT, Lease
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.rules import draining, lease_held

FREE: Final = "(leases.owner IS NULL OR leases.owner = excluded.owner OR leases.expires <= clock_timestamp())"
"""Of the row that is there, when somebody wants it."""
TAKE: Final = """
    owner = excluded.owner, expires = excluded.expires,
    epoch = leases.epoch + (leases.owner IS DISTINCT FROM excluded.owner)::int
"""
_ACQUIRE: Final = f"""
INSERT INTO leases (tenant, thread_id, owner, epoch, expires)
VALUES ($1, $2, $3, 1, clock_timestamp() + make_interval(secs => $4::float8))
ON CONFLICT (tenant, thread_id) DO UPDATE SET {TAKE} WHERE {FREE}
RETURNING epoch
"""
_RELEASE: Final = "UPDATE leases SET owner = NULL WHERE tenant = $1 AND thread_id = $2 AND owner = $3 AND epoch = $4"
_RELEASE_ALL: Final = "UPDATE leases SET owner = NULL WHERE owner = $1"
_RENEW: Final = """
WITH mine AS (
    SELECT l.tenant, l.thread_id FROM leases AS l
    JOIN unnest($2::text[], $3::text[], $4::bigint[]) AS h (tenant, thread_id, epoch) USING (tenant, thread_id, epoch)
    WHERE l.owner = $1
    FOR UPDATE OF l SKIP LOCKED -- an append renews what it has locked, and must not be waited for in another order
)
UPDATE leases AS l SET expires = clock_timestamp() + make_interval(secs => $5::float8)
FROM mine WHERE l.tenant = mine.tenant AND l.thread_id = mine.thread_id
"""
_ABANDON: Final = """
UPDATE leases SET owner = owner || ' before', expires = clock_timestamp()
WHERE tenant = $1 AND thread_id = $2 AND owner = $3 AND epoch = $4
"""
_LOST: Final = """
SELECT h.tenant, h.thread_id, h.epoch
FROM unnest($2::text[], $3::text[], $4::bigint[]) AS h (tenant, thread_id, epoch)
LEFT JOIN leases AS l ON (l.tenant, l.thread_id, l.owner, l.epoch) = (h.tenant, h.thread_id, $1, h.epoch)
WHERE l.epoch IS NULL
"""

Key = tuple[str, str]
"""tenant, thread id"""


class PostgresLeaseManager:
    """Leases with this process as their owner."""

    def __init__(
        self, database: PostgresDatabase, replica: str, *, ttl_s: float, settled: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._replica = replica
        self._ttl_s = ttl_s
        self._settled = settled
        self._held: dict[Key, int] = {}
        self._draining = False

    async def acquire(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> Lease:
        self.check_open()
        await checkpoint_if_cancelled()
        with anyio.CancelScope(shield=True):  # a lease that was taken is known to have been taken
            await (
                self._settled()
            )  # whoever has the lease reads the log, and nothing of ours may come into it behind that
            values = (tenant, thread_id, self._replica, self._ttl_s)
            epoch = await self._database.run(lambda connection: connection.fetchval(_ACQUIRE, *values), repeatable=True)
            if epoch is None:
                raise lease_held(thread_id)
            lease = Lease(thread_id=thread_id, tenant=tenant, owner=self._replica, epoch=epoch)
            self.keep(lease)
        return lease

    async def release(self, lease: Lease) -> None:
        await checkpoint_if_cancelled()
        self.forget(lease)
        values = (lease.tenant, lease.thread_id, lease.owner, lease.epoch)
        with anyio.CancelScope(shield=True):
            await self._database.run(lambda connection: connection.execute(_RELEASE, *values), repeatable=True)

    async def abandon(self, lease: Lease) -> None:
        await checkpoint_if_cancelled()
        self.forget(lease)
        values = (lease.tenant, lease.thread_id, lease.owner, lease.epoch)
        with anyio.CancelScope(shield=True):
            await self._database.run(lambda connection: connection.execute(_ABANDON, *values), repeatable=True)

    def check_open(self) -> None:
        """Raises Draining when no lease is taken any more."""
        if self._draining:
            raise draining()

    def drain(self) -> None:
        self._draining = True

    def keep(self, lease: Lease) -> None:
        """A lease that is ours: it is renewed from now on."""
        self._held[lease.tenant, lease.thread_id] = lease.epoch

    def forget(self, lease: Lease) -> None:
        """A lease that is not ours any more, or is about to be given up."""
        if self._held.get((lease.tenant, lease.thread_id)) == lease.epoch:
            del self._held[lease.tenant, lease.thread_id]

    async def renew(self) -> list[Key]:
        """Renew all that we hold, in one statement; returns the threads whose lease is gone. Raises StorageError."""
        held = dict(self._held)
        if not held:
            return []
        tenants, threads = zip(*held, strict=True)
        values = (self._replica, list(tenants), list(threads), list(held.values()))

        async def work(connection: asyncpg.Connection) -> list[Any]:
            renewed = await connection.execute(_RENEW, *values, self._ttl_s)
            if renewed == f"UPDATE {len(held)}":
                return []
            found: list[Any] = await connection.fetch(_LOST, *values)
            return found

        lost: list[Key] = []
        for tenant, thread_id, epoch in await self._database.run(work, repeatable=True):
            if self._held.get((tenant, thread_id)) == epoch:  # else it was given up meanwhile
                del self._held[tenant, thread_id]
                lost.append((tenant, thread_id))
        return lost

    async def release_all(self) -> None:
        """Give back whatever is ours. Raises StorageError."""
        self._held.clear()
        await self._database.run(lambda connection: connection.execute(_RELEASE_ALL, self._replica), repeatable=True)
