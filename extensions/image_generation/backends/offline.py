"""The offline stand-in: draws from the words of the prompt with Pillow. It is no AI, and the picture says so.

It lets a machine without key or network go the whole way: equal requests give equal bytes. Drawing is in `sketch.py`,
edits are in `retouch.py`, sizes, masks and formats in `finish.py`; all run in a worker thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Final

import anyio
import anyio.to_thread

from extensions.image_generation.backends.base import ImageRequest, ImageResult, ResultPicture, Watch
from extensions.image_generation.backends.capabilities import APIS, Api

DRAWERS: Final = 2


class OfflineBackend:
    """Deterministic sketches in place of generated pictures; one object serves all calls."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(DRAWERS)

    @property
    def api(self) -> Api:
        """Its row."""
        return APIS["offline"]

    async def make(self, request: ImageRequest, watch: Watch) -> ImageResult:
        """A landscape with what the prompt names, or the first picture changed by words of the prompt."""
        from extensions.image_generation.backends.finish import draw, preview  # lazily: it imports Pillow

        for index in range(request.partial_images):
            await watch.partial(index, await self._in_thread(partial(preview, request, index)))
        datas = [await self._in_thread(partial(draw, request, number)) for number in range(request.n)]
        return ImageResult(
            pictures=tuple(ResultPicture(data=data, generation_id=_generation_id(data)) for data in datas),
            background="transparent" if request.background == "transparent" else "opaque",
        )

    async def _in_thread(self, work: Callable[[], bytes]) -> bytes:
        return await anyio.to_thread.run_sync(work, limiter=self._limiter)


def _generation_id(data: bytes) -> str:
    return f"offline-{hashlib.sha256(data).hexdigest()[:12]}"
