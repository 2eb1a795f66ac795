"""The generated pictures of all threads: in pages, by item, by sha256; and how one is removed for good.

It reads the index that the log keeps and writes through the thread's owner, so that what a removal changes stands in
the log. `methods/image.py` and the daily sweep call it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Literal

from app_server.storage import records as kinds
from app_server.storage.base import BlobStore, PictureQuery, PictureRow, Record, ThreadLog

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

Note = Callable[[str, Record], Awaitable[None]]
"""Appends a record to a thread, loaded or not. Raises AppServerError when somebody else writes the thread."""
Place = tuple[int, str, int]


class Gallery:
    """Pictures over one or more logs: the stored one, and that of ephemeral threads, which is asked by thread alone."""

    def __init__(self, log: ThreadLog, blobs: BlobStore, note: Note, *, ephemeral: ThreadLog) -> None:
        self._log, self._ephemeral, self._blobs, self._note = log, ephemeral, blobs, note

    async def page(self, *, limit: int, before: Place | None = None, thread_id: str | None = None) -> list[PictureRow]:
        """Pictures of a thread or of all stored ones, the newest first, older than `before`."""
        query = PictureQuery(limit=limit, before=before, thread_id=thread_id)
        if thread_id is None:
            return await self._log.pictures(query)
        return await self._everywhere(query)

    async def of_item(self, thread_id: str, item_id: str) -> PictureRow | None:
        """The newest picture that an item of this id shows."""
        rows = await self._everywhere(PictureQuery(limit=1, thread_id=thread_id, item_id=item_id))
        return rows[0] if rows else None

    async def ref(self, sha256: str) -> PictureRef | None:
        """The stored bytes with this sha256, of a generated picture or an attachment; None when there are none."""
        return await self._blobs.ref(sha256)

    async def with_sha256(self, sha256: str) -> list[PictureRow]:
        """Every item that shows these bytes, whatever thread it is in."""
        found: list[PictureRow] = []
        for log in (self._log, self._ephemeral):
            place: Place | None = None
            while rows := await log.pictures(PictureQuery(limit=100, before=place, sha256=sha256)):
                found += rows
                place = rows[-1].place
        return found

    async def remove(self, row: PictureRow, reason: Literal["deleted", "expired"]) -> Sequence[str]:
        """Mark the item, then let go of its file; returns the paths that are gone. Other owners keep the file.

        A picture without a path was put under the item's id, or is kept in the store alone.
        In this order, so that a thread that somebody else writes is refused before anything is lost.
        """
        data = {"turnId": row.turn_id, "itemId": row.item_id, "reason": reason}
        await self._note(row.thread_id, Record(kind=kinds.PICTURE_REMOVED, data=data))
        return await self._blobs.release_picture(row.thread_id, row.ref.sha256, row.path or row.item_id)

    async def _everywhere(self, query: PictureQuery) -> list[PictureRow]:
        return await self._log.pictures(query) or await self._ephemeral.pictures(query)
