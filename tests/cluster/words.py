"""What the clients of a cluster run say, and what must come back for it: each turn has a key that is said once. Pure.

    talk <key>   a message of PIECES pieces: "<key>.0 <key>.1 …"
    draw <key>   a call of the picture tool, a picture that no other key has, and a message as above

So a text tells whose it is, whether it is whole, and whether a piece came twice; the provider counts by the key.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from tests.support.pictures import png

PIECES: Final = 30
PAUSE_S: Final = 0.1
"""Between two pieces."""
DRAWING_S: Final = 1.0
"""How long the images API takes."""
_KEY: Final = re.compile(r"\b(?:talk|draw) (\S+)")


def key_of(words: str) -> str | None:
    """The key in what a user said, or in the prompt that the model made of it."""
    found = _KEY.findall(words)
    return found[-1] if found else None


def pieces(key: str) -> list[str]:
    """The message of this key, as it is streamed."""
    return [f"{key}.{number} " for number in range(PIECES)]


def whole_text(key: str) -> str:
    return "".join(pieces(key))


def picture(key: str) -> bytes:
    """The picture of this key."""
    digest = hashlib.sha256(key.encode()).digest()
    return png(32 + digest[3] % 64, 32 + digest[4] % 64, (digest[0], digest[1], digest[2]))


def is_part(text: str, *, of: str) -> bool:
    """Whether a streamed text is pieces of the message of this key, each once and in order; some may be missing."""
    at = -1
    for piece in text.split():
        key, _, number = piece.rpartition(".")
        if key != of or not number.isdecimal() or int(number) <= at:
            return False
        at = int(number)
    return at < PIECES
