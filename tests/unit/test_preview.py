"""Pictures in a terminal: which way is chosen, and exactly what is written."""

import base64
import io
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from app_server.commands.preview import choose, half_blocks, iterm, kitty, nearest_256, preview

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def picture(*rows: list[tuple[int, int, int]]) -> Image.Image:
    image = Image.new("RGB", (len(rows[0]), len(rows)))
    for y, row in enumerate(rows):
        for x, colour in enumerate(row):
            image.putpixel((x, y), colour)
    return image


def encoded(image: Image.Image, kind: Literal["PNG", "WEBP"] = "PNG") -> bytes:
    target = io.BytesIO()
    image.save(target, format=kind, lossless=True)
    return target.getvalue()


@pytest.mark.parametrize(
    ("env", "isatty", "way"),
    [
        ({"TERM": "xterm-256color"}, True, "half-blocks"),
        ({}, True, "half-blocks"),
        ({"TERM": "xterm-kitty"}, True, "kitty"),
        ({"TERM": "xterm-ghostty"}, True, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, True, "kitty"),
        ({"TERM_PROGRAM": "WezTerm"}, True, "kitty"),
        ({"TERM_PROGRAM": "ghostty"}, True, "kitty"),
        ({"TERM_PROGRAM": "iTerm.app"}, True, "iterm"),
        ({"LC_TERMINAL": "iTerm2"}, True, "iterm"),
        ({"TERM_PROGRAM": "Apple_Terminal"}, True, "half-blocks"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, True, "half-blocks"),
        ({"TERM": "screen", "TERM_PROGRAM": "iTerm.app"}, True, "half-blocks"),
        ({"TERM": "xterm-256color", "TMUX": "/tmp/x,1,0", "LC_TERMINAL": "iTerm2"}, True, "half-blocks"),
        ({"NO_COLOR": "1"}, True, "none"),
        ({"NO_COLOR": ""}, True, "half-blocks"),
        ({"NO_COLOR": "1", "TERM": "xterm-kitty"}, True, "kitty"),
        ({"TERM": "dumb"}, True, "none"),
        ({"TERM": "xterm-kitty"}, False, "none"),
        ({"TERM_PROGRAM": "iTerm.app"}, False, "none"),
        ({}, False, "none"),
    ],
)
def test_the_environment_decides_how_a_picture_is_shown(env: dict[str, str], isatty: bool, way: str) -> None:
    assert choose(env, isatty) == way


def test_half_blocks_put_two_pixels_into_a_character() -> None:
    assert half_blocks(picture([RED, BLUE], [GREEN, WHITE]), 80, truecolor=True) == (
        "\x1b[38;2;255;0;0;48;2;0;255;0m▀\x1b[38;2;0;0;255;48;2;255;255;255m▀\x1b[0m\n"
    )


def test_half_blocks_repeat_no_colour_code_within_a_line() -> None:
    assert half_blocks(picture([RED, RED, RED], [BLUE, BLUE, BLUE]), 80, truecolor=True) == (
        "\x1b[38;2;255;0;0;48;2;0;0;255m▀▀▀\x1b[0m\n"
    )


def test_the_last_line_of_an_odd_height_keeps_the_terminal_background() -> None:
    assert half_blocks(picture([RED], [GREEN], [BLUE]), 80, truecolor=True) == (
        "\x1b[38;2;255;0;0;48;2;0;255;0m▀\x1b[0m\n\x1b[38;2;0;0;255m▀\x1b[0m\n"
    )


def test_half_blocks_fall_back_to_256_colours() -> None:
    assert half_blocks(picture([RED], [GREEN]), 80, truecolor=False) == "\x1b[38;5;196;48;5;46m▀\x1b[0m\n"


def test_transparent_pixels_show_white() -> None:
    assert (
        half_blocks(Image.new("RGBA", (1, 1), (0, 0, 0, 0)), 80, truecolor=True) == "\x1b[38;2;255;255;255m▀\x1b[0m\n"
    )


def test_half_blocks_keep_to_the_columns_and_to_forty_lines() -> None:
    def size(image: Image.Image) -> tuple[int, int]:
        lines = half_blocks(image, 10, truecolor=True).splitlines()
        return lines[0].count("▀"), len(lines)

    assert [size(Image.new("RGB", pixels)) for pixels in ((100, 40), (40, 4000))] == [(10, 2), (1, 40)]


@pytest.mark.parametrize(
    ("colour", "entry"),
    [
        ((0, 0, 0), 16),
        ((255, 255, 255), 231),
        ((255, 0, 0), 196),
        ((95, 135, 175), 67),
        ((8, 8, 8), 232),
        ((128, 128, 128), 244),
        ((238, 238, 238), 255),
    ],
)
def test_a_colour_goes_to_the_nearest_of_the_256(colour: tuple[int, int, int], entry: int) -> None:
    assert nearest_256(colour) == entry


def test_kitty_gets_the_keys_once_and_chunks_of_4096() -> None:
    data = bytes(range(256)) * 18  # 4608 bytes: 6144 characters of base64
    payload = base64.standard_b64encode(data).decode()
    assert kitty(data, 40) == (f"\x1b_Ga=T,f=100,q=2,c=40,m=1;{payload[:4096]}\x1b\\\x1b_Gm=0;{payload[4096:]}\x1b\\\n")


def test_kitty_takes_a_small_picture_in_one_chunk() -> None:
    assert kitty(b"abc", 80) == "\x1b_Ga=T,f=100,q=2,c=80,m=0;YWJj\x1b\\\n"


def test_iterm_gets_the_file_inline() -> None:
    assert iterm(b"abc", 80) == "\x1b]1337;File=inline=1;size=3;width=80;preserveAspectRatio=1:YWJj\x07\n"


def test_a_preview_reads_the_file_and_keeps_to_eighty_columns(tmp_path: Path) -> None:
    file, out = tmp_path / "a.png", Terminal()
    file.write_bytes(encoded(picture([RED])))
    preview(file, out, {"TERM": "xterm-kitty"}, 200)
    assert out.getvalue() == kitty(file.read_bytes(), 80)


def test_kitty_gets_a_png_also_for_another_type() -> None:
    out = Terminal()
    preview(encoded(picture([RED, BLUE]), "WEBP"), out, {"TERM": "xterm-kitty"}, 80)
    sent = base64.standard_b64decode(out.getvalue().partition("m=0;")[2].removesuffix("\x1b\\\n"))
    with Image.open(io.BytesIO(sent)) as image:
        assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (2, 1), RED)


@pytest.mark.parametrize(
    ("colorterm", "shown"), [("truecolor", "\x1b[38;2;255;0;0m▀\x1b[0m\n"), ("", "\x1b[38;5;196m▀\x1b[0m\n")]
)
def test_half_blocks_use_24_bits_where_the_terminal_says_so(colorterm: str, shown: str) -> None:
    out = Terminal()
    preview(encoded(picture([RED])), out, {"COLORTERM": colorterm}, 80)
    assert out.getvalue() == shown


def test_nothing_is_written_where_output_is_no_terminal() -> None:
    out = io.StringIO()
    preview(encoded(picture([RED])), out, {"TERM": "xterm-kitty"}, 80)
    assert out.getvalue() == ""


def test_a_picture_that_cannot_be_drawn_becomes_a_short_line() -> None:
    out = Terminal()
    preview(b"no picture", out, {}, 80)
    assert out.getvalue().startswith("(no preview: cannot identify image file")
