"""The seam of limits: places that a tenant takes, counted over all processes that share its storage.

| kind | a place lasts until it is given back, or | counted beside |
|---|---|---|
| threads | its process is gone | the tenant's stored threads; a place with a stored thread's id is that thread |
| turns, connections | its process is gone | – |
| pictures | 24 hours have passed | – |

`take` is all or nothing, and exact however many ask at once. Every storage has one (one contract suite); who sets how
much is too much, and says so, is `tenants/limits.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, Protocol

from app_server.values import frozen

PlaceKind = Literal["threads", "turns", "connections", "pictures"]
DAY_MS: Final = 24 * 60 * 60 * 1000


@frozen
class Full:
    """There is not so much room."""

    used: int
    """Places that are taken."""
    free_in_ms: int | None = None
    """When there will be, where time alone makes room."""


class Places(Protocol):
    """What one tenant has taken."""

    async def take(self, kind: PlaceKind, keys: Sequence[str], limit: int) -> Full | None:
        """A place for each key, all of them or none; None: they are taken. A key that has one keeps it.

        Not cancelled in between: raised means not taken. Raises StorageError."""
        ...

    async def give_back(self, kind: PlaceKind, keys: Sequence[str]) -> None:
        """These are free again; what is gone is no matter. Raises StorageError."""
        ...


def free_in_ms(ends_ms: Iterable[int], wanted: int, limit: int, now_ms: int) -> int | None:
    """When so many more fit, as places end by themselves at these times; None: never, for more are asked for."""
    ends = sorted(ends_ms)
    too_many = len(ends) + wanted - limit
    return max(ends[too_many - 1] - now_ms, 1) if wanted <= limit and 0 < too_many <= len(ends) else None
