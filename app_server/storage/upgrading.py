"""The door for `app-server migrate`: where the schema of a storage stands, and how it is brought up.

A server does that itself when it first opens its storage. Whoever gives it no right to make tables, or wants to choose
the moment, runs the command. A storage in a folder has one user, so nobody needs to choose.
"""

from __future__ import annotations

from app_server.errors import ConfigurationError
from app_server.values import frozen


@frozen
class SchemaChange:
    """What was asked of the storage at `place`, which may be shown, and what came of it."""

    place: str
    before: int
    now: int
    newest: int
    """What this server needs."""


async def upgrade(url: str, *, only_look: bool = False) -> SchemaChange | None:
    """Bring the schema of the storage at `url` up, or only look; None where there is no schema to manage.

    Raises:
        ConfigurationError: the URL makes no sense, or the library of PostgreSQL is not installed.
        StorageError: the storage cannot be reached, refused, or was made by a newer server.
    """
    if url.partition(":")[0].lower() not in ("postgres", "postgresql"):
        return None
    try:
        from app_server.storage.postgres.database import PostgresDatabase
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The storage URL postgres: needs {error.name}, which is not installed; install the server with its extra "
            "postgres."
        ) from error
    database = PostgresDatabase(url)
    found = await (database.versions() if only_look else database.upgrade())
    now = found.found if only_look else found.needed
    return SchemaChange(place=database.place, before=found.found, now=now, newest=found.needed)
