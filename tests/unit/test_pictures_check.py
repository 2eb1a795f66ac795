"""Bytes are taken only when they are a picture, and are described by what is in them."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings

import pytest
from PIL import Image

from app_server.extension_api import CheckedPicture, PictureRef, PictureRejected
from app_server.pictures.check import PictureLimits, check_picture
from tests.support.pictures import animated_gif, gif, jpeg, oversized_png, png, transparent_png, webp

LIMITS = PictureLimits()


@pytest.mark.parametrize(
    ("data", "mime", "suffix"),
    [
        pytest.param(png(7, 5), "image/png", ".png", id="png"),
        pytest.param(jpeg(7, 5), "image/jpeg", ".jpg", id="jpeg"),
        pytest.param(webp(7, 5), "image/webp", ".webp", id="webp"),
        pytest.param(gif(7, 5), "image/gif", ".gif", id="gif"),
        pytest.param(animated_gif(7, 5), "image/gif", ".gif", id="animated gif"),
    ],
)
def test_a_picture_is_described_by_its_content(data: bytes, mime: str, suffix: str) -> None:
    ref = PictureRef(sha256=hashlib.sha256(data).hexdigest(), mime=mime, size_bytes=len(data), width=7, height=5)
    assert check_picture(data, LIMITS) == CheckedPicture(data=data, ref=ref, suffix=suffix, has_alpha=False)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def palette(used: int) -> bytes:
    """A palette picture with one transparent colour, index 1, filled with colour `used`."""
    image = Image.new("P", (4, 4), used)
    image.putpalette([0, 0, 0, 255, 0, 0])
    return encoded(image, "PNG", transparency=1)


@pytest.mark.parametrize(
    ("data", "has_alpha"),
    [
        pytest.param(transparent_png(), True, id="transparent RGBA"),
        pytest.param(png(4, 4, (1, 2, 3, 254)), True, id="hardly transparent RGBA"),
        pytest.param(png(4, 4, (1, 2, 3, 255)), False, id="opaque RGBA"),
        pytest.param(palette(1), True, id="palette, transparent colour used"),
        pytest.param(palette(0), False, id="palette, transparent colour unused"),
        pytest.param(encoded(Image.new("LA", (4, 4), (9, 0)), "PNG"), True, id="grey with alpha"),
        pytest.param(encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9), True, id="grey, key used"),
        pytest.param(encoded(Image.new("L", (4, 4), 9), "PNG", transparency=8), False, id="grey, key unused"),
        pytest.param(encoded(Image.new("RGB", (4, 4), (1, 2, 3)), "PNG", transparency=(1, 2, 3)), True, id="RGB key"),
        pytest.param(encoded(Image.new("I;16", (4, 4), 9), "PNG", transparency=9), True, id="16 bit grey, key used"),
        pytest.param(encoded(Image.new("I;16", (4, 4), 9), "PNG", transparency=8), False, id="16 bit grey, unused"),
        pytest.param(encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 0)), "WEBP", lossless=True), True, id="webp"),
        pytest.param(encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 0)), "GIF"), True, id="gif"),
    ],
)
def test_alpha_counts_only_where_a_pixel_uses_it(data: bytes, has_alpha: bool) -> None:
    assert check_picture(data, LIMITS).has_alpha is has_alpha


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "there are no bytes"),
        (b"just some words", "the bytes are plain text"),
        (b"<!DOCTYPE html><html></html>", "the bytes are an HTML page"),
        (b'{"error": 1}', "the bytes are JSON text"),
        (b"<svg xmlns='x'/>", "the bytes are SVG or other XML"),
        (b"BM" + bytes(60), "the bytes are a BMP picture"),
        (b"II*\0" + bytes(60), "the bytes are a TIFF picture"),
        (b"%PDF-1.7", "the bytes are a PDF document"),
        (b"\0\0\0\x1cftypavif", "the bytes are an AVIF, HEIC or video file"),
        (bytes(range(256)), "the bytes are of an unknown type"),
    ],
)
def test_other_bytes_are_refused_with_what_they_are_and_what_is_taken(data: bytes, message: str) -> None:
    with pytest.raises(PictureRejected) as refused:
        check_picture(data, LIMITS)
    assert str(refused.value) == f"{message}; PNG, JPEG, WebP and GIF pictures are taken"


@pytest.mark.parametrize(
    "data", [png(40, 40), jpeg(40, 40), webp(40, 40), gif(40, 40)], ids=["png", "jpeg", "webp", "gif"]
)
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_a_picture_that_is_cut_off_is_refused(data: bytes, share: float) -> None:
    with pytest.raises(PictureRejected, match="damaged or cut off"):
        check_picture(data[: max(14, int(len(data) * share))], LIMITS)


@pytest.mark.parametrize("head", [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"GIF89a"])
def test_a_magic_number_followed_by_noise_is_refused(head: bytes) -> None:
    with pytest.raises(PictureRejected, match="damaged or cut off"):
        check_picture(head + bytes(range(200)), LIMITS)


def huge_webp() -> bytes:
    chunk = b"VP8X" + struct.pack("<I", 10) + b"\x10\0\0\0" + (16_382).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk + bytes(40)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (oversized_png(60_000, 60_000), "60000x60000"),
        (oversized_png(9_700, 9_700 + 700), "9700x10400"),
        (huge_webp(), "16383x16383"),
        (b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(40), "60000x60000"),
    ],
    ids=["png", "png between Pillow's limit and ours", "webp", "gif"],
)
def test_a_decompression_bomb_is_refused_by_its_header(data: bytes, size: str) -> None:
    with pytest.raises(PictureRejected, match=f"it has {size} pixels, more than the"):
        check_picture(data, LIMITS)


def test_the_pixel_limit_is_ours_and_gives_no_warning_above_that_of_pillow() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PictureRejected, match="damaged or cut off"):  # the size was let through, the bytes are not
            check_picture(oversized_png(9_500, 10_000), LIMITS)
    assert before == Image.MAX_IMAGE_PIXELS


def test_too_many_bytes_are_refused_before_anything_is_decoded() -> None:
    limits = PictureLimits(max_bytes=20)
    with pytest.raises(PictureRejected, match="it has more than the 20 bytes that a picture may have"):
        check_picture(png(), limits)


def test_a_checked_picture_shows_no_bytes_in_its_text_form() -> None:
    assert "PNG" not in repr(check_picture(png(), LIMITS))
