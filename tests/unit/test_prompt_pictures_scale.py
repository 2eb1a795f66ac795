"""How large a picture goes to a model: the reference's measured sizes, the copy's format, and what stays as it is."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from app_server.extension_api import PictureRef, Pictures
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.prompt import PromptPictures
from app_server.pictures.scale_prompt import (
    HIGH,
    LOW,
    ORIGINAL,
    DetailLimits,
    NotScalable,
    fitted_size,
    limits_of,
    scaled_copy,
)
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from tests.support.pictures import BLUE, GREEN, RED, animated_gif, jpeg, png, webp

Size = tuple[int, int]


@pytest.mark.parametrize(
    ("limits", "size", "expected"),
    [
        (HIGH, (2048, 2048), (1600, 1600)),
        (HIGH, (2048, 1536), (1824, 1368)),
        (HIGH, (3840, 2160), (2048, 1152)),
        (HIGH, (8000, 8000), (1600, 1600)),
        (HIGH, (1000, 1000), (1000, 1000)),
        (HIGH, (4000, 3000), (1824, 1368)),
        (HIGH, (4200, 4200), (1600, 1600)),
        (HIGH, (1536, 2048), (1368, 1824)),
        (HIGH, (2048, 1), (2048, 1)),
        (HIGH, (2049, 1), (2048, 1)),
        (ORIGINAL, (7000, 3000), (4854, 2080)),
        (ORIGINAL, (3500, 3500), (3200, 3200)),
        (ORIGINAL, (6000, 100), (6000, 100)),
        (ORIGINAL, (1_000_000, 3), (65_500, 1)),
        (LOW, (2048, 1536), (512, 384)),
        (LOW, (512, 300), (512, 300)),
    ],
)
def test_a_picture_gets_the_size_that_was_measured_at_the_reference(
    limits: DetailLimits, size: Size, expected: Size
) -> None:
    assert fitted_size(size, limits) == expected


@pytest.mark.parametrize(
    ("detail", "limits"), [("high", HIGH), ("auto", HIGH), ("original", ORIGINAL), ("low", LOW), ("nonsense", HIGH)]
)
def test_every_detail_has_its_limits(detail: str, limits: DetailLimits) -> None:
    assert limits_of(detail) == limits


EDGES = st.integers(1, 20_000)


@given(EDGES, EDGES, st.sampled_from([HIGH, ORIGINAL, LOW]))
def test_a_fitted_size_is_within_the_limits_never_larger_and_stays_when_fitted_again(
    width: int, height: int, limits: DetailLimits
) -> None:
    fitted = fitted_size((width, height), limits)
    assert max(fitted) <= limits.edge_px
    assert -(-fitted[0] // 32) * -(-fitted[1] // 32) <= limits.patches
    assert 1 <= fitted[0] <= width
    assert 1 <= fitted[1] <= height
    assert fitted_size(fitted, limits) == fitted


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def saved(picture: Image.Image, format_name: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format_name, **options)
    return out.getvalue()


def dominant(picture: Image.Image, at: Size = (0, 0)) -> tuple[int, ...]:
    """A pixel, rounded to what compression leaves of it."""
    pixel = picture.convert("RGBA").getpixel(at)
    assert isinstance(pixel, tuple)
    return tuple(round(value / 10) * 10 for value in pixel)


@pytest.mark.parametrize(
    ("data", "mime", "format_name"),
    [
        (png(3000, 30, RED), "image/jpeg", "JPEG"),
        (png(3000, 30, (*RED, 255)), "image/jpeg", "JPEG"),
        (jpeg(3000, 30, RED), "image/jpeg", "JPEG"),
        (webp(3000, 30, RED), "image/jpeg", "JPEG"),
        (animated_gif(3000, 30, (RED, GREEN, BLUE)), "image/jpeg", "JPEG"),
        (saved(Image.new("CMYK", (3000, 30), (0, 205, 205, 50)), "JPEG"), "image/jpeg", "JPEG"),
        (saved(Image.new("RGB", (3000, 30), RED).quantize(), "PNG"), "image/jpeg", "JPEG"),
        (png(3000, 30, (*RED, 100)), "image/png", "PNG"),
        (saved(Image.new("RGBA", (3000, 30), (*RED, 100)), "WEBP", lossless=True), "image/png", "PNG"),
    ],
)
def test_a_copy_is_jpeg_or_png_where_something_is_transparent(data: bytes, mime: str, format_name: str) -> None:
    kind, copy = scaled_copy(data, HIGH)
    picture = opened(copy)
    assert (kind, picture.format, picture.size) == (mime, format_name, (2048, 21))
    assert dominant(picture)[:3] == (200, 40, 40)
    if mime == "image/png":
        assert dominant(picture)[3] == 100


@pytest.mark.parametrize("mode", ["1", "L", "I;16"])
def test_grey_pictures_of_any_depth_keep_their_grey(mode: str) -> None:
    light = {"1": 1, "L": 200, "I;16": 200 * 256}[mode]
    _, copy = scaled_copy(saved(Image.new(mode, (3000, 30), light), "PNG"), HIGH)
    assert dominant(opened(copy)) == ((260 if mode == "1" else 200),) * 3 + (260,)


def test_a_photo_taken_sideways_stands_upright_in_its_copy() -> None:
    sideways = Image.new("RGB", (3000, 1000), RED)
    sideways.paste(BLUE, (1500, 0, 3000, 1000))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90° clockwise
    copy = opened(scaled_copy(saved(sideways, "JPEG", exif=exif), HIGH)[1])
    assert (copy.size, dict(copy.getexif())) == ((683, 2048), {})
    assert [dominant(copy, (340, 10))[:3], dominant(copy, (340, 2030))[:3]] == [(200, 40, 40), (20, 20, 200)]


def test_a_copy_keeps_the_colour_profile_that_fits_its_colours() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    of_rgb = saved(Image.new("RGB", (3000, 30), RED), "PNG", icc_profile=profile)
    of_grey = saved(Image.new("L", (3000, 30), 9), "PNG", icc_profile=profile)
    copies = [opened(scaled_copy(data, HIGH)[1]) for data in (of_rgb, of_grey)]
    assert [copy.info.get("icc_profile") for copy in copies] == [profile, None]


def test_small_coloured_text_is_not_smeared_over_its_neighbours() -> None:
    striped = Image.new("RGB", (4096, 64), "blue")
    for left in range(0, 4096, 4):
        striped.paste((255, 0, 0), (left, 0, left + 2, 64))
    copy = opened(scaled_copy(saved(striped, "PNG"), HIGH)[1]).convert("RGB")
    blues = [pixel[2] for x in range(1000, 1010) if isinstance(pixel := copy.getpixel((x, 16)), tuple)]
    assert max(blues) - min(blues) > 150


@pytest.mark.parametrize(
    "data", [b"words", png(3000, 3000)[:2000], b"\x89PNG\r\n\x1a\n"], ids=["words", "cut off", "a signature"]
)
def test_what_cannot_be_decoded_is_told_by_one_exception(data: bytes) -> None:
    with pytest.raises(NotScalable):
        scaled_copy(data, HIGH)


# through the cache and the store


async def kept(data: bytes) -> tuple[Pictures, PictureRef]:
    store = PictureStore(Path("never-written"), MemoryStorageWorld().process().blobs)
    return store, await store.keep(check_picture(data, PictureLimits()), thread_id="t")


def decoded(url: str | None) -> bytes:
    assert url is not None
    return base64.b64decode(url.partition(",")[2])


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data", [png(1000, 1000), jpeg(2048, 32), webp(), animated_gif()], ids=["png", "jpeg", "webp", "gif"]
)
@pytest.mark.parametrize("detail", ["high", "original", "auto"])
async def test_a_picture_within_the_limits_goes_out_byte_for_byte(data: bytes, detail: str) -> None:
    store, ref = await kept(data)
    assert decoded(await PromptPictures(store).data_url(ref, detail)) == data


@pytest.mark.anyio
async def test_each_detail_gets_its_own_copy_and_the_stored_picture_stays() -> None:
    data = png(7000, 3000)
    store, ref = await kept(data)
    prompt = PromptPictures(store)
    sizes = [opened(decoded(await prompt.data_url(ref, detail))).size for detail in ("low", "high", "original", "auto")]
    assert sizes == [(512, 220), (2048, 878), (4854, 2080), (2048, 878)]
    assert decoded(await prompt.data_url(ref, None)) == data
    assert await store.read(ref) == data


@pytest.mark.anyio
@pytest.mark.parametrize("cache_bytes", [0, 10_000_000])
async def test_a_copy_is_the_same_to_the_byte_whether_it_was_kept_or_made_again(cache_bytes: int) -> None:
    store, ref = await kept(png(3000, 2000, (*RED, 99)))
    prompt = PromptPictures(store, cache_bytes=cache_bytes)
    first = await prompt.data_url(ref, "high")
    assert first == await prompt.data_url(ref, "high")
    assert first == await PromptPictures(store).data_url(ref, "auto")


@pytest.mark.anyio
async def test_a_large_picture_that_cannot_be_decoded_any_more_is_none() -> None:
    store, ref = await kept(png(30, 30))
    claims_more = PictureRef(sha256=ref.sha256, mime=ref.mime, size_bytes=ref.size_bytes, width=3000, height=3000)
    prompt = PromptPictures(BrokenPictures(store))
    assert await prompt.data_url(claims_more, "high") is None


class BrokenPictures(PictureStore):
    """A store whose bytes are cut off behind the header."""

    def __init__(self, inner: Pictures) -> None:
        self._inner = inner

    async def read(self, ref: PictureRef) -> bytes:
        return (await self._inner.read(ref))[:40]
