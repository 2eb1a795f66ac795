"""The other replicas as one tenant sees them, over the rows and the hints that all share. Called through `Cluster`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from app_server.ids import uuid7
from app_server.storage.cluster import Hint, Letter, LetterKind
from app_server.storage.postgres import letters
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.hearing import Hearing
from app_server.storage.postgres.hints import hint_line
from app_server.storage.postgres.writer import PostgresWriter

_OWNER: Final = "SELECT owner FROM leases WHERE tenant = $1 AND thread_id = $2 AND expires > clock_timestamp()"
_OWNERLESS: Final = """
SELECT thread_id FROM leases
WHERE tenant = $1 AND owner <> $2 AND expires <= clock_timestamp() AND last_seq IS NOT NULL
ORDER BY expires LIMIT $3
"""


class PostgresCluster:
    """`Cluster` of one tenant."""

    def __init__(
        self, database: PostgresDatabase, writer: PostgresWriter, hearing: Hearing, *, replica: str, tenant: str
    ) -> None:
        self._database = database
        self._writer = writer
        self._hearing = hearing
        self._replica = replica
        self._tenant = tenant

    @property
    def replica(self) -> str:
        return self._replica

    def listen(self, hear: Callable[[Hint], None]) -> None:
        self._hearing.listen(self._tenant, hear)

    def tell(self, hint: Hint) -> None:
        if (line := hint_line(self._tenant, hint)) is not None:
            self._writer.tell(line)

    async def owner(self, thread_id: str) -> str | None:
        values = (self._tenant, thread_id)
        found: str | None = await self._database.run(
            lambda connection: connection.fetchval(_OWNER, *values), repeatable=True
        )
        return found

    async def ownerless(self, limit: int) -> list[str]:
        values = (self._tenant, self._replica, limit)
        rows = await self._database.run(lambda connection: connection.fetch(_OWNERLESS, *values), repeatable=True)
        return [thread_id for (thread_id,) in rows]

    async def post(self, kind: LetterKind, thread_id: str, body: Mapping[str, Any]) -> str:
        letter_id: str = await self._writer.run(letters.Post(self._tenant, uuid7(), kind, thread_id, body))
        return letter_id

    async def waiting(self, kind: LetterKind, thread_id: str) -> list[Letter]:
        return await letters.waiting(self._database, self._tenant, kind, thread_id)

    async def look(self, letter_id: str) -> Letter | None:
        return await letters.look(self._database, self._tenant, letter_id)

    async def take(self, letter_id: str) -> bool:
        taken: bool = await self._writer.run(letters.take(self._tenant, letter_id, self._replica))
        return taken

    async def answer(self, letter_id: str, answer: Mapping[str, Any]) -> bool:
        first: bool = await self._writer.run(letters.answer(self._tenant, letter_id, answer))
        return first

    async def remove(self, letter_id: str) -> None:
        await self._writer.run(letters.remove(self._tenant, letter_id))
