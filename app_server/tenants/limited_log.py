"""A `ThreadLog` that asks for room before a thread is made. For a tenant's stored threads, and for its ephemeral ones.

A stored thread counts by itself, so its place is needed only until it is there; an ephemeral one keeps its place until
it is unloaded, which removes it from its log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app_server.storage.base import Lease, Record, Storage, ThreadLog, ThreadRow
    from app_server.tenants.limits import Held, TenantLimits


def limited(stored: Storage, ephemeral: Storage, limits: TenantLimits) -> tuple[Storage, Storage]:
    """The storages of a tenant's threads, which are counted when they are made."""
    logs = LimitedLog(stored.log, limits, stored=True), LimitedLog(ephemeral.log, limits, stored=False)
    return replace(stored, log=logs[0]), replace(ephemeral, log=logs[1])


class LimitedLog:
    """`stored`: the log is that of the storage which counts its threads; else nobody else counts them."""

    def __init__(self, log: ThreadLog, limits: TenantLimits, *, stored: bool) -> None:
        self._log, self._limits, self._stored = log, limits, stored
        self._held: dict[str, Held] = {}
        self.append, self.read, self.row = log.append, log.read, log.row
        self.page, self.pictures, self.aclose = log.page, log.pictures, log.aclose

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        """Raises TenantLimit, and as the log itself."""
        held = await self._limits.thread(row.thread_id)
        try:
            made = await self._log.create(row, records)
            if not self._stored:
                self._held[row.thread_id] = held
        finally:
            if row.thread_id not in self._held:
                await held.free()
        return made

    async def delete(self, lease: Lease) -> None:
        """As the log itself."""
        await self._log.delete(lease)
        if (held := self._held.pop(lease.thread_id, None)) is not None:
            await held.free()
