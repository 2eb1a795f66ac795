"""The numbered migrations that bring a schema up, and which of them a database has seen. Called by `database`.

The table `schema_versions` has a row for each migration that ran; all missing ones run in one transaction, under an
advisory lock, so replicas that start together take turns. A migration is a file `migrations/NNNN_what.sql`; a file that
was released is never changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncpg

from app_server.storage.base import StorageError
from app_server.values import frozen

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x6170_7073_7276
"""Of the advisory lock: any number that nobody else in the database takes."""
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS schema_versions (
    version int PRIMARY KEY,
    migrated_at timestamptz NOT NULL DEFAULT now()
)
"""


@frozen
class SchemaVersions:
    """What a database has, and what this server needs; 0 is a database without our tables."""

    found: int
    needed: int

    @property
    def behind(self) -> bool:
        return self.found < self.needed


async def versions(connection: asyncpg.Connection, place: str) -> SchemaVersions:
    """Where the schema stands; changes nothing.

    Raises:
        StorageError: the database was made by a newer version of the server.
    """
    needed = max(_migrations())
    found = 0
    if await connection.fetchval("SELECT to_regclass('schema_versions') IS NOT NULL"):
        found = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_versions")
    if found > needed:
        raise StorageError(
            f"PostgreSQL at {place} has schema version {found} and this server knows {needed}; install the newer "
            "server that migrated it, or name another database in storage.url."
        )
    return SchemaVersions(found=found, needed=needed)


async def migrate(connection: asyncpg.Connection, place: str) -> SchemaVersions:
    """Run the migrations that the database has not seen, all or none; returns where it stood before.

    Raises:
        StorageError: the database was made by a newer version of the server, or cannot hold every text.
    """
    before = await versions(connection, place)
    if not before.behind:
        return before
    await _check_encoding(connection, place)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(_TABLE)
        before = await versions(connection, place)  # again: another replica may have run them while we waited
        migrations = _migrations()
        for number in range(before.found + 1, before.needed + 1):
            await connection.execute(migrations[number].read_text(encoding="utf-8"))
            await connection.execute("INSERT INTO schema_versions (version) VALUES ($1)", number)
    return before


async def _check_encoding(connection: asyncpg.Connection, place: str) -> None:
    encoding = await connection.fetchval("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        raise StorageError(
            f"The database at {place} has the encoding {encoding}, which cannot hold every text; make one with "
            "ENCODING 'UTF8'."
        )


def _migrations() -> dict[int, Path]:
    return {int(file.name.split("_", 1)[0]): file for file in _MIGRATIONS.glob("[0-9]*.sql")}
