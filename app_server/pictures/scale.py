"""Smaller copies of pictures: thumbnails for clients. Blocking (Pillow); `store.py` calls it in a worker thread.

The stored bytes are never touched: a copy is made for showing and forgotten.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL.Image import Image

EDGES_PX: Final = (320, 256, 192, 128, 96, 64, 32)
"""Longest edges that are tried, the largest first, until the copy fits."""


def thumbnail_url(data: bytes, max_bytes: int) -> str | None:
    """A data URL of at most `max_bytes` characters that shows the picture, or None when the bytes are no picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            picture.draft("RGB", (EDGES_PX[0] * 2, EDGES_PX[0] * 2))
            copy = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        return None
    for edge in EDGES_PX:
        copy.thumbnail((edge, edge))
        url = _webp_url(copy)
        if len(url) <= max_bytes:
            return url
    return None


def _webp_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
