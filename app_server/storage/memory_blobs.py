"""Pictures of a storage in memory: bytes in a dictionary, and adopted files where they are. Made by `memory.py`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from app_server.storage.rules import blob_altered, blob_missing, check_bytes, has_sha256

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef
    from app_server.storage.memory import MemoryProcess, MemoryStorageWorld

NAMED: Final = "\0"
"""In front of the name of an item, in place of a path: no path begins so."""


class MemoryBlobStore:
    """`BlobStore` in a dictionary; only adopted pictures have a file."""

    def __init__(self, process: MemoryProcess) -> None:
        self._process = process

    @property
    def keeps_files(self) -> bool:
        return self._process.keeps_files

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        world = await self._process.world()
        check_bytes(data, ref)
        blob = ref.sha256, None if name is None else NAMED + name
        world.blobs.pop(blob, None)  # the newest stands last
        world.blobs[blob] = data
        world.refs[ref.sha256] = ref
        world.blob_owners[owner].add(blob)
        return ref

    async def named(self, owner: str, name: str) -> PictureRef | None:
        world = await self._process.world()
        found = (blob for blob in reversed(world.blobs) if blob in world.blob_owners[owner])
        return next((world.refs[sha256] for sha256, path in found if path == NAMED + name), None)

    async def url(self, sha256: str, life_s: int) -> str | None:
        return None

    async def adopt(self, path: str, ref: PictureRef, *, owner: str, ours: bool = False) -> PictureRef:
        file = str(_absolute(path))
        data = await _read_file(file, ref.sha256)
        world = await self._process.world()
        if not world.keeps_files:
            return await self.put(data, ref, owner=owner, name=Path(file).stem)
        world.blobs[ref.sha256, file] = data
        world.refs[ref.sha256] = ref
        if ours:
            world.our_files[file] = ref.size_bytes
        world.blob_owners[owner].add((ref.sha256, file))
        return ref

    async def read(self, sha256: str) -> bytes:
        world = await self._process.world()
        for (known, path), data in world.blobs.items():
            if known == sha256 and (path is None or path.startswith(NAMED)):
                return data
        failure: Exception = blob_missing(sha256)
        for path in _paths(world, sha256):
            with suppress(FileNotFoundError):
                data = await anyio.Path(path).read_bytes()
                if has_sha256(data, sha256):
                    return data
                failure = blob_altered(sha256, path)
        raise failure

    async def path(self, sha256: str) -> str | None:
        world = await self._process.world()
        for path in _paths(world, sha256):
            if await anyio.Path(path).is_file():
                return path
        return None

    async def share(self, owner: str, new_owner: str) -> None:
        world = await self._process.world()
        world.blob_owners[new_owner] |= world.blob_owners[owner]

    async def release(self, owner: str) -> tuple[str, ...]:
        world = await self._process.world()
        return await _remove_unowned(world, world.blob_owners.pop(owner, set()))

    async def release_picture(self, owner: str, sha256: str, path: str | None = None) -> tuple[str, ...]:
        world = await self._process.world()
        owned = {blob for blob in world.blob_owners[owner] if blob[0] == sha256}
        named = {NAMED + path, str(_absolute(path))} if path is not None else set()
        chosen = {blob for blob in owned if blob[1] in named} or owned
        world.blob_owners[owner] -= chosen
        return await _remove_unowned(world, chosen)

    async def ref(self, sha256: str) -> PictureRef | None:
        world = await self._process.world()
        return world.refs[sha256] if any(known == sha256 for known, _ in world.blobs) else None

    async def adopted_bytes(self) -> int:
        world = await self._process.world()
        return sum(len(data) for (_, path), data in world.blobs.items() if path is not None)

    async def kept_bytes(self) -> int:
        world = await self._process.world()
        return sum(map(len, world.blobs.values()))


async def _remove_unowned(world: MemoryStorageWorld, owned: set[tuple[str, str | None]]) -> tuple[str, ...]:
    unowned = owned.difference(*world.blob_owners.values())
    for blob in unowned:
        world.blobs.pop(blob, None)
    used = {path for _, path in world.blobs}
    removed: list[str] = []
    for path in sorted({path for _, path in unowned if path is not None and not path.startswith(NAMED)} - used):
        with suppress(OSError):  # gone already
            in_home = world.home is not None and Path(path).is_relative_to(world.home)
            if in_home or (await anyio.Path(path).stat()).st_size == world.our_files.get(path):
                await anyio.Path(path).unlink()
                removed.append(path)
    return tuple(removed)


def _paths(world: MemoryStorageWorld, sha256: str) -> list[str]:
    found = (path for known, path in world.blobs if known == sha256 and path is not None)
    return sorted(path for path in found if not path.startswith(NAMED))


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))


async def _read_file(path: str, sha256: str) -> bytes:
    try:
        data = await anyio.Path(path).read_bytes()
    except FileNotFoundError:
        raise blob_missing(sha256) from None
    if not has_sha256(data, sha256):
        raise blob_altered(sha256, path)
    return data
