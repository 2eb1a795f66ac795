"""Pictures for clients that cannot see the server's disk: whole in memory for a moment, handed out in chunks.

What is read piece by piece is kept between the pieces, a few pictures at most, and dropped with the last piece.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from app_server.pictures.scale import within_edge
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.services import Pictures
    from app_server.extension_api.tools import PictureRef

KEPT_BYTES: Final = 96 * 1024 * 1024

Key = tuple[str, int | None]


@frozen
class Chunk:
    """A piece of a picture. `next_offset` is None with the last one."""

    mime: str
    total_bytes: int
    offset: int
    data: bytes
    next_offset: int | None


class PictureReader:
    """One per process."""

    def __init__(self, pictures: Pictures, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._pictures, self._limit = pictures, kept_bytes
        self._kept: OrderedDict[Key, tuple[str, bytes]] = OrderedDict()
        self._scaling = anyio.CapacityLimiter(1)

    async def chunk(self, ref: PictureRef, *, offset: int, length: int, max_edge_px: int | None = None) -> Chunk:
        """At most `length` bytes from `offset` on; empty behind the end.

        Raises PictureRejected when the picture is gone or altered, or cannot be scaled.
        """
        key = (ref.sha256, max_edge_px)
        kept = self._kept.pop(key) if key in self._kept else None
        mime, data = kept or await self._read(ref, max_edge_px)
        piece = data[offset : offset + length]
        end = offset + len(piece)
        if end < len(data):
            self._keep(key, (mime, data))
        return Chunk(
            mime=mime,
            total_bytes=len(data),
            offset=offset,
            data=piece,
            next_offset=end if end < len(data) else None,
        )

    async def _read(self, ref: PictureRef, max_edge_px: int | None) -> tuple[str, bytes]:
        data = await self._pictures.read(ref)
        if max_edge_px is None:
            return ref.mime, data
        return await anyio.to_thread.run_sync(within_edge, data, ref, max_edge_px, limiter=self._scaling)

    def _keep(self, key: Key, picture: tuple[str, bytes]) -> None:
        self._kept[key] = picture
        while sum(len(data) for _, data in self._kept.values()) > self._limit:
            self._kept.popitem(last=False)
