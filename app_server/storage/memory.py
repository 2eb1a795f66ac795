"""Storage that is gone with the process: for embedding, for threads that shall leave no trace, and for tests.

A `MemoryStorageWorld` is what a disk is to the local storage: several "processes" may share one, each a `Storage`
with an owner of its own, and one of them may be killed to see its leases taken over. Data passes through JSON, so
that nobody holds the log's own objects. Made by `storage/registry.py`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint_if_cancelled

from app_server.clock import Clock, SystemClock
from app_server.ids import uuid7
from app_server.storage.base import (
    LOCAL_TENANT,
    Lease,
    PictureQuery,
    PictureRow,
    Record,
    Storage,
    ThreadPage,
    ThreadQuery,
    ThreadRow,
)
from app_server.storage.cluster import Hint, Letter
from app_server.storage.memory_blobs import MemoryBlobStore
from app_server.storage.picture_index import picture_matches, picture_row, removed_item
from app_server.storage.rules import (
    check_row,
    decode_json,
    draining,
    encode_json,
    encode_record,
    lease_held,
    lease_lost,
    search_matches,
    storage_closed,
    thread_exists,
    thread_unknown,
)
from app_server.values import field, slotted

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef
    from app_server.storage.memory_cluster import MemoryReplica
    from app_server.storage.memory_places import MemoryPlaces

_Key = tuple[str, str]
"""tenant, thread id"""

_SORT_VALUES = {
    "created_at": attrgetter("created_at_ms", "thread_id"),
    "updated_at": attrgetter("updated_at_ms", "thread_id"),
    "recency_at": attrgetter("recency_at_ms", "thread_id"),
}


@slotted()
class _Held:
    owner: str | None
    epoch: int


@slotted()
class _Thread:
    row: ThreadRow
    meta: bytes
    records: list[tuple[Record, bytes]] = field(default_factory=list)
    """Each record without its data, and its data as JSON."""
    pictures: list[PictureRow] = field(default_factory=list)


class MemoryStorageWorld:
    """What several wirings share. Files are removed only below `home`; `keeps_files` False: no file is a blob."""

    def __init__(self, *, home: Path | None = None, clock: Clock | None = None, keeps_files: bool = True) -> None:
        self.home, self.keeps_files = home and Path(os.path.abspath(home)), keeps_files
        self.clock = clock or SystemClock()
        self.threads: dict[_Key, _Thread] = {}
        self.leases: dict[_Key, _Held] = {}
        self.blobs: dict[tuple[str, str | None], bytes] = {}
        """By sha256 and path; bytes that were put have no path, or `NAMED` and the name of an item."""
        self.refs: dict[str, PictureRef] = {}
        self.our_files: dict[str, int] = {}
        """Adopted files that this server made, with their size."""
        self.blob_owners: defaultdict[str, set[tuple[str, str | None]]] = defaultdict(set)
        self.live_owners: set[str] = set()
        self._apart: dict[str, MemoryStorageWorld] = {}
        self.places: dict[tuple[str, str, str], tuple[str, int]] = {}
        """What tenants have taken: by tenant, kind and key, who took it and when."""
        self.letters: dict[str, dict[str, Letter]] = {}
        """By tenant and id."""
        self.listeners: list[tuple[str, str, Callable[[Hint], object]]] = []
        """Replica, tenant, and what takes a hint."""

    def replica(self) -> MemoryReplica:
        """A process that shares the world with others as replicas of one server do."""
        from app_server.storage.memory_cluster import MemoryReplica

        process = MemoryProcess(self)
        return MemoryReplica(self, process, self._storage(process))

    def process(self) -> Storage:
        """A wiring with an owner of its own."""
        return self._storage(MemoryProcess(self))

    def _storage(self, process: MemoryProcess) -> Storage:
        return Storage(
            log=MemoryThreadLog(process),
            blobs=MemoryBlobStore(process),
            leases=MemoryLeaseManager(process),
            places=lambda: process.places(LOCAL_TENANT),
        )

    def apart(self, tenant: str) -> MemoryStorageWorld:
        """Where the pictures of a tenant are, and those of no other."""
        if tenant not in self._apart:
            self._apart[tenant] = MemoryStorageWorld(home=self.home, clock=self.clock, keeps_files=self.keeps_files)
        return self._apart[tenant]

    def kill(self, owner: str) -> None:
        """That process is dead: its leases may be taken over, and what it still sends is fenced off from then on."""
        self.live_owners.discard(owner)

    def tell(self, replica: str, tenant: str, hint: Hint) -> None:
        """Let the other replicas hear a hint of this one."""
        if replica in self.live_owners:
            for other, listening, hear in self.listeners:
                if listening == tenant and other != replica and other in self.live_owners:
                    hear(hint)


class MemoryProcess:
    """One wiring's view of the world: its owner, whether it takes leases, and whether it is closed."""

    def __init__(self, world: MemoryStorageWorld) -> None:
        self.owner = uuid7()
        self._world, self.keeps_files = world, world.keeps_files
        self.draining = False
        self._closed = False
        world.live_owners.add(self.owner)

    async def world(self) -> MemoryStorageWorld:
        """The world, for one operation that does not await any more: so operations never interleave."""
        await checkpoint_if_cancelled()
        if self._closed:
            raise storage_closed()
        return self._world

    def places(self, tenant: str) -> MemoryPlaces:
        """What a tenant takes in this process."""
        from app_server.storage.memory_places import MemoryPlaces

        return MemoryPlaces(self, tenant)

    def close(self) -> None:
        self._closed = True
        self._world.kill(self.owner)
        for held in self._world.leases.values():
            if held.owner == self.owner:
                held.owner = None


class MemoryThreadLog:
    """`ThreadLog` in dictionaries."""

    def __init__(self, process: MemoryProcess) -> None:
        self._process = process

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        world, key = await self._process.world(), (row.tenant, row.thread_id)
        if key in world.threads:
            raise thread_exists(row.thread_id)
        thread = _Thread(row, _encode_meta(row))
        _extend(thread, records, world.clock)
        lease = _take_lease(world, self._process, row.tenant, row.thread_id)
        world.threads[key] = thread
        return lease, len(thread.records)

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        world = await self._process.world()
        if row is not None:
            check_row(row, lease)
        _require_lease(world, lease)
        thread = world.threads.get((lease.tenant, lease.thread_id))
        if thread is None:
            raise thread_unknown(lease.thread_id)
        meta = None if row is None else _encode_meta(row)
        _extend(thread, records, world.clock)
        if row is not None and meta is not None:
            thread.row, thread.meta = row, meta
        grown = Hint(kind="records", thread_id=lease.thread_id, seq=len(thread.records))
        world.tell(self._process.owner, lease.tenant, grown)
        return len(thread.records)

    async def read(
        self, thread_id: str, *, tenant: str = LOCAL_TENANT, after_seq: int = 0, limit: int | None = None
    ) -> list[Record]:
        world = await self._process.world()
        thread = world.threads.get((tenant, thread_id))
        found = thread.records[after_seq:][:limit] if thread else []
        return [replace(record, data=decode_json(f"Record {record.seq}", data)) for record, data in found]

    async def row(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> ThreadRow | None:
        world = await self._process.world()
        thread = world.threads.get((tenant, thread_id))
        return None if thread is None else _read_row(thread)

    async def page(self, query: ThreadQuery) -> ThreadPage:
        world = await self._process.world()
        sort_value = _SORT_VALUES[query.sort_key]
        found = [thread for thread in world.threads.values() if _matches(query, thread.row)]
        found.sort(key=lambda thread: sort_value(thread.row), reverse=query.descending)
        if query.after is not None:
            after = query.after
            found = [t for t in found if (sort_value(t.row) < after if query.descending else sort_value(t.row) > after)]
        return ThreadPage(rows=tuple(map(_read_row, found[: query.limit])), has_more=len(found) > query.limit)

    async def pictures(self, query: PictureQuery) -> list[PictureRow]:
        world = await self._process.world()
        rows = [row for thread in world.threads.values() for row in thread.pictures if picture_matches(query, row)]
        return sorted(rows, key=attrgetter("place"), reverse=True)[: query.limit]

    async def delete(self, lease: Lease) -> None:
        world = await self._process.world()
        _require_lease(world, lease)
        world.threads.pop((lease.tenant, lease.thread_id), None)
        del world.leases[lease.tenant, lease.thread_id]

    async def aclose(self) -> None:
        self._process.close()


class MemoryLeaseManager:
    """`LeaseManager` in a dictionary that all processes of the world share."""

    def __init__(self, process: MemoryProcess) -> None:
        self._process = process

    async def acquire(self, thread_id: str, *, tenant: str = LOCAL_TENANT) -> Lease:
        return _take_lease(await self._process.world(), self._process, tenant, thread_id)

    async def release(self, lease: Lease) -> None:
        world = await self._process.world()
        held = world.leases.get((lease.tenant, lease.thread_id))
        if held == _Held(lease.owner, lease.epoch):
            held.owner = None

    async def abandon(self, lease: Lease) -> None:
        world = await self._process.world()
        held = world.leases.get((lease.tenant, lease.thread_id))
        if held == _Held(lease.owner, lease.epoch):
            held.owner = f"once {lease.owner}"


def _require_lease(world: MemoryStorageWorld, lease: Lease) -> None:
    if world.leases.get((lease.tenant, lease.thread_id)) != _Held(lease.owner, lease.epoch):
        raise lease_lost(lease)


def _take_lease(world: MemoryStorageWorld, process: MemoryProcess, tenant: str, thread_id: str) -> Lease:
    owner = process.owner
    if process.draining:
        raise draining()
    held = world.leases.setdefault((tenant, thread_id), _Held(None, 0))
    if held.owner != owner:
        if held.owner in world.live_owners:
            raise lease_held(thread_id)
        held.owner, held.epoch = owner, held.epoch + 1
    return Lease(thread_id=thread_id, tenant=tenant, owner=owner, epoch=held.epoch)


def _extend(thread: _Thread, records: Sequence[Record], clock: Clock) -> None:
    """All records or none: the first that cannot be encoded raises before anything is added."""
    first_seq = len(thread.records) + 1
    encoded = [encode_record(thread.row.thread_id, record) for record in records]
    for seq, (record, data) in enumerate(zip(records, encoded, strict=True), first_seq):
        at_ms = record.at_ms or clock.now_ms()
        thread.records.append((replace(record, data={}, seq=seq, at_ms=at_ms), data))
        row = picture_row(thread.row.thread_id, record, seq=seq, at_ms=at_ms, tenant=thread.row.tenant)
        if row is not None:
            thread.pictures.append(row)
        elif (removed := removed_item(record)) is not None:
            thread.pictures = [one for one in thread.pictures if (one.turn_id, one.item_id) != removed]


def _encode_meta(row: ThreadRow) -> bytes:
    return encode_json(f"The index row of thread {row.thread_id}", row.meta)


def _read_row(thread: _Thread) -> ThreadRow:
    return replace(thread.row, meta=decode_json(f"The index row of thread {thread.row.thread_id}", thread.meta))


def _matches(query: ThreadQuery, row: ThreadRow) -> bool:
    return (
        row.listed
        and row.tenant == query.tenant
        and row.archived == query.archived
        and (query.cwds is None or row.cwd in query.cwds)
        and (query.providers is None or row.model_provider in query.providers)
        and (query.sources is None or row.source in query.sources)
        and (query.search is None or search_matches(row.preview, row.name, query.search))
    )
