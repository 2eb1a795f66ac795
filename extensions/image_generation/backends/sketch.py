"""Draws the offline stand-in's landscapes: sky, sun or moon, hills, trees, and a thing that the prompt names.

Drawn at twice the size and scaled down, so that edges are smooth. All chance comes from the prompt's sha256.
"""

from __future__ import annotations

import hashlib
import math
import random
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from app_server.extension_api.values import frozen
from extensions.image_generation.backends.subjects import draw_subject
from extensions.image_generation.backends.words import (
    DESERT,
    NIGHT,
    RGB,
    SNOW,
    SUNSET,
    WATER,
    colours_of,
    mix,
    scattered,
    words_of,
)

WIDTH: Final = 768
HEIGHT: Final = 512
_W: Final = WIDTH * 2
_H: Final = HEIGHT * 2
LABEL: Final = "offline sketch"
STRIP: Final = 20


@frozen
class Palette:
    """The colours of one scene; `accent` is what the prompt asked for, or None."""

    top: RGB
    bottom: RGB
    ground: RGB
    light: RGB
    accent: RGB | None
    night: bool
    snow: bool
    water: bool


def draw_sketch(prompt: str, *, transparent: bool = False) -> Image.Image:
    """A picture of 768x512; RGB, or RGBA without a sky when `transparent`."""
    dice = random.Random(int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "replace")).digest(), "big"))
    palette = choose_palette(prompt, dice)
    image = Image.new("RGBA", (_W, _H), (0, 0, 0, 0)) if transparent else _sky(palette, dice)
    draw = ImageDraw.Draw(image)
    _light(draw, palette, dice)
    for layer in range(3):
        shade = mix(palette.ground, palette.bottom, 0.55 - 0.25 * layer)
        _hill(draw, shade, _H * (0.58 + 0.13 * layer), dice)
    if palette.water:
        _water(draw, palette, dice)
    _trees(draw, palette, dice)
    draw_subject(draw, words_of(prompt), palette.accent or mix(palette.ground, (250, 240, 225), 0.7), _W, _H)
    if palette.snow:
        for x, y, weight in scattered(dice, 260, _W, _H):
            radius = 2 + 4 * weight
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 255, 255))
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    caption(small, prompt)
    return small


def choose_palette(prompt: str, dice: random.Random) -> Palette:
    """The scene's colours by the words of the prompt, by chance where it has none."""
    words, named = words_of(prompt), colours_of(prompt)
    night, snow = bool(words & NIGHT), bool(words & SNOW)
    if night:
        top, bottom, light = (14, 20, 48), (60, 72, 120), (240, 238, 215)
    elif words & SUNSET:
        top, bottom, light = (92, 70, 140), (250, 170, 105), (255, 225, 150)
    else:
        top, bottom, light = mix((70, 140, 205), (120, 120, 200), dice.random()), (214, 232, 240), (255, 244, 190)
    ground: RGB = (62, 110, 72) if not words & DESERT else (205, 165, 105)
    if snow:
        ground = (226, 234, 244)
    if night:
        ground = mix(ground, (20, 26, 54), 0.6)
    if named:
        bottom = mix(bottom, named[-1], 0.35)
    return Palette(
        top=top,
        bottom=bottom,
        ground=ground,
        light=light,
        accent=named[0] if named else None,
        night=night,
        snow=snow,
        water=bool(words & WATER),
    )


def caption(image: Image.Image, prompt: str) -> None:
    """Write at the foot what this is, and the prompt as far as it goes; tiny pictures have no room for it."""
    if image.height < 3 * STRIP:
        return
    text = f"{LABEL} · {' '.join(prompt.split())}"
    text = text if len(text) <= 90 else text[:89] + "..."
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default()
    shown = text.encode("latin-1", "replace").decode("latin-1")  # all that Pillow's own font has
    draw.rectangle((0, image.height - STRIP, image.width, image.height), fill=(24, 26, 32))
    draw.text((8, image.height - STRIP + 3), shown, fill=(235, 235, 235), font=font)


def _sky(palette: Palette, dice: random.Random) -> Image.Image:
    column = Image.new("RGB", (1, 256))
    column.putdata([mix(palette.top, palette.bottom, row / 255) for row in range(256)])
    image = column.resize((_W, _H), Image.Resampling.BILINEAR)
    draw = ImageDraw.Draw(image)
    if palette.night:
        for x, y, weight in scattered(dice, 150, _W, int(_H * 0.6)):
            radius = 1 + 3 * weight * weight
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(235, 238, 255))
    return image


def _light(draw: ImageDraw.ImageDraw, palette: Palette, dice: random.Random) -> None:
    x, y, radius = _W * (0.2 + 0.6 * dice.random()), _H * (0.14 + 0.16 * dice.random()), _H * 0.075
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.light)
    if palette.night:  # a crescent: the sky's own colour lies over a part
        shift = radius * 0.5
        sky = mix(palette.top, palette.bottom, y / _H)
        draw.ellipse((x - radius + shift, y - radius - shift / 3, x + radius + shift, y + radius - shift / 3), fill=sky)


def _hill(draw: ImageDraw.ImageDraw, colour: RGB, base: float, dice: random.Random) -> None:
    waves = [(dice.random() * 2 + 0.6, dice.random() * math.tau, _H * (0.02 + 0.05 * dice.random())) for _ in range(3)]
    line = [
        (x, base + sum(high * math.sin(x / _W * math.tau * pace + phase) for pace, phase, high in waves))
        for x in range(0, _W + 8, 8)
    ]
    draw.polygon([(0, _H), *line, (_W, _H)], fill=colour)


def _water(draw: ImageDraw.ImageDraw, palette: Palette, dice: random.Random) -> None:
    deep = mix((40, 96, 150), palette.top, 0.5)
    draw.rectangle((0, _H * 0.78, _W, _H), fill=deep)
    for x, y, weight in scattered(dice, 60, _W, int(_H * 0.2)):
        top = _H * 0.79 + y
        draw.line((x, top, x + 40 + 80 * weight, top), fill=mix(deep, (255, 255, 255), 0.25), width=3)


def _trees(draw: ImageDraw.ImageDraw, palette: Palette, dice: random.Random) -> None:
    leaf = mix(palette.ground, (20, 60, 40) if not palette.snow else (70, 110, 105), 0.6)
    low = 0.74 if palette.water else 0.8
    for x, _, weight in sorted(scattered(dice, 9, _W, _H), key=lambda tree: tree[2]):
        foot, tall = _H * (low + 0.1 * weight * (not palette.water)), _H * (0.1 + 0.1 * weight)
        draw.rectangle((x - 4, foot - tall * 0.2, x + 4, foot), fill=(80, 60, 48))
        for part in range(3):
            top, wide = foot - tall + part * tall * 0.25, tall * (0.16 + 0.07 * part)
            draw.polygon([(x, top), (x - wide, top + tall * 0.34), (x + wide, top + tall * 0.34)], fill=leaf)
            if palette.snow:
                draw.polygon(
                    [(x, top), (x - wide * 0.4, top + tall * 0.13), (x + wide * 0.4, top + tall * 0.13)], "white"
                )
