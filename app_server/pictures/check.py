"""Owns the answer to "is this a picture that we take, and what is in it?". Pure; blocking, so run in a worker thread.

    bytes ── cap ──► magic number ──► size from the header ──► pixel cap ──► decode ──► CheckedPicture

It never writes, scales or re-encodes, and changes no setting of Pillow: the file class of the sniffed type is opened
directly, so that our pixel cap stands in place of Pillow's global one. Of an animation the first frame is decoded.
`store.py` and the hosted-picture path call it.
"""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from app_server.extension_api.services import CheckedPicture, PictureRejected
from app_server.extension_api.tools import PictureRef
from app_server.values import frozen

if TYPE_CHECKING:  # Pillow takes 40 ms to import: nothing of it before the first picture
    from PIL.ImageFile import ImageFile

_TAKEN: Final = "PNG, JPEG, WebP and GIF pictures are taken"
_MIB: Final = 1024 * 1024


@frozen
class PictureLimits:
    """What a picture may cost: its bytes as they come, and its pixels once decoded (four bytes each)."""

    max_bytes: int = 64 * _MIB
    max_pixels: int = 100_000_000


@frozen(kw_only=False)
class PictureType:
    """A type that is taken: its media type, the suffix of its files, its name for people."""

    mime: str
    suffix: str
    title: str


PNG: Final = PictureType("image/png", ".png", "PNG")
JPEG: Final = PictureType("image/jpeg", ".jpg", "JPEG")
WEBP: Final = PictureType("image/webp", ".webp", "WebP")
GIF: Final = PictureType("image/gif", ".gif", "GIF")

_FOREIGN: Final = (
    (b"BM", "a BMP picture"),
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"%PDF-", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip data"),
)


def sniff(data: bytes) -> PictureType | None:
    """The type that the first bytes claim, or None when it is not one that is taken."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return GIF if data.startswith((b"GIF87a", b"GIF89a")) else None


def check_picture(data: bytes, limits: PictureLimits) -> CheckedPicture:
    """Look at the bytes as a decoder would. Raises PictureRejected: what was found, and what is taken."""
    if not data:
        raise PictureRejected(f"there are no bytes; {_TAKEN}")
    if len(data) > limits.max_bytes:
        raise PictureRejected(f"it has more than the {_size(limits.max_bytes)} that a picture may have")
    kind = sniff(data)
    if kind is None:
        raise PictureRejected(f"the bytes are {_describe(data)}; {_TAKEN}")
    import hashlib  # slow to load: with the first picture

    with ThreadPoolExecutor(1) as beside:  # hashing and decoding both let other threads run
        hashing = beside.submit(hashlib.sha256, data)
        width, height, has_alpha = _decode(data, kind, limits.max_pixels)
    sha256 = hashing.result().hexdigest()
    ref = PictureRef(sha256=sha256, mime=kind.mime, size_bytes=len(data), width=width, height=height)
    return CheckedPicture(data=data, ref=ref, suffix=kind.suffix, has_alpha=has_alpha)


def _decode(data: bytes, kind: PictureType, max_pixels: int) -> tuple[int, int, bool]:
    """Width, height and whether a pixel is less than opaque."""
    from PIL.Image import DecompressionBombError  # lazily, see above

    try:
        if kind is WEBP:  # its decoder takes memory for the whole canvas as soon as it is opened
            _within(_webp_size(data), max_pixels)
        with open_picture(data, kind) as image:
            _within(image.size, max_pixels)
            image.load()
            return (*image.size, _uses_alpha(image))
    except DecompressionBombError as error:
        raise PictureRejected(f"the {kind.title} picture has too many pixels to be decoded safely") from error
    except MemoryError as error:
        raise PictureRejected(f"there is not enough memory to decode the {kind.title} picture") from error
    except (OSError, ValueError, SyntaxError, LookupError, TypeError, EOFError, struct.error, zlib.error) as error:
        raise PictureRejected(f"it begins like a {kind.title} picture but is damaged or cut off") from error


def open_picture(data: bytes, kind: PictureType) -> ImageFile:
    """The picture, its header read and nothing decoded. Raises what Pillow does, and PictureRejected for a huge GIF."""
    from PIL import GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin  # lazily, see above

    stream = io.BytesIO(data)
    if kind is GIF:  # frames go through Pillow's own check, which would warn above its limit
        width, height = struct.unpack_from("<HH", data, 6)
        _within((width, height), Image.MAX_IMAGE_PIXELS or width * height)
        return GifImagePlugin.GifImageFile(stream)
    if kind is JPEG:
        return JpegImagePlugin.JpegImageFile(stream)
    return PngImagePlugin.PngImageFile(stream) if kind is PNG else WebPImagePlugin.WebPImageFile(stream)


def _within(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        message = f"it has {width}x{height} pixels, more than the {max_pixels / 1_000_000:g} million that are decoded"
        raise PictureRejected(message)


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size from the first chunk (RFC 9649); (1, 1) for a chunk that no decoder takes as the first."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return 1, 1


def _uses_alpha(image: ImageFile) -> bool:
    """Whether any pixel is less than opaque; a channel that is opaque all over, or an unused colour, is no alpha."""
    if image.mode in ("RGBA", "LA", "PA"):
        return bool(image.getchannel("A").getextrema()[0] < 255)  # type: ignore[operator]  # a single band has plain numbers
    key = image.info.get("transparency")
    if key is None:
        return False
    if image.mode == "P":
        opacity = key if isinstance(key, bytes) else bytes(255 if index != key else 0 for index in range(256))
        return any(count and value < 255 for count, value in zip(image.histogram(), opacity, strict=False))
    if image.mode.startswith("I;16"):
        return key in memoryview(image.tobytes()).cast("H")
    return bool(image.convert("RGBA").getchannel("A").getextrema()[0] < 255)  # type: ignore[operator]  # as above


def _describe(data: bytes) -> str:
    """What bytes of another type seem to be, in a few words."""
    for magic, title in _FOREIGN:
        if data.startswith(magic):
            return title
    if data[4:8] == b"ftyp":
        return "an AVIF, HEIC or video file"
    head = data[:512].lstrip().lower()
    if head.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if head.startswith((b"<svg", b"<?xml")):
        return "SVG or other XML"
    if head.startswith((b"{", b"[")):
        return "JSON text"
    printable = sum(byte >= 0x20 or byte in b"\t\r\n" for byte in head)
    return "plain text" if head and printable == len(head) and b"\x7f" not in head else "of an unknown type"


def _size(count: int) -> str:
    return f"{count // _MIB} MiB" if count >= _MIB and count % _MIB == 0 else f"{count} bytes"
