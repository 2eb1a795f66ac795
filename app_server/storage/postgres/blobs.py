"""The rows of pictures that lie in an object store, of one tenant: their facts, who owns them, and for which item.

A picture with an owner has its object. What keeps that true is the lock of a picture, an advisory one: a first owner is
noted, and an object removed, under it alone, each after a look at what the other left. While it is held one question
goes to the object store, so a process holds one at a time and leaves the other connections to everybody else. It never
touches bytes. `storage/object_blobs.py` calls it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio
import asyncpg

from app_server.extension_api.tools import PictureRef
from app_server.storage.postgres.texts import to_text

if TYPE_CHECKING:
    from app_server.storage.postgres.database import PostgresDatabase

LEFT_BEHIND_S: Final = 600.0
"""How long a row may be without an owner until somebody else looks after it: longer than any put takes."""
_SWEPT: Final = 20

_ANNOUNCE: Final = """
INSERT INTO blobs (tenant, sha256, mime, size_bytes, width, height, unowned_since)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp())
ON CONFLICT (tenant, sha256) DO UPDATE SET unowned_since = clock_timestamp() WHERE blobs.unowned_since IS NOT NULL
"""
_RENEW: Final = """
INSERT INTO blobs (tenant, sha256, mime, size_bytes, width, height) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (tenant, sha256) DO UPDATE SET unowned_since = NULL
"""
_OWN: Final = """
INSERT INTO blob_owners (tenant, owner, name, sha256) VALUES ($1, $2, $3, $4)
ON CONFLICT (tenant, owner, name, sha256) DO UPDATE SET put_at = clock_timestamp()
"""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
_IS_OWNED: Final = "SELECT EXISTS (SELECT FROM blob_owners WHERE tenant = $1 AND sha256 = $2)"
_REF: Final = """
SELECT sha256, mime, size_bytes, width, height FROM blobs
WHERE tenant = $1 AND sha256 = $2 AND EXISTS (SELECT FROM blob_owners o WHERE o.tenant = $1 AND o.sha256 = $2)
"""
_NAMED: Final = """
SELECT b.sha256, b.mime, b.size_bytes, b.width, b.height FROM blob_owners o JOIN blobs b USING (tenant, sha256)
WHERE o.tenant = $1 AND o.owner = $2 AND o.name = $3 ORDER BY o.put_at DESC LIMIT 1
"""
_SHARE: Final = """
INSERT INTO blob_owners (tenant, owner, name, sha256, put_at)
SELECT tenant, $3, name, sha256, put_at FROM blob_owners WHERE tenant = $1 AND owner = $2 FOR SHARE
ON CONFLICT DO NOTHING
"""  # FOR SHARE: who releases the first owner meanwhile waits for the second, and sees it
_ALL: Final = "tenant = $1 AND owner = $2"
_PICTURE: Final = "tenant = $1 AND owner = $2 AND sha256 = $3"
_NAMED_PICTURE: Final = "tenant = $1 AND owner = $2 AND sha256 = $3 AND name = $4"
_HOLD: Final = """
SELECT FROM blobs WHERE tenant = $1 AND sha256 IN (SELECT sha256 FROM blob_owners WHERE {which})
ORDER BY sha256 FOR NO KEY UPDATE
"""  # of two last owners who let go at the same time, the second sees that the first is gone
_LET_GO: Final = "DELETE FROM blob_owners WHERE {which} RETURNING sha256"
_UNOWN: Final = """
UPDATE blobs SET unowned_since = clock_timestamp() WHERE tenant = $1 AND sha256 = ANY($2)
AND NOT EXISTS (SELECT FROM blob_owners o WHERE o.tenant = blobs.tenant AND o.sha256 = blobs.sha256) RETURNING sha256
"""
_LEFT_BEHIND: Final = """
SELECT sha256 FROM blobs WHERE tenant = $1 AND unowned_since < clock_timestamp() - make_interval(secs => $2)
ORDER BY unowned_since LIMIT $3
"""
_WHOLE_SIZE: Final = "SELECT coalesce(sum(size_bytes), 0)::bigint FROM blobs WHERE tenant = $1"
_SIZE: Final = """
SELECT coalesce(sum(size_bytes), 0)::bigint FROM blobs b WHERE tenant = $1
AND EXISTS (SELECT FROM blob_owners o WHERE o.tenant = $1 AND o.sha256 = b.sha256 AND o.name <> '')
"""


class BlobLocks:
    """Locks of pictures, one at a time for all tenants of a process."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database
        self._one = anyio.CapacityLimiter(1)

    async def locked(self, tenant: str, sha256: str, work: Callable[[asyncpg.Connection], Awaitable[bool]]) -> bool:
        """What `work` says, in a transaction that has the picture for itself among all replicas."""

        async def run(connection: asyncpg.Connection) -> bool:
            async with connection.transaction():
                await connection.execute(_LOCK, f"{tenant}\x01{sha256}")
                return await work(connection)

        async with self._one:
            return await self._database.run(run)


class PostgresBlobRows:
    """The `BlobRows` of `storage/object_blobs.py`. All of it raises StorageError."""

    def __init__(self, database: PostgresDatabase, locks: BlobLocks, tenant: str) -> None:
        self._database, self._locks, self._tenant = database, locks, to_text(tenant) or tenant

    async def announce(self, ref: PictureRef) -> None:
        """Before the object is put: should nobody come to own it, it is found and removed later."""
        await self._execute(_ANNOUNCE, *_facts(ref))

    async def own(self, ref: PictureRef, owner: str, name: str | None, is_there: Callable[[], Awaitable[bool]]) -> bool:
        """Note the owner of an object that was put; False when somebody has removed it again in the meantime."""

        async def work(connection: asyncpg.Connection) -> bool:
            if not await connection.fetchval(_IS_OWNED, self._tenant, ref.sha256) and not await is_there():
                return False
            await connection.execute(_RENEW, self._tenant, *_facts(ref))
            await connection.execute(_OWN, self._tenant, to_text(owner), to_text(name or ""), ref.sha256)
            return True

        return await self._locks.locked(self._tenant, ref.sha256, work)

    async def remove_unowned(self, sha256: str, remove: Callable[[], Awaitable[None]]) -> bool:
        """Remove the object and then the row, if there still is no owner; whether it went."""

        async def work(connection: asyncpg.Connection) -> bool:
            if await connection.fetchval(_IS_OWNED, self._tenant, sha256):
                await connection.execute(
                    "UPDATE blobs SET unowned_since = NULL WHERE tenant = $1 AND sha256 = $2", self._tenant, sha256
                )
                return False
            await remove()
            await connection.execute("DELETE FROM blobs WHERE tenant = $1 AND sha256 = $2", self._tenant, sha256)
            return True

        return await self._locks.locked(self._tenant, sha256, work)

    async def ref(self, sha256: str) -> PictureRef | None:
        """What is known of a picture that has an owner."""
        return await self._one_ref(_REF, sha256)

    async def named(self, owner: str, name: str) -> PictureRef | None:
        """The picture that was put last for this item of the owner."""
        return await self._one_ref(_NAMED, to_text(owner), to_text(name))

    async def share(self, owner: str, new_owner: str) -> None:
        """All that `owner` has is also owned by `new_owner`, under the same names."""
        await self._execute(_SHARE, to_text(owner), to_text(new_owner))

    async def release(self, owner: str) -> list[str]:
        """Let go of all; returns the pictures that have no owner left."""
        return await self._let_go([(_ALL, (to_text(owner),))])

    async def release_picture(self, owner: str, sha256: str, name: str | None) -> list[str]:
        """Let go of what was put under this name, or of all with these bytes where nothing was; else as `release`."""
        which: tuple[str | None, ...] = (to_text(owner), sha256)
        named = [(_NAMED_PICTURE, (*which, to_text(name)))] if name else []
        return await self._let_go([*named, (_PICTURE, which)])

    async def left_behind(self) -> list[str]:
        """Some pictures that have been without an owner for long: who put or released them did not come to the end."""
        rows = await self._database.run(
            lambda connection: connection.fetch(_LEFT_BEHIND, self._tenant, LEFT_BEHIND_S, _SWEPT), repeatable=True
        )
        return [row[0] for row in rows]

    async def named_bytes(self) -> int:
        """The size of all pictures that an owner has under a name."""
        size: int = await self._database.run(
            lambda connection: connection.fetchval(_SIZE, self._tenant), repeatable=True
        )
        return size

    async def kept_bytes(self) -> int:
        """The size of all pictures."""
        size: int = await self._database.run(
            lambda connection: connection.fetchval(_WHOLE_SIZE, self._tenant), repeatable=True
        )
        return size

    async def _let_go(self, choices: list[tuple[str, tuple[str | None, ...]]]) -> list[str]:
        async def work(connection: asyncpg.Connection) -> list[str]:
            async with connection.transaction():
                for which, arguments in choices:
                    await connection.execute(_HOLD.format(which=which), self._tenant, *arguments)
                    gone = await connection.fetch(_LET_GO.format(which=which), self._tenant, *arguments)
                    if gone:
                        unowned = await connection.fetch(_UNOWN, self._tenant, [row[0] for row in gone])
                        return [row[0] for row in unowned]
            return []

        return await self._database.run(work)

    async def _one_ref(self, statement: str, *arguments: str | None) -> PictureRef | None:
        row = await self._database.run(
            lambda connection: connection.fetchrow(statement, self._tenant, *arguments), repeatable=True
        )
        if row is None:
            return None
        sha256, mime, size_bytes, width, height = row
        return PictureRef(sha256=sha256, mime=mime, size_bytes=size_bytes, width=width, height=height)

    async def _execute(self, statement: str, *arguments: object) -> None:
        """A statement that may as well run twice."""
        await self._database.run(
            lambda connection: connection.execute(statement, self._tenant, *arguments), repeatable=True
        )


def _facts(ref: PictureRef) -> tuple[str, str, int, int, int]:
    return ref.sha256, ref.mime, ref.size_bytes, ref.width, ref.height
