"""Pictures as objects of a store that all replicas share; the rows beside them tell whose they are.

    put      announce a row without owner ─► put the object ─► note the owner: a row with an owner has its object
    release  take the owners away ─► remove the objects that nobody has any more ─► remove their rows

Who dies in between leaves a row without owner, and a later release looks after it. No file of this machine is a blob:
`adopt` puts a copy of the file, which stays as it is. Called through the `BlobStore` protocol only.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import anyio.to_thread

from app_server.observability.logging import get_logger
from app_server.storage.base import StorageError
from app_server.storage.blob_names import name_part
from app_server.storage.rules import blob_altered, blob_missing, check_bytes, has_sha256, is_sha256

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

_PUTS: Final = 3
"""Tries to put an object that is removed again each time by who released it before."""
log = get_logger("storage")


class Objects(Protocol):
    """Bytes by key. All of it raises StorageError, bounded in time."""

    def place(self, key: str) -> str:
        """Where the object is, for people."""
        ...

    async def put(self, key: str, data: bytes, mime: str) -> None:
        """Whole or not at all, over what is there."""
        ...

    async def get(self, key: str) -> bytes | None:
        """The bytes, or None when there is no such object."""
        ...

    async def exists(self, key: str) -> bool: ...

    async def remove(self, key: str) -> None:
        """Removing what is not there does nothing."""
        ...

    async def url(self, key: str, life_s: int) -> str | None:
        """An address that shows the object for so long; None where the store has none."""
        ...


class BlobRows(Protocol):
    """Facts and owners; `storage/postgres/blobs.py` says more."""

    async def announce(self, ref: PictureRef) -> None: ...

    async def own(
        self, ref: PictureRef, owner: str, name: str | None, is_there: Callable[[], Awaitable[bool]]
    ) -> bool: ...

    async def remove_unowned(self, sha256: str, remove: Callable[[], Awaitable[None]]) -> bool: ...

    async def ref(self, sha256: str) -> PictureRef | None: ...

    async def named(self, owner: str, name: str) -> PictureRef | None: ...

    async def share(self, owner: str, new_owner: str) -> None: ...

    async def release(self, owner: str) -> list[str]: ...

    async def release_picture(self, owner: str, sha256: str, name: str | None) -> list[str]: ...

    async def left_behind(self) -> list[str]: ...

    async def named_bytes(self) -> int: ...

    async def kept_bytes(self) -> int: ...


class ObjectBlobStore:
    """`BlobStore` over objects, of one tenant."""

    keeps_files = False

    def __init__(self, objects: Objects, rows: BlobRows, tenant: str) -> None:
        self._objects, self._rows, self._folder = objects, rows, name_part(tenant)

    async def put(self, data: bytes, ref: PictureRef, *, owner: str, name: str | None = None) -> PictureRef:
        await anyio.to_thread.run_sync(check_bytes, data, ref)
        key = self._key(ref.sha256)
        for _ in range(_PUTS):
            await self._rows.announce(ref)
            await self._objects.put(key, data, ref.mime)
            if await self._rows.own(ref, owner, name, lambda: self._objects.exists(key)):
                return ref
        raise StorageError(f"Picture {ref.sha256} was removed again while it was stored; store it once more.")

    async def named(self, owner: str, name: str) -> PictureRef | None:
        return await self._rows.named(owner, name)

    async def url(self, sha256: str, life_s: int) -> str | None:
        return await self._objects.url(self._key(sha256), life_s) if is_sha256(sha256) else None

    async def adopt(self, path: str, ref: PictureRef, *, owner: str, ours: bool = False) -> PictureRef:
        """A copy of the file becomes the blob, under the file's name without its suffix; the file stays as it is."""
        data = await anyio.to_thread.run_sync(_read_file, Path(path), ref.sha256)
        return await self.put(data, ref, owner=owner, name=Path(path).stem)

    async def read(self, sha256: str) -> bytes:
        data = await self._objects.get(self._key(sha256)) if is_sha256(sha256) else None
        if data is None:
            raise blob_missing(sha256)
        if not await anyio.to_thread.run_sync(has_sha256, data, sha256):
            raise blob_altered(sha256, self._objects.place(self._key(sha256)))
        return data

    async def path(self, sha256: str) -> str | None:
        return None

    async def share(self, owner: str, new_owner: str) -> None:
        await self._rows.share(owner, new_owner)

    async def release(self, owner: str) -> tuple[str, ...]:
        """Returns the places of the objects that are gone, as people may read them."""
        return await self._remove(await self._rows.release(owner))

    async def release_picture(self, owner: str, sha256: str, path: str | None = None) -> tuple[str, ...]:
        """`path`: the name under which it was put; where the picture has no such name, all of `owner` goes."""
        return await self._remove(await self._rows.release_picture(owner, sha256, path))

    async def ref(self, sha256: str) -> PictureRef | None:
        return await self._rows.ref(sha256) if is_sha256(sha256) else None

    async def adopted_bytes(self) -> int:
        return await self._rows.named_bytes()

    async def kept_bytes(self) -> int:
        return await self._rows.kept_bytes()

    async def _remove(self, unowned: Iterable[str]) -> tuple[str, ...]:
        """Remove objects without owner, and some that others left behind. What the store refuses is left for later."""
        removed = []
        try:
            for sha256 in dict.fromkeys([*unowned, *await self._rows.left_behind()]):
                key = self._key(sha256)
                if await self._rows.remove_unowned(sha256, partial(self._objects.remove, key)):
                    removed.append(self._objects.place(key))
        except StorageError as error:
            log.warning("objects_left_behind", cause=error.message)
        return tuple(removed)

    def _key(self, sha256: str) -> str:
        return f"{self._folder}/{sha256[:2]}/{sha256}"


def _read_file(path: Path, sha256: str) -> bytes:
    try:
        data = Path(os.path.abspath(path)).read_bytes()
    except OSError:
        raise blob_missing(sha256) from None
    if not has_sha256(data, sha256):
        raise blob_altered(sha256, str(path))
    return data
