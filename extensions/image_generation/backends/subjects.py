"""The things that the offline stand-in can draw: an animal, a sea animal, a house, a boat, a flower, a balloon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from PIL import ImageDraw

from extensions.image_generation.backends.words import RGB, mix

Draw = ImageDraw.ImageDraw
Drawer = Callable[[Draw, RGB, float, float, float], None]


def draw_subject(draw: Draw, words: frozenset[str], colour: RGB, width: int, height: int) -> None:
    """Draw the first known thing among the words, or nothing."""
    drawer = next((known for names, known in _SUBJECTS if words.intersection(names.split())), None)
    if drawer is not None:
        drawer(draw, colour, width * 0.5, height * 0.86, height * 0.16)


def _animal(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    """Four legs, a pointed head, a tail with a light tip; `y` is the ground."""
    dark, pale = mix(colour, (0, 0, 0), 0.35), mix(colour, (255, 255, 255), 0.75)
    for leg in (-0.55, -0.38, 0.3, 0.48):
        draw.rectangle((x + leg * size, y - 0.5 * size, x + (leg + 0.12) * size, y), fill=dark)
    tail = [(-0.6, -0.75), (-1.25, -1.15), (-1.4, -0.85), (-0.65, -0.5)]
    draw.polygon([(x + dx * size, y + dy * size) for dx, dy in tail], fill=colour)
    draw.ellipse((x - 1.45 * size, y - 1.18 * size, x - 1.17 * size, y - 0.84 * size), fill=pale)
    draw.ellipse((x - 0.75 * size, y - 0.95 * size, x + 0.7 * size, y - 0.35 * size), fill=colour)
    head = [(0.45, -1.3), (0.95, -1.3), (1.25, -0.95), (0.75, -0.75), (0.4, -0.9)]
    draw.polygon([(x + dx * size, y + dy * size) for dx, dy in head], fill=colour)
    draw.polygon([(x + dx * size, y + dy * size) for dx, dy in [(0.8, -0.85), (1.25, -0.95), (0.75, -0.75)]], fill=pale)
    for ear in (0.48, 0.76):
        points = [(ear, -1.25), (ear + 0.09, -1.62), (ear + 0.2, -1.25)]
        draw.polygon([(x + dx * size, y + dy * size) for dx, dy in points], fill=dark)
    draw.ellipse((x + 0.85 * size, y - 1.16 * size, x + 0.93 * size, y - 1.08 * size), fill=(20, 20, 20))


def _swimmer(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    """A back out of the water, with a tail fin and an eye."""
    draw.pieslice((x - 1.6 * size, y - 1.1 * size, x + 1.6 * size, y + 1.1 * size), 180, 360, fill=colour)
    fin = [(1.3, -0.2), (2.1, -1.0), (2.0, -0.45), (2.4, -0.5), (1.5, 0.0)]
    draw.polygon([(x + dx * size, y + dy * size) for dx, dy in fin], fill=mix(colour, (0, 0, 0), 0.25))
    draw.ellipse((x - 1.0 * size, y - 0.45 * size, x - 0.85 * size, y - 0.3 * size), fill=(245, 245, 245))


def _house(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    draw.rectangle((x - size, y - size, x + size, y), fill=mix(colour, (255, 255, 255), 0.2))
    draw.polygon(
        [(x - 1.2 * size, y - size), (x, y - 1.9 * size), (x + 1.2 * size, y - size)], fill=mix(colour, (0, 0, 0), 0.4)
    )
    draw.rectangle((x - 0.18 * size, y - 0.6 * size, x + 0.18 * size, y), fill=(90, 60, 40))
    for side in (-0.75, 0.4):
        draw.rectangle(
            (x + side * size, y - 0.75 * size, x + (side + 0.35) * size, y - 0.4 * size), fill=(255, 224, 130)
        )


def _boat(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    hull = [(-1.2, -0.4), (1.2, -0.4), (0.8, 0.1), (-0.8, 0.1)]
    draw.polygon([(x + dx * size, y + dy * size) for dx, dy in hull], fill=colour)
    draw.rectangle((x - 0.04 * size, y - 1.9 * size, x + 0.04 * size, y - 0.4 * size), fill=(90, 60, 40))
    draw.polygon(
        [(x + 0.1 * size, y - 1.85 * size), (x + 1.0 * size, y - 0.55 * size), (x + 0.1 * size, y - 0.55 * size)],
        "white",
    )


def _flower(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    draw.rectangle((x - 0.05 * size, y - 1.2 * size, x + 0.05 * size, y), fill=(60, 120, 60))
    for dx, dy in ((0, -0.4), (0.38, -0.12), (0.24, 0.32), (-0.24, 0.32), (-0.38, -0.12)):
        cx, cy, radius = x + dx * size, y - (1.3 - dy) * size, 0.28 * size
        draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), fill=colour)
    draw.ellipse((x - 0.2 * size, y - 1.5 * size, x + 0.2 * size, y - 1.1 * size), fill=(245, 210, 80))


def _balloon(draw: Draw, colour: RGB, x: float, y: float, size: float) -> None:
    y -= 2.2 * size
    for side in (-0.2, 0.2):
        draw.line((x + side * 3 * size, y - 0.5 * size, x + side * size, y + 0.6 * size), fill=(90, 70, 50), width=3)
    draw.ellipse((x - size, y - 2.0 * size, x + size, y), fill=colour)
    draw.ellipse((x - 0.4 * size, y - 2.0 * size, x + 0.4 * size, y), fill=mix(colour, (255, 255, 255), 0.35))
    draw.rectangle((x - 0.25 * size, y + 0.6 * size, x + 0.25 * size, y + 0.95 * size), fill=(120, 85, 55))


_SUBJECTS: Final[tuple[tuple[str, Drawer], ...]] = (
    ("fox foxes cat cats dog dogs wolf horse deer lion tiger rabbit animal puppy kitten", _animal),
    ("whale whales fish dolphin shark", _swimmer),
    ("boat boats ship ships sailboat sail", _boat),
    ("house houses home cabin cottage hut castle barn", _house),
    ("flower flowers rose tulip sunflower", _flower),
    ("balloon balloons kite airship", _balloon),
)
