"""The wall between tenants of one engine: a log and leases that know one tenant only, whatever they are asked.

A row that goes in becomes the tenant's, a query asks for the tenant's, and a lease of another tenant is refused. Used
by sources whose tenants share tables; where a tenant has a folder of its own, the folder is the wall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from app_server.storage.base import (
    LOCAL_TENANT,
    Lease,
    LeaseManager,
    PictureQuery,
    PictureRow,
    Record,
    StorageError,
    ThreadLog,
    ThreadPage,
    ThreadQuery,
    ThreadRow,
)


class TenantLog:
    """A `ThreadLog` of one tenant. Closing it closes nothing: the engine is the source's."""

    def __init__(self, log: ThreadLog, tenant: str) -> None:
        self._log, self._tenant = log, tenant

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        return await self._log.create(self._ours(row), records)

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        ours = None if row is None else self._ours(row)
        return await self._log.append(checked(lease, self._tenant), records, row=ours)

    async def read(
        self, thread_id: str, *, tenant: str = LOCAL_TENANT, after_seq: int = 0, limit: int | None = None
    ) -> list[Record]:
        return await self._log.read(thread_id, tenant=self._tenant, after_seq=after_seq, limit=limit)

    async def row(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> ThreadRow | None:
        return await self._log.row(thread_id, tenant=self._tenant)

    async def page(self, query: ThreadQuery) -> ThreadPage:
        return await self._log.page(replace(query, tenant=self._tenant))

    async def pictures(self, query: PictureQuery) -> list[PictureRow]:
        return await self._log.pictures(replace(query, tenant=self._tenant))

    async def delete(self, lease: Lease) -> None:
        await self._log.delete(checked(lease, self._tenant))

    async def aclose(self) -> None:
        pass

    def _ours(self, row: ThreadRow) -> ThreadRow:
        return row if row.tenant == self._tenant else replace(row, tenant=self._tenant)


class TenantLeases:
    """A `LeaseManager` of one tenant."""

    def __init__(self, leases: LeaseManager, tenant: str) -> None:
        self._leases, self._tenant = leases, tenant

    async def acquire(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> Lease:
        return await self._leases.acquire(thread_id, tenant=self._tenant)

    async def release(self, lease: Lease) -> None:
        await self._leases.release(checked(lease, self._tenant))

    async def abandon(self, lease: Lease) -> None:
        await self._leases.abandon(checked(lease, self._tenant))


def checked(lease: Lease, tenant: str) -> Lease:
    """The lease, if it is the tenant's. Raises StorageError."""
    if lease.tenant != tenant:
        raise StorageError(f"The lease of thread {lease.thread_id} is another tenant's; take one with this storage.")
    return lease
