"""The seam of many replicas: what server processes that share a storage tell and ask each other, within one tenant.

A storage that one process has for itself has no `Cluster`. Rules that every implementation obeys (one contract suite):
- Rows are the truth, a hint is only a hint: it may be lost or come twice, and its reader looks at the rows.
- What one replica writes and tells is heard in that order by each of the others, never by itself.
- A letter is a row from when `post` returns until `remove`: it outlives the replica that wrote it.

    command    for the owner of a thread: who has the lease takes it, does it once, and answers it
    question   for the clients of a thread, wherever they are: the first answer counts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

from app_server.values import field, frozen

LEASE_TTL_S: Final = 10.0
"""How long a lease lives without a renewal, by the clock of the database; it is renewed at a third of it."""

LetterKind = Literal["command", "question"]
HintKind = Literal["records", "passing", "broadcast", "following", "letter", "answered", "lost", "again"]


@frozen
class Hint:
    """Something that another replica may want to look at.

    | kind | says |
    |---|---|
    | records | the thread's log has grown to `seq` |
    | passing | `data` is `{method, params}` for who follows the thread: running text, and what has no record |
    | broadcast | `data` is `{method, params}` for every client of the tenant |
    | following | the replica `key` has clients that follow the thread: let them have what is passing |
    | letter | the letter `key`, of the kind in `data["kind"]`, waits for the thread |
    | answered | the letter `key` has its answer |
    | lost | the lease of the thread is not ours any more: told by the storage itself, to its own process |
    | again | hints may have been missed: look at everything that is followed or awaited |
    """

    kind: HintKind
    thread_id: str = ""
    seq: int = 0
    key: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@frozen
class Letter:
    """A row that waits for an answer."""

    letter_id: str
    kind: LetterKind
    thread_id: str
    body: Mapping[str, Any]
    taken_by: str | None = None
    """The replica that does it; a command that was taken is not done by anybody else."""
    answer: Mapping[str, Any] | None = None


class Cluster(Protocol):
    """The other replicas, as one tenant sees them."""

    @property
    def replica(self) -> str:
        """The id of this process; it is the owner of its leases."""
        ...

    def listen(self, hear: Callable[[Hint], None]) -> None:
        """`StorageSource.run` calls `hear` on the event loop with each hint of the tenant; it must not wait."""
        ...

    def tell(self, hint: Hint) -> None:
        """Send a hint behind all that was written or told before; one over 7,000 bytes is left out. Nobody waits."""
        ...

    async def owner(self, thread_id: str) -> str | None:
        """The replica with the thread's lease, if that has not run out."""
        ...

    async def ownerless(self, limit: int) -> list[str]:
        """Threads whose owner did not give them back and did not renew its lease: somebody should take them over."""
        ...

    async def post(self, kind: LetterKind, thread_id: str, body: Mapping[str, Any]) -> str:
        """Write a letter and hint at it; returns its id."""
        ...

    async def waiting(self, kind: LetterKind, thread_id: str) -> list[Letter]:
        """The thread's letters that nobody has taken or answered, oldest first."""
        ...

    async def look(self, letter_id: str) -> Letter | None:
        """A letter as it stands, or None when it is not there any more."""
        ...

    async def take(self, letter_id: str) -> bool:
        """Make a letter ours to do; False when somebody was faster or it is gone."""
        ...

    async def answer(self, letter_id: str, answer: Mapping[str, Any]) -> bool:
        """Give the answer and hint at it; False when there is one already or the letter is gone: the first counts."""
        ...

    async def remove(self, letter_id: str) -> None:
        """Nobody waits for it any more. Removing what is gone does nothing."""
        ...
