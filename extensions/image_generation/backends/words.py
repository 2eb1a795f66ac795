"""What the offline stand-in understands of a prompt, for drawing and for editing: colours and scenes. Pure."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from typing import Final

RGB = tuple[int, int, int]

COLOURS: Final[dict[str, RGB]] = {
    "red": (200, 55, 45),
    "orange": (226, 120, 40),
    "yellow": (240, 200, 70),
    "golden": (226, 178, 70),
    "green": (70, 140, 75),
    "blue": (55, 110, 190),
    "purple": (120, 75, 165),
    "violet": (135, 85, 190),
    "pink": (235, 140, 170),
    "brown": (125, 85, 55),
    "white": (240, 240, 240),
    "black": (40, 40, 45),
    "gray": (130, 135, 140),
    "grey": (130, 135, 140),
}
NIGHT: Final = frozenset({"night", "midnight", "moon", "moonlit", "moonlight", "stars", "starry", "dark"})
SNOW: Final = frozenset({"snow", "snowy", "winter", "ice", "icy", "frost", "cold"})
SUNSET: Final = frozenset({"sunset", "sunrise", "evening", "dusk", "dawn", "warm"})
WATER: Final = frozenset({"sea", "ocean", "lake", "water", "river", "beach", "boat", "ship", "whale", "fish", "shark"})
DESERT: Final = frozenset({"desert", "sand", "dune", "dunes"})


def words_of(prompt: str) -> frozenset[str]:
    """The words of a prompt in lower case."""
    return frozenset(re.findall(r"[a-z]+", prompt.lower()))


def colours_of(prompt: str) -> tuple[RGB, ...]:
    """The colours that the prompt names, in its order."""
    return tuple(COLOURS[word] for word in re.findall(r"[a-z]+", prompt.lower()) if word in COLOURS)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`second` mixed into `first`: 0.0 is all first, 1.0 all second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def scattered(dice: random.Random, count: int, width: int, height: int) -> Iterable[tuple[int, int, float]]:
    """`count` points in a field, each with a weight from 0 to 1."""
    return [(int(dice.random() * width), int(dice.random() * height), dice.random()) for _ in range(count)]
