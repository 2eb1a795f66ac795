"""Pictures in a terminal: the kitty graphics protocol, iTerm2's inline images, else half-blocks in colour.

Decides by the environment alone and never asks the terminal, so nothing is ever read from it. Where output is no
terminal, nothing is written at all. `commands/demo.py` is the caller; Pillow is imported when a picture is drawn.

| terminal says | way |
|---|---|
| not a terminal, or TERM=dumb | none |
| kitty, WezTerm, ghostty (not inside tmux or screen) | kitty |
| iTerm2 (not inside tmux or screen) | iterm |
| anything else | half-blocks, unless NO_COLOR is set |
"""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TextIO

if TYPE_CHECKING:  # the server's command line imports this module: Pillow would slow its start
    from PIL.Image import Image

Way = Literal["kitty", "iterm", "half-blocks", "none"]
Colour = tuple[int, int, int]

MAX_COLUMNS: Final = 80
MAX_HEIGHT_PX: Final = 80
"""Of a half-block drawing: two pixels to a line, so 40 lines at most."""
KITTY_CHUNK: Final = 4096
CUBE_LEVELS: Final = (0, 95, 135, 175, 215, 255)
PNG_MAGIC: Final = b"\x89PNG\r\n\x1a\n"
RESET: Final = "\x1b[0m"


def choose(env: Mapping[str, str], isatty: bool) -> Way:
    """How to show a picture in the terminal that `env` describes; the table stands above."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    if not isatty or term == "dumb":
        return "none"
    if not (env.get("TMUX") or term.startswith(("screen", "tmux"))):
        if term in ("xterm-kitty", "xterm-ghostty") or env.get("KITTY_WINDOW_ID") or program in ("WezTerm", "ghostty"):
            return "kitty"
        if program == "iTerm.app" or env.get("LC_TERMINAL") == "iTerm2":
            return "iterm"
    return "none" if env.get("NO_COLOR") else "half-blocks"


def preview(picture: Path | bytes, out: TextIO, env: Mapping[str, str], columns: int) -> None:
    """Show a picture in at most `columns` columns; one that cannot be drawn becomes a short line, never an error."""
    way = choose(env, out.isatty())
    if way == "none":
        return
    try:
        data = picture if isinstance(picture, bytes) else picture.read_bytes()
        out.write(_draw(way, data, env, max(1, min(columns, MAX_COLUMNS))))
    except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for some broken files
        out.write(f"(no preview: {error})\n")
    out.flush()


def _draw(way: Literal["kitty", "iterm", "half-blocks"], data: bytes, env: Mapping[str, str], columns: int) -> str:
    if way == "kitty":
        return kitty(data if data.startswith(PNG_MAGIC) else _as_png(data), columns)
    if way == "iterm":
        return iterm(data, columns)
    return half_blocks(_decoded(data), columns, truecolor=env.get("COLORTERM", "").lower() in ("truecolor", "24bit"))


def kitty(png: bytes, columns: int) -> str:
    """The kitty graphics protocol: transmit and show a PNG in base64 chunks; `q=2` asks the terminal not to answer."""
    payload = base64.standard_b64encode(png).decode("ascii")
    chunks = [payload[start : start + KITTY_CHUNK] for start in range(0, len(payload), KITTY_CHUNK)]
    keys = itertools.chain([f"a=T,f=100,q=2,c={columns},"], itertools.repeat(""))
    more = [1] * (len(chunks) - 1) + [0]
    return "".join(f"\x1b_G{key}m={m};{chunk}\x1b\\" for key, m, chunk in zip(keys, more, chunks, strict=False)) + "\n"


def iterm(data: bytes, columns: int) -> str:
    """iTerm2's inline image: the file as it is, scaled to the columns."""
    payload = base64.standard_b64encode(data).decode("ascii")
    return f"\x1b]1337;File=inline=1;size={len(data)};width={columns};preserveAspectRatio=1:{payload}\x07\n"


def half_blocks(image: Image, columns: int, *, truecolor: bool) -> str:
    """Two pixels to a character: `▀` with the upper one in front and the lower one behind. Never enlarged."""
    small = _flat(image)
    small.thumbnail((columns, MAX_HEIGHT_PX))
    return "".join(_line(small, y, truecolor) for y in range(0, small.height, 2))


def nearest_256(colour: Colour) -> int:
    """The nearest entry of the 256 colours: the 6×6×6 cube (from 16) or the grey ramp (from 232)."""
    steps = [min(range(6), key=lambda n, part=part: abs(CUBE_LEVELS[n] - part)) for part in colour]  # type: ignore[misc]  # mypy infers no type for a lambda with a default
    grey_step = max(0, min(23, round((sum(colour) / 3 - 8) / 10)))
    cube, grey = tuple(CUBE_LEVELS[n] for n in steps), (8 + 10 * grey_step,) * 3
    if _distance(grey, colour) < _distance(cube, colour):
        return 232 + grey_step
    return 16 + 36 * steps[0] + 6 * steps[1] + steps[2]


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _flat(image: Image) -> Image:
    """The picture in RGB, what is transparent shown on white."""
    from PIL import Image as images

    rgba = image.convert("RGBA")
    return images.alpha_composite(images.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _line(image: Image, y: int, truecolor: bool) -> str:
    parts: list[str] = []
    previous = ""
    for codes in _cells(image, y, truecolor):
        if codes != previous:
            parts.append(f"\x1b[{codes}m")
            previous = codes
        parts.append("▀")
    return "".join(parts) + RESET + "\n"


def _cells(image: Image, y: int, truecolor: bool) -> Iterator[str]:
    for x in range(image.width):
        front = _code(38, image, x, y, truecolor)
        yield f"{front};{_code(48, image, x, y + 1, truecolor)}" if y + 1 < image.height else front


def _code(ground: Literal[38, 48], image: Image, x: int, y: int, truecolor: bool) -> str:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)  # RGB
    red, green, blue = (int(part) for part in pixel)
    return f"{ground};2;{red};{green};{blue}" if truecolor else f"{ground};5;{nearest_256((red, green, blue))}"


def _as_png(data: bytes) -> bytes:
    target = io.BytesIO()
    _decoded(data).save(target, format="PNG")
    return target.getvalue()


def _decoded(data: bytes) -> Image:
    from PIL import Image as images

    try:
        with images.open(io.BytesIO(data)) as image:
            image.load()
            return image.copy()
    except images.DecompressionBombError as error:
        raise ValueError("the picture is too large") from error
