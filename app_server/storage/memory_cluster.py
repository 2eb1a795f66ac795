"""Replicas of a server in one process, over one `MemoryStorageWorld`: for tests of what replicas do with each other.

Hints come in the order in which they were told, in a later round of the event loop. A replica that was killed hears and
tells nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import anyio

from app_server.ids import uuid7
from app_server.storage.base import LOCAL_TENANT, Storage
from app_server.storage.cluster import Hint, Letter, LetterKind
from app_server.storage.memory import MemoryProcess, MemoryStorageWorld
from app_server.storage.memory_blobs import MemoryBlobStore
from app_server.storage.rules import decode_json, encode_json
from app_server.storage.tenancy import TenantLeases, TenantLog


class MemoryReplica:
    """The `StorageSource` of one replica."""

    def __init__(self, world: MemoryStorageWorld, process: MemoryProcess, storage: Storage) -> None:
        self._world, self._process, self._storage = world, process, storage

    @property
    def replica(self) -> str:
        return self._process.owner

    def storage(self, tenant: str) -> Storage:
        blobs = self._storage.blobs
        if tenant != LOCAL_TENANT:
            blobs = MemoryBlobStore(MemoryProcess(self._world.apart(tenant)))
        return replace(
            self._storage,
            blobs=blobs,
            log=TenantLog(self._storage.log, tenant),
            leases=TenantLeases(self._storage.leases, tenant),
            cluster=MemoryCluster(self._world, self._process, tenant),
            places=lambda: self._process.places(tenant),
        )

    async def run(self) -> None:
        await anyio.sleep_forever()

    async def abandoned(self) -> list[str]:
        world = await self._process.world()
        gone = [
            tenant
            for (tenant, _), held in world.leases.items()
            if held.owner is not None and held.owner not in world.live_owners
        ]
        return sorted(set(gone))

    def drain(self) -> None:
        self._process.draining = True

    async def aclose(self) -> None:
        await self._storage.aclose()


class MemoryCluster:
    """`Cluster` in dictionaries; letters pass through JSON, as they would through a database."""

    def __init__(self, world: MemoryStorageWorld, process: MemoryProcess, tenant: str) -> None:
        self._world, self._process, self._tenant = world, process, tenant

    @property
    def replica(self) -> str:
        return self._process.owner

    def listen(self, hear: Callable[[Hint], None]) -> None:
        loop = asyncio.get_running_loop()
        self._world.listeners.append((self.replica, self._tenant, lambda hint: loop.call_soon(hear, hint)))

    def tell(self, hint: Hint) -> None:
        self._world.tell(self.replica, self._tenant, hint)

    async def owner(self, thread_id: str) -> str | None:
        world = await self._process.world()
        held = world.leases.get((self._tenant, thread_id))
        return held.owner if held is not None and held.owner in world.live_owners else None

    async def ownerless(self, limit: int) -> list[str]:
        world = await self._process.world()
        return [
            thread_id
            for (tenant, thread_id), held in world.leases.items()
            if tenant == self._tenant and held.owner is not None and held.owner not in world.live_owners
        ][:limit]

    async def post(self, kind: LetterKind, thread_id: str, body: Mapping[str, Any]) -> str:
        letters, letter_id = await self._letters(), uuid7()
        letters[letter_id] = Letter(letter_id=letter_id, kind=kind, thread_id=thread_id, body=_copied(body))
        self.tell(Hint(kind="letter", thread_id=thread_id, key=letter_id, data={"kind": kind}))
        return letter_id

    async def waiting(self, kind: LetterKind, thread_id: str) -> list[Letter]:
        letters = await self._letters()
        return [
            letter
            for letter in letters.values()
            if (letter.kind, letter.thread_id, letter.taken_by, letter.answer) == (kind, thread_id, None, None)
        ]

    async def look(self, letter_id: str) -> Letter | None:
        return (await self._letters()).get(letter_id)

    async def take(self, letter_id: str) -> bool:
        letters = await self._letters()
        letter = letters.get(letter_id)
        if letter is None or letter.taken_by is not None or letter.answer is not None:
            return False
        letters[letter_id] = replace(letter, taken_by=self.replica)
        return True

    async def answer(self, letter_id: str, answer: Mapping[str, Any]) -> bool:
        letters = await self._letters()
        letter = letters.get(letter_id)
        if letter is None or letter.answer is not None:
            return False
        letters[letter_id] = replace(letter, answer=_copied(answer))
        self.tell(Hint(kind="answered", thread_id=letter.thread_id, key=letter_id))
        return True

    async def remove(self, letter_id: str) -> None:
        (await self._letters()).pop(letter_id, None)

    async def _letters(self) -> dict[str, Letter]:
        return (await self._process.world()).letters.setdefault(self._tenant, {})


def _copied(value: Mapping[str, Any]) -> dict[str, Any]:
    return decode_json("A letter", encode_json("A letter", dict(value)))
