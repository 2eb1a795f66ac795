"""What `app-server doctor` finds in a shared storage: it looks and measures. Called by `storage/inspection`.

It connects by itself and never migrates; the one thing that it writes is a small object that it removes again.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any, Final

import anyio
import asyncpg

from app_server.errors import AppServerError
from app_server.storage.base import StorageError
from app_server.storage.postgres.address import Address, read_address
from app_server.storage.postgres.failures import FAILURES, storage_error
from app_server.storage.postgres.migrating import versions
from app_server.storage.s3 import open_objects
from app_server.storage.shared_facts import SharedFacts

TIMEOUT_S: Final = 10.0
HINT_S: Final = 5.0
"""How long the round trip of a hint may take before it counts as lost."""
_COUNTS: Final = """
SELECT (SELECT count(*) FROM threads) AS threads,
    (SELECT count(*) FROM leases WHERE owner IS NOT NULL AND expires > clock_timestamp()) AS live,
    (SELECT count(DISTINCT owner) FROM leases WHERE owner IS NOT NULL AND expires > clock_timestamp()) AS replicas,
    (SELECT count(*) FROM leases
        WHERE owner IS NOT NULL AND last_seq IS NOT NULL AND expires <= clock_timestamp()) AS ownerless,
    (SELECT count(*) FROM letters WHERE answer IS NULL) AS letters,
    (SELECT coalesce(extract(epoch FROM max(clock_timestamp() - touched_at)), 0)::float8
        FROM letters WHERE answer IS NULL) AS oldest_letter_s
"""


async def inspect_shared(url: str, blobs: str | None, home: Path) -> SharedFacts:
    """Look at the database and the store of pictures. Raises ConfigurationError when a URL makes no sense."""
    address = read_address(url)
    store, refused = await _probe(blobs, home)
    found: dict[str, Any] = {"place": address.place, "store": store, "store_refused": refused}
    try:
        connection = await _connect(address)
        try:
            await _look(connection, address, found)
        finally:
            await connection.close(timeout=TIMEOUT_S)
    except FAILURES as error:
        found["refused"] = storage_error(address.place, error).message
    except StorageError as error:  # a schema that is newer than this server
        found["refused"] = error.message
    return SharedFacts(**found)


async def _look(connection: asyncpg.Connection, address: Address, found: dict[str, Any]) -> None:
    found["server"] = await connection.fetchval("SHOW server_version")
    asked_s = time.time()
    theirs_s = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    found["round_trip_s"] = time.time() - asked_s
    found["clock_ahead_s"] = theirs_s - (asked_s + found["round_trip_s"] / 2)
    found["hint_s"] = await _hint(connection, address)
    schema = await versions(connection, address.place)
    found |= {"version": schema.found, "newest": schema.needed}
    if not schema.behind:
        found |= dict(await connection.fetchrow(_COUNTS))


async def _hint(listening: asyncpg.Connection, address: Address) -> float | None:
    """How long a notification takes from one connection to another; None when it is not heard."""
    channel, heard = f"app_server_doctor_{secrets.token_hex(4)}", asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    await listening.add_listener(channel, hear)
    telling = await _connect(address)
    try:
        began_s = time.monotonic()
        await telling.execute("SELECT pg_notify($1, '')", channel)
        with anyio.move_on_after(HINT_S):
            await heard.wait()
            return time.monotonic() - began_s
        return None
    finally:
        await telling.close(timeout=TIMEOUT_S)
        await listening.remove_listener(channel, hear)


async def _connect(address: Address) -> asyncpg.Connection:
    settings = {"application_name": "app-server doctor"}
    return await asyncpg.connect(address.dsn, timeout=TIMEOUT_S, command_timeout=TIMEOUT_S, server_settings=settings)


async def _probe(blobs: str | None, home: Path) -> tuple[str, str | None]:
    """The store's name, and what it refused."""
    objects = open_objects(blobs, home)
    try:
        await objects.probe()
    except AppServerError as error:
        return objects.title, error.message
    return objects.title, None
