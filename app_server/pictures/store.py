"""Owns where pictures lie: saves generated ones in their folder, hands bytes to the blob store, reads both back.

It never scales or re-encodes a picture and never writes over a file. `bootstrap` builds one per process and gives it to
extensions as `Pictures`; turns use it for attachments and hosted pictures.

    <home>/generated_images/<thread>/<call>.png      the file IS the blob; `-2`, `-3` … when the name is taken
    <save_dir>/<name_template>.png                   where the settings say so
    the blob store, under the item's id              where the storage keeps no files
"""

from __future__ import annotations

import base64
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import anyio
import anyio.to_thread

from app_server.clock import Clock, SystemClock
from app_server.extension_api.services import CheckedPicture, PictureRejected, PictureRoom, SavedPicture
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.files import picture_name, write_new
from app_server.pictures.quota import over_quota
from app_server.pictures.scale import thumbnail_url
from app_server.storage.base import BlobStore, StorageError
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

FOLDER: Final = "generated_images"
DECODERS: Final = 2
"""Pictures looked at or written at one time: each may take 400 MB while it is decoded."""
SAVE_BOUND_S: Final = 30.0
"""A save that has begun is ended even when its turn is interrupted, but not for longer than this."""

T = TypeVar("T")


def data_url(ref: PictureRef, data: bytes) -> str:
    """The picture as a `data:` URL, for a model or for a client that takes it inline."""
    return f"data:{ref.mime};base64,{base64.b64encode(data).decode('ascii')}"


class Allowance(Protocol):
    """How many pictures a tenant may have; `tenants/limits.TenantLimits` has this shape."""

    async def pictures(self, count: int) -> PictureRoom: ...

    async def space(self) -> None: ...


class AnyRoom:
    """The `PictureRoom` where nobody counts."""

    async def leave(self, unspent: int) -> None:
        """Nothing was counted."""


@frozen
class Saving:
    """Where generated pictures go, how they are called, and how much of them there may be (0: any)."""

    root: Path
    name_template: str = "{thread}/{call}"
    quota_bytes: int = 0


class PictureStore:
    """The `Pictures` of `extension_api/services.py` over a BlobStore."""

    def __init__(
        self,
        home: Path,
        blobs: BlobStore,
        limits: PictureLimits | None = None,
        *,
        saving: Saving | None = None,
        clock: Clock | None = None,
        allowance: Allowance | None = None,
        within: Sequence[Path] | None = None,
    ) -> None:
        """`within`: the only folders in which a file of somebody's choice is read; None: it may lie anywhere."""
        self._blobs, self._limits = blobs, limits or PictureLimits()
        self._saving, self._clock = saving or Saving(root=home / FOLDER), clock or SystemClock()
        self._allowance, self._within = allowance, within
        self._limiter = anyio.CapacityLimiter(DECODERS)

    async def check(self, data: bytes) -> CheckedPicture:
        """Type by magic number, dimensions, alpha, limits. Raises PictureRejected."""
        return await self._in_thread(lambda: check_picture(data, self._limits))

    async def require_room(self, count: int = 1) -> PictureRoom:
        """Ask before pictures are paid for. Raises PictureRejected at or above the quota, with what to do.

        Raises PicturesUsedUp when the allowance is used up."""
        if quota_bytes := self._saving.quota_bytes:
            why = over_quota(await self._blobs.adopted_bytes(), quota_bytes)
            if why is not None:
                raise PictureRejected(why)
        return AnyRoom() if self._allowance is None else await self._allowance.pictures(count)

    async def save_generated(
        self, picture: CheckedPicture, *, thread_id: str, call_id: str, prompt: str = ""
    ) -> SavedPicture:
        """Save as the settings name it and make the file the blob: mode 0600, atomic, never over another file.

        Where the storage keeps no files, it is put under the id of its call. The quota is not asked: what was paid for
        is kept.

        Raises:
            OSError: the picture could not be written or registered, or it took too long.
        """
        if not self._blobs.keeps_files:
            with anyio.fail_after(SAVE_BOUND_S, shield=True):
                return SavedPicture(ref=await self._put(picture, thread_id, call_id), path=None)
        now_ms = self._clock.now_ms()
        name = picture_name(
            self._saving.name_template, thread_id=thread_id, call_id=call_id, prompt=prompt, at_ms=now_ms
        )
        with anyio.fail_after(SAVE_BOUND_S, shield=True):
            path = await self._in_thread(lambda: write_new(self._saving.root, name, picture.suffix, picture.data))
            try:
                ref = await self._blobs.adopt(str(path), picture.ref, owner=thread_id, ours=True)
            except StorageError as error:
                await self._in_thread(lambda: path.unlink(missing_ok=True))
                raise OSError(error.message) from error
        return SavedPicture(ref=ref, path=path)

    async def keep(self, picture: CheckedPicture, *, thread_id: str, paid: bool = False) -> PictureRef:
        """Store bytes that have no file of their own. Raises OSError when the store refuses them.

        Raises PicturesUsedUp when the allowance is used up, unless they are paid for."""
        if self._allowance is not None and not paid:
            await self._allowance.space()
        return await self._put(picture, thread_id)

    async def thumbnail(self, data: bytes, *, max_bytes: int = 24 * 1024) -> str | None:
        """A small data URL of a picture, or None when the bytes are no picture."""
        return await self._in_thread(lambda: thumbnail_url(data, max_bytes))

    async def read(self, ref: PictureRef) -> bytes:
        """The stored bytes, checked against their sha256. Raises PictureRejected when they are gone or altered."""
        try:
            return await self._blobs.read(ref.sha256)
        except StorageError as error:
            raise PictureRejected(f"a stored picture can no longer be used: {error.message}") from error

    async def path_of(self, ref: PictureRef) -> str | None:
        """A file on this machine that holds the stored bytes, or None."""
        return await self._blobs.path(ref.sha256)

    async def read_stored(self, sha256: str) -> CheckedPicture:
        """A picture that the store knows. Raises PictureRejected when it does not, or when the bytes are gone."""
        try:
            ref = await self._blobs.ref(sha256)
        except StorageError as error:
            raise PictureRejected(f"the stored pictures cannot be read: {error.message}") from error
        if ref is None:
            raise PictureRejected("no stored picture has this sha256; send the picture itself as a data URL")
        return await self.check(await self.read(ref))

    async def read_file(self, path: Path) -> CheckedPicture:
        """A picture file of the user, unscaled. Raises PictureRejected with the path and the cause."""
        return await self._in_thread(lambda: _read_file(path, self._limits, self._within))

    async def _put(self, picture: CheckedPicture, thread_id: str, name: str | None = None) -> PictureRef:
        try:
            return await self._blobs.put(picture.data, picture.ref, owner=thread_id, name=name)
        except StorageError as error:
            raise OSError(error.message) from error

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _read_file(path: Path, limits: PictureLimits, within: Sequence[Path] | None) -> CheckedPicture:
    if within is not None and not _lies_in(path, within):
        raise _unreadable(path, "files of this machine are not read; send the picture itself")
    data = _read_bytes(path, limits.max_bytes)
    try:
        return check_picture(data, limits)
    except PictureRejected as error:
        raise PictureRejected(f"unable to use the picture at `{path}`: {error}") from error


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file; at most one over the cap, for the check to refuse."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # asked before opening: a pipe would block
            raise _unreadable(path, "it is a folder or a device; give the path of a picture file")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise _unreadable(path, "there is no such file; check the path") from error
    except PermissionError as error:
        raise _unreadable(path, "this server may not read it; change its permissions or give a copy") from error
    except OSError as error:
        raise _unreadable(path, f"{error.strerror or 'the disk refused'}; give another path") from error
    except ValueError as error:  # a NUL or a lone surrogate
        raise _unreadable(path, "no file can have this name; check the path") from error


def _lies_in(path: Path, folders: Sequence[Path]) -> bool:
    """Whether the file itself, behind every link, is below one of the folders; what cannot be looked up is not."""
    try:
        real = path.resolve()
        return any(real.is_relative_to(folder.resolve()) for folder in folders)
    except (OSError, ValueError, RuntimeError):
        return False


def _unreadable(path: Path, cause: str) -> PictureRejected:
    return PictureRejected(f"unable to read the picture at `{path}`: {cause}")
