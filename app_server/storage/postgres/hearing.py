"""The one connection on which this process hears hints, and who wants them. It never looks at rows.

Whenever hearing begins, the first time or after a loss, everybody is told `again`: what was told meanwhile is unknown.
A connection that dies in silence is noticed by a heartbeat. Called by `cluster` and `source`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import anyio
import asyncpg

from app_server.observability.logging import get_logger
from app_server.storage.base import StorageError
from app_server.storage.cluster import Hint
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.failures import FAILURES
from app_server.storage.postgres.hints import CHANNEL, Heard, read_payload

log = get_logger("storage")

HEARTBEAT_S: Final = 5.0
"""Between two questions whether the connection lives, and so long its answer may take."""
_MAX_PAUSE_S: Final = 2.0


class Hearing:
    """What comes in, handed to the listeners of its tenant."""

    def __init__(self, database: PostgresDatabase, replica: str) -> None:
        self._database = database
        self._replica = replica
        self._listeners: defaultdict[str, list[Callable[[Hint], None]]] = defaultdict(list)

    def listen(self, tenant: str, hear: Callable[[Hint], None]) -> None:
        self._listeners[tenant].append(hear)

    def hand_on(self, heard: Heard) -> None:
        """Let the tenant's listeners have a hint; without a tenant, everybody."""
        tenants = list(self._listeners) if heard.tenant is None else [heard.tenant]
        for tenant in tenants:
            for hear in self._listeners.get(tenant, ()):
                hear(heard.hint)

    async def run(self) -> None:
        """Hear until cancelled; a lost connection is made again."""
        pause_s = 0.1
        while True:
            try:
                connection = await self._database.connect("listener")
                try:
                    await self._hear(connection)
                finally:
                    connection.terminate()
                pause_s = 0.1
            except StorageError as error:
                log.warning("storage_hints_not_heard", message=error.message)
            except FAILURES as error:
                log.warning("storage_hints_not_heard", message=self._database.failure(error).message)
            await anyio.sleep(pause_s)
            pause_s = min(_MAX_PAUSE_S, pause_s * 2)

    async def _hear(self, connection: asyncpg.Connection) -> None:
        """Returns when the connection ends."""
        gone = asyncio.Event()
        connection.add_termination_listener(lambda ended: gone.set())
        await connection.add_listener(CHANNEL, self._heard)
        self.hand_on(Heard(tenant=None, hint=Hint(kind="again")))
        while not gone.is_set():
            with anyio.move_on_after(HEARTBEAT_S):
                await gone.wait()
            if not gone.is_set():
                await connection.fetchval("SELECT 1", timeout=HEARTBEAT_S)

    def _heard(self, connection: Any, pid: int, channel: str, payload: object) -> None:
        for heard in read_payload(str(payload), ours=self._replica):
            self.hand_on(heard)
