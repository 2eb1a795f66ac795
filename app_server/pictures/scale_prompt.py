"""Decides how large a picture goes to a model, and makes the smaller copy. The stored original is never touched.

A model counts a picture in patches of 32×32 pixels, begun ones in full; beyond these limits it would scale itself:

| detail | longest edge | patches | 8000×8000 | 2048×1536 | 7000×3000 |
|---|---|---|---|---|---|
| `high`, `auto` | 2048 | 2,500 | 1600×1600 | 1824×1368 | 2048×878 |
| `original` | 65,500 | 10,000 | 3200×3200 | 2048×1536 | 4854×2080 |
| `low` | 512 | 2,500 | 512×512 | 512×384 | 512×220 |

The copy is JPEG, or PNG where a pixel is not opaque. Measured on a copy of 2048×1152: PNG 2.6 MB in 0.33 s, JPEG 0.2 MB
in 0.01 s, and every request of the thread sends it again. `prompt.py` calls this, the blocking part in a worker thread.
"""

from __future__ import annotations

import io
import struct
import zlib
from math import isqrt
from typing import TYPE_CHECKING, Final

from app_server.extension_api.services import PictureRejected
from app_server.pictures.check import JPEG, PNG, open_picture, sniff
from app_server.values import frozen

if TYPE_CHECKING:  # Pillow takes 40 ms to import: nothing of it before the first picture that is too large
    from PIL.Image import Image

PATCH_PX: Final = 32
JPEG_QUALITY: Final = 85
PNG_COMPRESSION: Final = 3
_OPAQUE: Final = 255

Size = tuple[int, int]


@frozen
class DetailLimits:
    """What a picture of one detail may measure."""

    edge_px: int
    patches: int


HIGH: Final = DetailLimits(edge_px=2048, patches=2_500)
ORIGINAL: Final = DetailLimits(edge_px=65_500, patches=10_000)
"""The patches count; no JPEG can be longer than this edge."""
LOW: Final = DetailLimits(edge_px=512, patches=2_500)


class NotScalable(Exception):
    """The bytes cannot be decoded here, for instance for want of memory."""


def limits_of(detail: str) -> DetailLimits:
    """The limits of a detail; a word that nobody knows counts as `high`."""
    return {"original": ORIGINAL, "low": LOW}.get(detail, HIGH)


def fitted_size(size: Size, limits: DetailLimits) -> Size:
    """The largest size within the limits, of the same shape; a picture within them keeps its own.

    First the longest edge. Then, if there are too many patches: the largest grid of whole patches of the picture's
    shape and within the limit; the tighter side of it is met exactly, the other is rounded up.
    """
    width, height = size
    if max(size) > limits.edge_px:
        width, height = _scaled((width, height), limits.edge_px, max(size))
    if _patches(width) * _patches(height) <= limits.patches:
        return width, height
    columns, rows = isqrt(limits.patches * width // height), isqrt(limits.patches * height // width)
    if not rows:  # a strip lower, or narrower, than a patch of the grid
        columns, rows = limits.patches, 1
    elif not columns:
        columns, rows = 1, limits.patches
    if columns * height <= rows * width:
        return _scaled((width, height), columns * PATCH_PX, width)
    return _scaled((width, height), rows * PATCH_PX, height)


def _patches(edge_px: int) -> int:
    return -(-edge_px // PATCH_PX)


def _scaled(size: Size, times: int, divided_by: int) -> Size:
    """Both edges, exact and rounded up: whole numbers, because a float would be a pixel off at times."""
    return -(-size[0] * times // divided_by), -(-size[1] * times // divided_by)


def scaled_copy(data: bytes, limits: DetailLimits) -> tuple[str, bytes]:
    """Media type and bytes of a copy within the limits, upright, with its colour profile.

    Of an animation the first frame is taken. Blocking; up to eight bytes a pixel. Raises NotScalable.
    """
    from PIL import Image, ImageOps  # lazily, see above

    kind = sniff(data)
    if kind is None:
        raise NotScalable
    try:
        with open_picture(data, kind) as picture:
            size = fitted_size(picture.size, limits)
            picture.draft(None, size)  # a JPEG is decoded at a half of its size or less, where that is enough
            small = _plain(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
        return _encoded(ImageOps.exif_transpose(small))
    except (PictureRejected, Image.DecompressionBombError, MemoryError) as error:
        raise NotScalable from error
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, struct.error, zlib.error) as error:  # damaged
        raise NotScalable from error


def _plain(picture: Image) -> Image:
    """In a mode that can be resized well and saved: RGBA where something may be transparent, else RGB or grey."""
    if picture.has_transparency_data:
        return picture if picture.mode == "RGBA" else picture.convert("RGBA")
    if picture.mode.startswith("I"):  # grey of 16 bits
        return picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if picture.mode in ("1", "L", "LA"):
        return picture.convert("L")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _encoded(picture: Image) -> tuple[str, bytes]:
    out = io.BytesIO()
    seen_through = picture.mode == "RGBA" and picture.getchannel("A").getextrema()[0] < _OPAQUE  # type: ignore[operator]  # one band has plain numbers
    if seen_through:
        picture.save(out, "PNG", compress_level=PNG_COMPRESSION, icc_profile=_profile(picture, b"RGB "))
        return PNG.mime, out.getvalue()
    opaque = picture.convert("RGB") if picture.mode == "RGBA" else picture
    profile = _profile(picture, b"GRAY" if opaque.mode == "L" else b"RGB ")
    opaque.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=profile)  # full colour: small text stays
    return JPEG.mime, out.getvalue()


def _profile(picture: Image, colours: bytes) -> bytes | None:
    """The colour profile that the picture came with, where it is one for these colours (ICC.1, byte 16)."""
    profile = picture.info.get("icc_profile")
    return profile if isinstance(profile, bytes) and profile[16:20] == colours else None
