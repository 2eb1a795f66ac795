"""Pictures that a dead process saved and did not record: found again by their name, and made the thread's own.

A picture is on the disk, or in a storage without files, before the record of its item, so a process may die in between.
Whoever closes the item looks here first: what was paid for is kept, and nothing lies about that nobody knows. Called
when a thread is loaded.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from app_server.errors import AppServerError
from app_server.extension_api.services import CheckedPicture, PictureRejected
from app_server.observability.logging import get_logger
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.files import TEMPORARY, picture_name
from app_server.storage.base import BlobStore, PictureQuery, StorageError, ThreadLog
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.pictures.store import Saving

log = get_logger("pictures")
DAY_MS: Final = 24 * 60 * 60 * 1000
CLOCK_SLACK_MS: Final = 2000
"""How much older a file may look than the item for which it was made: disks round their times."""
_SUFFIX: Final = r"(?:-\d{1,4})?\.(?:png|jpe?g|webp|gif)"


@frozen
class Rescued:
    """A picture that was found, and where; `path` is None where the storage keeps no files."""

    picture: CheckedPicture
    path: Path | None


class PictureRescue:
    """Looks for the file of an item that was never completed."""

    def __init__(self, saving: Saving, log: ThreadLog, blobs: BlobStore, limits: PictureLimits | None = None) -> None:
        self._saving, self._log, self._blobs = saving, log, blobs
        self._limits = limits or PictureLimits()

    async def find(self, thread_id: str, item: Mapping[str, Any]) -> Rescued | None:
        """The picture of this open item, adopted for the thread; None when there is none. Never raises for a file."""
        if not self._blobs.keeps_files:
            return await self._put(thread_id, str(item["id"]))
        for path, picture in await anyio.to_thread.run_sync(self._candidates, thread_id, item):
            try:
                rows = await self._log.pictures(PictureQuery(limit=1000, sha256=picture.ref.sha256))
                if any(row.path == str(path) for row in rows):  # that of another item
                    continue
                await self._blobs.adopt(str(path), picture.ref, owner=thread_id, ours=True)
            except StorageError as error:
                log.warning("picture_not_rescued", thread_id=thread_id, item_id=item["id"], cause=error.message)
                return None
            return Rescued(picture=picture, path=path)
        return None

    async def _put(self, thread_id: str, item_id: str) -> Rescued | None:
        """What was put for this item, unless a finished item of the same id shows it already."""
        try:
            ref = await self._blobs.named(thread_id, item_id)
            if ref is None:
                return None
            if await self._log.pictures(PictureQuery(limit=1, thread_id=thread_id, item_id=item_id, sha256=ref.sha256)):
                return None
            data = await self._blobs.read(ref.sha256)
            picture = await anyio.to_thread.run_sync(check_picture, data, self._limits)
        except (StorageError, PictureRejected) as error:
            log.warning("picture_not_rescued", thread_id=thread_id, item_id=item_id, cause=str(error))
            return None
        return Rescued(picture=picture, path=None)

    def _candidates(self, thread_id: str, item: Mapping[str, Any]) -> list[tuple[Path, CheckedPicture]]:
        """Whole pictures that bear the item's name and are not older than it; in the order of their names."""
        begun_ms = int(item.get("startedAtMs") or 0)
        found: dict[Path, CheckedPicture] = {}
        for at_ms in (begun_ms, begun_ms + DAY_MS):
            *folders, stem = picture_name(
                self._saving.name_template,
                thread_id=thread_id,
                call_id=str(item["id"]),
                prompt=str(item.get("prompt") or ""),
                at_ms=at_ms,
            )
            folder = self._saving.root.joinpath(*folders)
            if thread_id in folders:
                _drop_unfinished(folder)
            for path in sorted(_named(folder, stem)):
                picture = self._picture(path, begun_ms - CLOCK_SLACK_MS)
                if picture is not None:
                    found[path] = picture
        return list(found.items())

    def _picture(self, path: Path, not_before_ms: int) -> CheckedPicture | None:
        try:
            status = path.lstat()
            if status.st_mtime_ns // 1_000_000 < not_before_ms or status.st_size > self._limits.max_bytes:
                return None
            return check_picture(path.read_bytes(), self._limits)
        except (OSError, PictureRejected, AppServerError):
            return None


def _named(folder: Path, stem: str) -> list[Path]:
    """Regular files of this name, with a number behind it or without."""
    pattern = re.compile(re.escape(stem) + _SUFFIX)
    try:
        with os.scandir(folder) as entries:
            return [Path(e.path) for e in entries if pattern.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    except OSError:
        return []


def _drop_unfinished(folder: Path) -> None:
    """Remove what a dead process was just writing; only this thread writes in its folder, and we hold its lease."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(TEMPORARY) and entry.is_file(follow_symlinks=False):
                    Path(entry.path).unlink(missing_ok=True)
    except OSError:
        return
