"""Small real pictures for tests, built at call time; no binary fixture lies in the repository.

`png` is written by hand (zlib, struct), so that a test of the Pillow code does not lean on Pillow; the other formats
come from Pillow. Every builder is deterministic: equal arguments, equal bytes.
"""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

from PIL import Image

RED, GREEN, BLUE = (200, 40, 40), (20, 200, 20), (20, 20, 200)
Rgb = Sequence[int]
"""Three channels 0..255, or four with the alpha channel last."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width: int = 8, height: int = 8, colour: Rgb = RED) -> bytes:
    """A valid one-coloured 8-bit PNG: RGB for three channels, RGBA for four."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if len(colour) == 3 else 6, 0, 0, 0)
    scanline = b"\0" + bytes(colour) * width
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanline * height, 9)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_png_chunk(kind, data) for kind, data in chunks)


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def transparent_png(width: int = 8, height: int = 8, colour: Rgb = RED) -> bytes:
    """A PNG with an alpha channel, transparent everywhere."""
    return png(width, height, (*colour[:3], 0))


def oversized_png(width: int = 60_000, height: int = 60_000) -> bytes:
    """A tiny file that claims huge dimensions: what a decompression bomb looks like before it is decoded."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return PNG_SIGNATURE + _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", b"") + _png_chunk(b"IEND", b"")


def jpeg(width: int = 8, height: int = 8, colour: Rgb = RED) -> bytes:
    """A one-coloured JPEG."""
    return _with_pillow("JPEG", width, height, colour, quality=80)


def webp(width: int = 8, height: int = 8, colour: Rgb = RED) -> bytes:
    """A one-coloured lossless WebP."""
    return _with_pillow("WEBP", width, height, colour, lossless=True)


def gif(width: int = 8, height: int = 8, colour: Rgb = RED) -> bytes:
    """A one-coloured GIF of one frame."""
    return _with_pillow("GIF", width, height, colour)


def animated_gif(width: int = 8, height: int = 8, colours: Sequence[Rgb] = (RED, GREEN, BLUE)) -> bytes:
    """A GIF with one frame for each colour."""
    first, *others = (Image.new("RGB", (width, height), tuple(colour)) for colour in colours)
    out = io.BytesIO()
    first.save(out, "GIF", save_all=True, append_images=others, duration=100, loop=0)
    return out.getvalue()


def _with_pillow(format_name: str, width: int, height: int, colour: Rgb, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), tuple(colour)).save(out, format_name, **options)
    return out.getvalue()


def as_base64(data: bytes) -> str:
    """Standard base64, as the images API and the hosted tool send it."""
    return base64.b64encode(data).decode("ascii")


def data_url(data: bytes, mime: str = "image/png") -> str:
    """The picture as the `data:` URL that `image` input items carry."""
    return f"data:{mime};base64,{as_base64(data)}"
