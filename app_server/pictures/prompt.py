"""Pictures on the way to a model: data URLs of stored pictures, kept a while, for every request sends them again.

`turns/request.py` asks; nothing of this is ever stored or logged.
"""

from __future__ import annotations

import base64
from collections import OrderedDict

from app_server.extension_api.services import PictureRejected, Pictures
from app_server.extension_api.tools import PictureRef

CACHE_BYTES = 64 * 1024 * 1024


class PromptPictures:
    """A byte-bounded cache of data URLs, by sha256."""

    def __init__(self, pictures: Pictures, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._pictures, self._limit = pictures, cache_bytes
        self._urls: OrderedDict[str, str] = OrderedDict()
        self._size = 0

    async def data_url(self, picture: PictureRef) -> str | None:
        """The picture's data URL, or None when its file is gone or altered."""
        if (known := self._urls.get(picture.sha256)) is not None:
            self._urls.move_to_end(picture.sha256)
            return known
        try:
            data = await self._pictures.read(picture)
        except PictureRejected:
            return None
        url = f"data:{picture.mime};base64,{base64.b64encode(data).decode()}"
        if len(url) <= self._limit // 2:
            self._urls[picture.sha256] = url
            self._size += len(url)
            while self._size > self._limit:
                _, dropped = self._urls.popitem(last=False)
                self._size -= len(dropped)
        return url
