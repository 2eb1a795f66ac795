"""Pictures on the way to a model: data URLs of stored pictures, kept a while, for every request sends them again.

A picture that is larger than its detail allows goes as a smaller copy; any other goes byte for byte as it is stored.
`turns/history.py` asks, through `PictureUrls`; nothing of this is ever stored or logged.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from app_server.extension_api.services import PictureRejected, Pictures
from app_server.observability.logging import get_logger
from app_server.pictures.scale_prompt import DetailLimits, NotScalable, Size, fitted_size, limits_of, scaled_copy

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

CACHE_BYTES = 64 * 1024 * 1024
log = get_logger("pictures")


class PromptPictures:
    """A byte-bounded cache of data URLs, by sha256 and the size that is sent: details that send the same share it."""

    def __init__(self, pictures: Pictures, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._pictures, self._limit = pictures, cache_bytes
        self._urls: OrderedDict[tuple[str, Size], str] = OrderedDict()
        self._size = 0
        self._one_at_a_time = anyio.CapacityLimiter(1)  # a large picture may take 800 MB while it is scaled

    async def data_url(self, picture: PictureRef, detail: str | None) -> str | None:
        """The data URL of the picture within the limits of `detail`; None as detail: the stored bytes, whatever size.

        None when its file is gone, altered, or can no longer be decoded."""
        stored: Size = (picture.width, picture.height)
        limits = limits_of(detail) if detail is not None else None
        sent = fitted_size(stored, limits) if limits is not None else stored
        key = (picture.sha256, sent)
        if (known := self._urls.get(key)) is not None:
            self._urls.move_to_end(key)
            return known
        try:
            mime, data = picture.mime, await self._pictures.read(picture)
            if limits is not None and sent != stored:
                mime, data = await self._copy(data, limits)
        except (PictureRejected, NotScalable) as error:
            log.info("picture_left_out", sha256=picture.sha256, cause=str(error) or "it cannot be decoded")
            return None
        url = f"data:{mime};base64,{base64.b64encode(data).decode()}"
        self._keep(key, url)
        return url

    async def _copy(self, data: bytes, limits: DetailLimits) -> tuple[str, bytes]:
        return await anyio.to_thread.run_sync(scaled_copy, data, limits, limiter=self._one_at_a_time)

    def _keep(self, key: tuple[str, Size], url: str) -> None:
        """Keep it unless it would fill the cache alone. Two requests may have made it at the same time."""
        if key in self._urls or len(url) > self._limit // 2:
            return
        self._urls[key] = url
        self._size += len(url)
        while self._size > self._limit:
            _, dropped = self._urls.popitem(last=False)
            self._size -= len(dropped)
