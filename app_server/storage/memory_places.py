"""`Places` in dictionaries, for the memory storage and for replicas over one `MemoryStorageWorld`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app_server.storage.places import DAY_MS, Full, PlaceKind, free_in_ms

if TYPE_CHECKING:
    from app_server.storage.memory import MemoryProcess, MemoryStorageWorld


class MemoryPlaces:
    """The places of one tenant, as one process takes them."""

    def __init__(self, process: MemoryProcess, tenant: str) -> None:
        self._process, self._tenant = process, tenant

    async def take(self, kind: PlaceKind, keys: Sequence[str], limit: int) -> Full | None:
        world = await self._process.world()
        now_ms = world.clock.now_ms()
        taken = {key: at_ms for key, at_ms in self._taken(world, kind, now_ms).items() if key not in keys}
        if len(taken) + len(keys) > limit:
            ends = [at_ms + DAY_MS for at_ms in taken.values()] if kind == "pictures" else []
            return Full(used=len(taken), free_in_ms=free_in_ms(ends, len(keys), limit, now_ms))
        for key in keys:
            world.places.setdefault((self._tenant, kind, key), (self._process.owner, now_ms))
        return None

    async def give_back(self, kind: PlaceKind, keys: Sequence[str]) -> None:
        world = await self._process.world()
        for key in keys:
            world.places.pop((self._tenant, kind, key), None)

    def _taken(self, world: MemoryStorageWorld, kind: PlaceKind, now_ms: int) -> dict[str, int]:
        """When each that counts was taken; those that do not any more are forgotten."""
        for place, (owner, at_ms) in list(world.places.items()):
            lasts = at_ms + DAY_MS > now_ms if place[1] == "pictures" else owner in world.live_owners
            if not lasts:
                del world.places[place]
        taken = {
            key: at_ms for (tenant, of, key), (_, at_ms) in world.places.items() if (tenant, of) == (self._tenant, kind)
        }
        if kind == "threads":
            taken |= {thread_id: now_ms for tenant, thread_id in world.threads if tenant == self._tenant}
        return taken
