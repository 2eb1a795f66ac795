"""Letters as rows: what replicas ask each other. Owns the statements on `letters`. Called by `cluster` and `source`.

All that changes a letter is a job of the writer, so that its hint is heard behind what was written before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from app_server.storage.cluster import Hint, Letter, LetterKind
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.hints import hint_line
from app_server.storage.rules import decode_json, encode_json

LETTER_LIFE_S: Final = 3600.0
"""A letter that was answered, a command, or one whose thread is gone is kept so long for whoever forgot it; a question
to people stays as long as its thread."""
_FRESH: Final = "clock_timestamp() - interval '1 minute'"
"""Nobody waits for a command that is older: its replica died, and what it asked for must not be done any more."""
_COLUMNS: Final = "letter_id, kind, thread_id, body, taken_by, answer"
_WAITING: Final = (
    f"SELECT {_COLUMNS} FROM letters WHERE tenant = $1 AND thread_id = $2 AND kind = $3 "
    f"AND taken_by IS NULL AND answer IS NULL AND (kind = 'question' OR touched_at > {_FRESH}) ORDER BY number"
)
_LOOK: Final = f"SELECT {_COLUMNS} FROM letters WHERE tenant = $1 AND letter_id = $2"
_POST: Final = "INSERT INTO letters (tenant, letter_id, kind, thread_id, body) VALUES ($1, $2, $3, $4, $5)"
_TAKE: Final = (
    "UPDATE letters SET taken_by = $3, touched_at = clock_timestamp() WHERE tenant = $1 AND letter_id = $2 "
    "AND taken_by IS NULL AND answer IS NULL RETURNING thread_id"
)
_ANSWER: Final = (
    "UPDATE letters SET answer = $3, touched_at = clock_timestamp() WHERE tenant = $1 AND letter_id = $2 "
    "AND answer IS NULL RETURNING thread_id"
)
_REMOVE: Final = "DELETE FROM letters WHERE tenant = $1 AND letter_id = $2 RETURNING thread_id"
_SWEEP: Final = """
DELETE FROM letters AS l WHERE l.touched_at < clock_timestamp() - make_interval(secs => $1::float8) AND (
    l.answer IS NOT NULL
    OR l.kind = 'command' -- whoever asked is gone: a live one takes back what nobody does
    OR NOT EXISTS (SELECT FROM threads AS t WHERE t.tenant = l.tenant AND t.thread_id = l.thread_id)
)
"""


class Post:
    """A new letter."""

    def __init__(self, tenant: str, letter_id: str, kind: LetterKind, thread_id: str, body: Mapping[str, Any]) -> None:
        encoded = encode_json(f"A letter for thread {thread_id}", dict(body))
        self._values = (tenant, letter_id, kind, thread_id, encoded)
        self._line = hint_line(tenant, Hint(kind="letter", thread_id=thread_id, key=letter_id, data={"kind": kind}))

    async def execute(self, connection: asyncpg.Connection) -> bool:
        await connection.execute(_POST, *self._values)
        return True

    def hints(self, answer: bool) -> tuple[str, ...]:
        return (self._line,) if self._line is not None else ()

    def result(self, answer: bool) -> str:
        return self._values[1]


class Change:
    """One statement on one letter; it answers with the thread's id where it found the letter as it should be."""

    def __init__(self, statement: str, *values: Any, tells: bool = False) -> None:
        self._statement, self._values, self._tells = statement, values, tells

    async def execute(self, connection: asyncpg.Connection) -> str | None:
        thread_id: str | None = await connection.fetchval(self._statement, *self._values)
        return thread_id

    def hints(self, answer: str | None) -> tuple[str, ...]:
        if answer is None or not self._tells:
            return ()
        tenant, letter_id, *_ = self._values
        line = hint_line(tenant, Hint(kind="answered", thread_id=answer, key=letter_id))
        return (line,) if line is not None else ()

    def result(self, answer: str | None) -> bool:
        return answer is not None


def take(tenant: str, letter_id: str, replica: str) -> Change:
    return Change(_TAKE, tenant, letter_id, replica)


def answer(tenant: str, letter_id: str, given: Mapping[str, Any]) -> Change:
    encoded = encode_json(f"The answer to letter {letter_id}", dict(given))
    return Change(_ANSWER, tenant, letter_id, encoded, tells=True)


def remove(tenant: str, letter_id: str) -> Change:
    return Change(_REMOVE, tenant, letter_id)


async def waiting(database: PostgresDatabase, tenant: str, kind: LetterKind, thread_id: str) -> list[Letter]:
    rows = await database.run(lambda connection: connection.fetch(_WAITING, tenant, thread_id, kind), repeatable=True)
    return [_letter(*row) for row in rows]


async def look(database: PostgresDatabase, tenant: str, letter_id: str) -> Letter | None:
    row = await database.run(lambda connection: connection.fetchrow(_LOOK, tenant, letter_id), repeatable=True)
    return None if row is None else _letter(*row)


async def sweep(database: PostgresDatabase, life_s: float = LETTER_LIFE_S) -> None:
    """Remove the letters that nobody can wait for any more. Raises StorageError."""
    await database.run(lambda connection: connection.execute(_SWEEP, life_s), repeatable=True)


def _letter(
    letter_id: str, kind: LetterKind, thread_id: str, body: bytes, taken_by: str | None, given: bytes | None
) -> Letter:
    what = f"Letter {letter_id}"
    return Letter(
        letter_id=letter_id,
        kind=kind,
        thread_id=thread_id,
        body=decode_json(what, body),
        taken_by=taken_by,
        answer=None if given is None else decode_json(what, given),
    )
