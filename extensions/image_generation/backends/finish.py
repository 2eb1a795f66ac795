"""Turns a sketch or a retouched picture into the bytes that a request asks for: size, mask, format, animation.

Blocking (Pillow); `offline.py` calls it in a worker thread. Equal requests give equal bytes.
"""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from extensions.image_generation.backends.base import Gif, ImageRequest
from extensions.image_generation.backends.retouch import retouch
from extensions.image_generation.backends.sketch import draw_sketch

DEFAULT_FRAMES: Final = 9
DEFAULT_FRAME_MS: Final = 200
PREVIEW_EDGE: Final = 256


def draw(request: ImageRequest, number: int) -> bytes:
    """The picture of this number among the variants of a request."""
    return _encode(_picture(request, number), request)


def preview(request: ImageRequest, index: int) -> bytes:
    """The picture as it is while it is made: blurred, less so with each index."""
    small = _picture(request, 0)
    small.thumbnail((PREVIEW_EDGE, PREVIEW_EDGE))
    stream = io.BytesIO()
    small.filter(ImageFilter.GaussianBlur(max(1, 8 - 3 * index))).save(stream, "PNG")
    return stream.getvalue()


def _picture(request: ImageRequest, number: int) -> Image.Image:
    prompt = request.prompt + " " * number  # the dice fall by the prompt's hash, the words stay the same
    transparent = request.background == "transparent"
    if request.pictures:
        image = retouch([picture.data for picture in request.pictures], prompt, transparent=transparent)
        image = _masked(image, request)
    else:
        image = draw_sketch(prompt, transparent=transparent)
    if request.size == "auto":
        return image
    width, _, height = request.size.partition("x")
    return ImageOps.fit(image, (int(width), int(height)))


def _masked(image: Image.Image, request: ImageRequest) -> Image.Image:
    """The change only where the mask is transparent."""
    if request.mask is None:
        return image
    with Image.open(io.BytesIO(request.mask.data), formats=("PNG",)) as opened:
        keep = opened.convert("RGBA").getchannel("A").resize(image.size)
    with Image.open(io.BytesIO(request.pictures[0].data), formats=("PNG", "JPEG", "WEBP")) as opened:
        before = opened.convert(image.mode).resize(image.size)
    return Image.composite(before, image, keep)


def _encode(image: Image.Image, request: ImageRequest) -> bytes:
    stream = io.BytesIO()
    match request.output_format:
        case "gif":
            _animate(image, request.gif or Gif(), stream)
        case "jpeg":
            image.convert("RGB").save(stream, "JPEG", quality=90)
        case "webp":
            image.save(stream, "WEBP", quality=90)
        case _:
            image.save(stream, "PNG")
    return stream.getvalue()


def _animate(image: Image.Image, gif: Gif, stream: io.BytesIO) -> None:
    """A loop in which the light comes and goes."""
    count = gif.frame_count or DEFAULT_FRAMES
    swing = [1 - 0.4 * abs(2 * frame / count - 1) for frame in range(count)]
    frames = [ImageEnhance.Brightness(image.convert("RGB")).enhance(light) for light in swing]
    duration_ms = gif.frame_duration_ms or DEFAULT_FRAME_MS
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=duration_ms, loop=0)
