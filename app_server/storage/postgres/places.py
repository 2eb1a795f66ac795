"""`Places` as rows with an end by the clock of the database; those of a process are renewed while it lives.

A lock of the database for each tenant and kind makes those who ask at once take turns, on whatever replica they are.
Made by `source`, which also renews and gives back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import anyio
import asyncpg
from anyio.lowlevel import checkpoint_if_cancelled

from app_server.storage.places import DAY_MS, Full, PlaceKind, free_in_ms
from app_server.storage.postgres.database import PostgresDatabase

_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1 || E'\\n' || $2, 3))"
_FORGET: Final = "DELETE FROM places WHERE tenant = $1 AND kind = $2 AND ends <= clock_timestamp()"
_TAKEN: Final = """
SELECT key, (extract(epoch FROM ends - clock_timestamp()) * 1000)::bigint FROM places
WHERE tenant = $1 AND kind = $2 AND key <> ALL ($3::text[])
"""
_STORED: Final = """
SELECT count(*) FROM threads AS t WHERE tenant = $1 AND thread_id <> ALL ($3::text[])
AND NOT EXISTS (SELECT FROM places AS p WHERE (p.tenant, p.kind, p.key) = ($1, $2, t.thread_id))
"""
_TAKE: Final = """
INSERT INTO places (tenant, kind, key, owner, ends)
SELECT $1, $2, key, $4, clock_timestamp() + make_interval(secs => $5::float8) FROM unnest($3::text[]) AS key
ON CONFLICT DO NOTHING
"""
_GIVE_BACK: Final = "DELETE FROM places WHERE tenant = $1 AND kind = $2 AND key = ANY ($3::text[])"
_RENEW: Final = """
UPDATE places SET ends = clock_timestamp() + make_interval(secs => $2::float8)
WHERE owner = $1 AND ends > clock_timestamp()
"""
_RELEASE_ALL: Final = "DELETE FROM places WHERE owner = $1"


class PostgresPlaces:
    """The places of all tenants, as this process takes them."""

    def __init__(self, database: PostgresDatabase, replica: str, *, ttl_s: float) -> None:
        self._database, self._replica, self._ttl_s = database, replica, ttl_s
        self._has_some = False

    def of(self, tenant: str) -> TenantPlaces:
        """Those of one tenant."""
        return TenantPlaces(self, tenant)

    async def take(self, tenant: str, kind: PlaceKind, keys: Sequence[str], limit: int) -> Full | None:
        lasting = kind == "pictures"
        self._has_some = self._has_some or not lasting
        owner, lasts_s = (None, DAY_MS / 1000) if lasting else (self._replica, self._ttl_s)
        wanted = (tenant, kind, list(keys))

        async def work(connection: asyncpg.Connection) -> Full | None:
            async with connection.transaction():
                await connection.execute(_LOCK, tenant, kind)
                await connection.execute(_FORGET, tenant, kind)
                taken = await connection.fetch(_TAKEN, *wanted)
                used = len(taken) + (await connection.fetchval(_STORED, *wanted) if kind == "threads" else 0)
                if used + len(keys) > limit:
                    ends = [ends_in_ms for _, ends_in_ms in taken] if lasting else []
                    return Full(used=used, free_in_ms=free_in_ms(ends, len(keys), limit, 0))
                await connection.execute(_TAKE, *wanted, owner, lasts_s)
            return None

        await checkpoint_if_cancelled()
        full: Full | None = None
        with anyio.CancelScope(shield=True):  # what was taken is known to have been taken
            full = await self._database.run(work, repeatable=True)
        return full  # noqa: RET504 - returned inside, mypy sees a way around it: a scope may swallow

    async def give_back(self, tenant: str, kind: PlaceKind, keys: Sequence[str]) -> None:
        await self._execute(_GIVE_BACK, tenant, kind, list(keys))

    async def renew(self) -> None:
        """Those of this process last on. Raises StorageError."""
        if self._has_some:
            await self._execute(_RENEW, self._replica, self._ttl_s)

    async def release_all(self) -> None:
        """Give back whatever is ours. Raises StorageError."""
        if self._has_some:
            await self._execute(_RELEASE_ALL, self._replica)

    async def _execute(self, statement: str, *values: Any) -> None:
        await self._database.run(lambda connection: connection.execute(statement, *values), repeatable=True)


class TenantPlaces:
    """`Places` of one tenant."""

    def __init__(self, places: PostgresPlaces, tenant: str) -> None:
        self._places, self._tenant = places, tenant

    async def take(self, kind: PlaceKind, keys: Sequence[str], limit: int) -> Full | None:
        return await self._places.take(self._tenant, kind, keys, limit)

    async def give_back(self, kind: PlaceKind, keys: Sequence[str]) -> None:
        await self._places.give_back(self._tenant, kind, keys)
