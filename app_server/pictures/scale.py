"""Smaller copies of pictures for clients: thumbnails, and copies within an edge. Blocking (Pillow); run in a thread.

The stored bytes are never touched: a copy is made for showing and forgotten. What a model gets is `scale_prompt.py`'s.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Final

from app_server.extension_api.services import PictureRejected
from app_server.pictures.scale_prompt import DetailLimits, NotScalable, scaled_copy

if TYPE_CHECKING:
    from PIL.Image import Image

    from app_server.extension_api.tools import PictureRef

EDGES_PX: Final = (320, 256, 192, 128, 96, 64, 32)
"""Longest edges that are tried, the largest first, until the copy fits."""
_ANY_PATCHES: Final = 2**31


def thumbnail_url(data: bytes, max_bytes: int) -> str | None:
    """A data URL of at most `max_bytes` characters that shows the picture, or None when the bytes are no picture."""
    from PIL import Image

    try:
        _, small = scaled_copy(data, DetailLimits(edge_px=EDGES_PX[0], patches=_ANY_PATCHES))
    except NotScalable:
        return None
    with Image.open(io.BytesIO(small)) as opened:
        copy = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
    for edge in EDGES_PX:
        copy.thumbnail((edge, edge))
        url = _webp_url(copy)
        if len(url) <= max_bytes:
            return url
    return None


def within_edge(data: bytes, ref: PictureRef, max_edge_px: int) -> tuple[str, bytes]:
    """Media type and bytes of a copy whose longest edge is at most so long; a picture within it comes as it is.

    Raises PictureRejected when the picture cannot be decoded here.
    """
    if max(ref.width, ref.height) <= max_edge_px:
        return ref.mime, data
    try:
        return scaled_copy(data, DetailLimits(edge_px=max_edge_px, patches=_ANY_PATCHES))
    except NotScalable as error:
        raise PictureRejected(f"picture {ref.sha256} cannot be scaled here; read it without maxEdge") from error


def _webp_url(picture: Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
