"""Changes a picture as the offline stand-in can: by words of the prompt, the same words always in the same way.

| words | change |
|---|---|
| night … | darker, bluer, stars |
| sunset, warm … / cold, winter, snow … | a warm tint / a cool tint and flakes |
| gray, grayscale, monochrome / sepia / invert | that |
| blur, soft / sharp, sharpen | that |
| flip, mirror / upside, rotate | that |
| bright, day / contrast | that |
| a colour | a tint of it |
| none of them | a tint by the prompt's hash |

Further pictures become small insets at the right. The caption says that this is an offline sketch.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Sequence
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from extensions.image_generation.backends.sketch import caption
from extensions.image_generation.backends.words import (
    NIGHT,
    RGB,
    SNOW,
    SUNSET,
    colours_of,
    scattered,
    words_of,
)

MAX_EDGE: Final = 2048
Step = Callable[[Image.Image, random.Random], Image.Image]


def retouch(pictures: Sequence[bytes], prompt: str, *, transparent: bool = False) -> Image.Image:
    """The first picture, changed; RGB, or RGBA where it has alpha or `transparent` asks for it."""
    base, *others = [_load(data) for data in pictures]
    words = words_of(prompt)
    for names, move in _MOVES:
        base = move(base) if words & names else base
    alpha = base.getchannel("A")
    dice = random.Random(int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "replace")).digest(), "big"))
    image = base.convert("RGB")
    for step in steps_for(prompt, dice):
        image = step(image, dice)
    for number, other in enumerate(others):
        _inset(image, other, number)
    caption(image, prompt)
    if transparent and alpha.getextrema() == (255, 255):
        alpha = _oval(image.size)
    if alpha.getextrema() != (255, 255):
        image.putalpha(alpha)
    return image


def steps_for(prompt: str, dice: random.Random) -> list[Step]:
    """The changes of colour that the words ask for, in the order of the table; none only where the picture is moved."""
    words = words_of(prompt)
    steps = [step for names, step in _STEPS if words & names]
    colours = colours_of(prompt)
    if colours and not words & _GREY:
        steps.append(_tint(colours[0], 0.5))
    if not steps and not any(words & names for names, _ in _MOVES):
        colour = (int(60 + 180 * dice.random()), int(60 + 180 * dice.random()), int(60 + 180 * dice.random()))
        steps.append(_tint(colour, 0.5))
    return steps


def _load(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP", "GIF")) as opened:
        opened.thumbnail((MAX_EDGE, MAX_EDGE))  # JPEG decodes small at once
        return opened.convert("RGBA")


def _tint(colour: RGB, share: float) -> Step:
    return lambda image, _: Image.blend(image, ImageChops.multiply(image, Image.new("RGB", image.size, colour)), share)


def _night(image: Image.Image, dice: random.Random) -> Image.Image:
    dark = ImageEnhance.Brightness(ImageChops.multiply(image, Image.new("RGB", image.size, (95, 115, 200)))).enhance(
        0.6
    )
    draw = ImageDraw.Draw(dark)
    width, height = dark.size
    for x, y, weight in scattered(dice, 90, width, max(1, height * 45 // 100)):
        radius = weight * max(1.0, width / 500)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(235, 238, 255))
    return dark


def _snow(image: Image.Image, dice: random.Random) -> Image.Image:
    cool = Image.blend(image, Image.new("RGB", image.size, (225, 236, 250)), 0.3)
    draw = ImageDraw.Draw(cool)
    for x, y, weight in scattered(dice, 220, *cool.size):
        radius = (0.5 + 1.5 * weight) * max(1.0, cool.width / 500)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255))
    return cool


def _sepia(image: Image.Image, _: random.Random) -> Image.Image:
    return ImageOps.colorize(ImageOps.grayscale(image), black=(40, 26, 13), white=(255, 240, 205))


def _inset(image: Image.Image, other: Image.Image, number: int) -> None:
    edge = max(8, image.height // 5)
    small = other.copy()
    small.thumbnail((edge, edge))
    image.paste(small, (image.width - small.width - 8, 8 + number * (edge + 8)), small)


def _oval(size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).ellipse((0, 0, size[0] - 1, size[1] - 1), fill=255)
    return mask


_MOVES: Final[tuple[tuple[frozenset[str], Callable[[Image.Image], Image.Image]], ...]] = (
    (frozenset({"flip", "mirror", "mirrored"}), ImageOps.mirror),
    (frozenset({"upside", "rotate"}), lambda image: image.rotate(180)),
)
_GREY: Final = frozenset({"gray", "grey", "grayscale", "greyscale", "monochrome"})
_STEPS: Final[tuple[tuple[frozenset[str], Step], ...]] = (
    (NIGHT, _night),
    (SUNSET, _tint((255, 175, 100), 0.6)),
    (SNOW, _snow),
    (_GREY, lambda image, _: ImageOps.grayscale(image).convert("RGB")),
    (frozenset({"sepia", "vintage", "old"}), _sepia),
    (frozenset({"invert", "negative"}), lambda image, _: ImageOps.invert(image)),
    (frozenset({"blur", "blurry", "soft", "softer"}), lambda image, _: image.filter(ImageFilter.GaussianBlur(4))),
    (frozenset({"sharp", "sharpen", "sharper"}), lambda image, _: image.filter(ImageFilter.SHARPEN)),
    (frozenset({"bright", "brighter", "day", "sunny"}), lambda image, _: ImageEnhance.Brightness(image).enhance(1.35)),
    (frozenset({"contrast", "vivid"}), lambda image, _: ImageEnhance.Contrast(image).enhance(1.5)),
)
