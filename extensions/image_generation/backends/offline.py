"""The offline stand-in: draws from the words of the prompt with Pillow. It is no AI, and the picture says so.

It lets a machine without key or network go the whole way: equal prompts give equal bytes. Drawing is in `sketch.py`,
edits are in `retouch.py`; both run in a worker thread.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from extensions.image_generation.backends.base import Capabilities, ImageRequest, ImageResult

if TYPE_CHECKING:
    from PIL.Image import Image

DRAWERS: Final = 2


class OfflineBackend:
    """Deterministic sketches in place of generated pictures; one object serves all calls."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(DRAWERS)

    @property
    def capabilities(self) -> Capabilities:
        """It edits, too: the first picture, by words of the prompt."""
        return Capabilities(title="offline sketch, not AI", edits=True)

    async def generate(self, request: ImageRequest) -> ImageResult:
        """A landscape with what the prompt names."""
        from extensions.image_generation.backends.sketch import draw_sketch  # lazily: it imports Pillow

        return await self._make(request, lambda: draw_sketch(request.prompt, transparent=_transparent(request)))

    async def edit(self, request: ImageRequest) -> ImageResult:
        """The first picture, changed as the prompt says."""
        from extensions.image_generation.backends.retouch import retouch  # lazily: it imports Pillow

        pictures = [picture.data for picture in request.pictures]
        return await self._make(request, lambda: retouch(pictures, request.prompt, transparent=_transparent(request)))

    async def _make(self, request: ImageRequest, draw: Callable[[], Image]) -> ImageResult:
        data = await anyio.to_thread.run_sync(lambda: _png(draw()), limiter=self._limiter)
        return ImageResult(
            data=data,
            background="transparent" if _transparent(request) else "opaque",
            generation_id=f"offline-{hashlib.sha256(data).hexdigest()[:12]}",
        )


def _transparent(request: ImageRequest) -> bool:
    return request.background == "transparent"


def _png(image: Image) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()
