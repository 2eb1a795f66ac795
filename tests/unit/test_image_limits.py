"""What models and APIs take, and what is told when a picture is other than asked: the tables, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extensions.image_generation.backends.base import Gif, ImageRequest, InputPicture
from extensions.image_generation.backends.capabilities import APIS, MODELS, SizeRange, model_row
from extensions.image_generation.limits import deviations, left_out, parse_size, partial_images, refusal
from tests.support.image_fakes import checked
from tests.support.pictures import jpeg, png, transparent_png

REQUEST = ImageRequest(prompt="a fox", model="gpt-image-2")
PICTURE = InputPicture(mime="image/png", data=png(), width=8, height=8)
MASK = replace(PICTURE, data=transparent_png(), has_alpha=True)
RANGE = model_row("gpt-image-2").sizes


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("gpt-image-2", "gpt-image-2"),
        ("gpt-image-2.5", "gpt-image-2"),
        ("GPT-Image-1-mini", "gpt-image-"),
        ("azure/gpt-image-1", "gpt-image-"),
        ("chatgpt-image-latest", "chatgpt-image-"),
        ("openai/dall-e-3", "dall-e-3"),
        ("dall-e-2", "dall-e-2"),
        ("my-deployment", ""),
        ("stable-diffusion-xl", ""),
    ],
)
def test_a_model_is_found_by_how_the_last_part_of_its_name_begins(name: str, prefix: str) -> None:
    assert model_row(name).prefix == prefix


def test_the_last_row_is_for_every_other_name() -> None:
    assert [row.prefix for row in MODELS].index("") == len(MODELS) - 1


@pytest.mark.parametrize(
    ("size", "allowed"),
    [
        ("1024x1024", True),
        ("3840x2160", True),
        ("2160x3840", True),
        ("1024x640", True),
        ("1008x640", False),
        ("3856x1600", False),
        ("1025x1024", False),
        ("3840x2176", False),
        ("3072x1024", True),
        ("3088x1024", False),
        ("0x16", False),
    ],
)
def test_the_sizes_of_gpt_image_2_follow_its_rules(size: str, allowed: bool) -> None:
    parsed = parse_size(size)
    assert isinstance(RANGE, SizeRange)
    assert parsed is not None
    assert RANGE.allows(*parsed) is allowed
    assert (refusal(replace(REQUEST, size=size), APIS["json"]) is None) is allowed


@pytest.mark.parametrize("text", ["", "x", "10", "10x", "x10", "-1x1", "1x1x1", "1e3x1", "100000x1", "\u0661x\u0661"])
def test_what_is_no_size_is_not_read_as_one(text: str) -> None:
    assert parse_size(text) is None


PASSES: list[tuple[dict[str, Any], str]] = [
    ({}, "json"),
    ({"output_format": "gif", "gif": Gif()}, "json"),
    ({"output_format": "gif", "gif": Gif()}, "offline"),
    ({"pictures": (PICTURE,) * 16}, "multipart"),
    ({"pictures": (PICTURE,), "mask": MASK}, "multipart"),
    ({"model": "my-deployment", "size": "123x45", "quality": "hd", "n": 10}, "multipart"),
    ({"model": "dall-e-2", "pictures": (PICTURE,), "n": 10}, "multipart"),
    ({"model": "dall-e-3", "quality": "hd", "size": "1792x1024"}, "multipart"),
    ({"model": "dall-e-3", "output_format": "jpeg", "size": "1000x500"}, "offline"),
]


@pytest.mark.parametrize(("changes", "api"), PASSES)
def test_what_model_and_api_can_is_not_refused(changes: dict[str, Any], api: str) -> None:
    assert refusal(replace(REQUEST, **changes), APIS[api]) is None


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (
        {"size": "100x100"},
        "json",
        "`size` 100x100 is not possible with gpt-image-2: both edges multiples of 16 and at most 3840, the longer at "
        "most 3 times the shorter, 655360 to 8294400 pixels in all; use auto or 1024x1024, 1536x1024 or 3840x2160",
    ),
    (
        {"size": "100x100", "model": "gpt-image-1"},
        "json",
        "`size` 100x100 is not possible with gpt-image-1: one of 1024x1024, 1536x1024, 1024x1536; "
        "use auto or 1024x1024",
    ),
    (
        {"quality": "hd"},
        "json",
        "`quality` hd is not possible with gpt-image-2; use low, medium, high or leave it out",
    ),
    (
        {"background": "transparent", "model": "dall-e-3"},
        "multipart",
        "dall-e-3 has no choice of background; leave out `background` and `transparent_background`",
    ),
    (
        {"output_format": "webp", "model": "dall-e-3"},
        "multipart",
        "`output_format` cannot be chosen with dall-e-3; leave it out",
    ),
    (
        {"output_format": "jpeg", "background": "transparent"},
        "json",
        "`output_format` jpeg knows no transparency; use png or webp, or leave out the transparent background",
    ),
    (
        {"output_format": "gif", "gif": Gif()},
        "multipart",
        "`gif` is not possible with gpt-image-2 through this images API (multipart edits); leave it out and use png",
    ),
    (
        {"output_format": "gif", "gif": Gif(), "model": "gpt-image-1"},
        "json",
        "`gif` is not possible with gpt-image-1 through this images API (JSON); leave it out and use png",
    ),
    (
        {"n": 2, "model": "dall-e-3"},
        "multipart",
        "`n` is 2, but dall-e-3 makes at most 1 picture at a time; make several calls",
    ),
    (
        {"pictures": (PICTURE,), "model": "dall-e-3"},
        "multipart",
        "dall-e-3 cannot edit pictures; describe the whole picture in `prompt` and give no reference",
    ),
    (
        {"pictures": (PICTURE, PICTURE), "model": "dall-e-2"},
        "multipart",
        "dall-e-2 edits at most 1 picture at a time, not 2; leave some out",
    ),
    (
        {"pictures": (PICTURE, replace(PICTURE, data=bytes(50 * 1024 * 1024 + 1)))},
        "json",
        "picture 2 of the edit has more than the 50 MiB that gpt-image-2 takes; give a smaller copy",
    ),
    (
        {"mask": MASK},
        "json",
        "`mask_path` needs a picture to edit; give one by path, by handle or from the conversation",
    ),
    (
        {"mask": replace(MASK, width=9), "pictures": (PICTURE,)},
        "json",
        "`mask_path` has 9x8 pixels, but the first picture 8x8; give a mask of the same size",
    ),
    (
        {"mask": replace(MASK, has_alpha=False), "pictures": (PICTURE,)},
        "json",
        "`mask_path` has no transparent pixel; make those pixels transparent that may change",
    ),
]


@pytest.mark.parametrize(("changes", "api", "text"), REFUSED)
def test_what_model_or_api_cannot_is_refused_with_the_rule_and_the_fix(
    changes: dict[str, Any], api: str, text: str
) -> None:
    assert refusal(replace(REQUEST, **changes), APIS[api]) == text


def test_what_has_no_effect_is_told() -> None:
    sentence = "`quality` high has no effect with the backend at hand (offline sketch, not AI), so it was left out."
    assert left_out(replace(REQUEST, quality="high"), APIS["offline"]) == [sentence]
    assert left_out(REQUEST, APIS["offline"]) == []
    assert left_out(replace(REQUEST, quality="high"), APIS["json"]) == []


@pytest.mark.parametrize(
    ("wanted", "changes", "api", "asked"),
    [
        (0, {}, "json", 0),
        (3, {}, "json", 3),
        (2, {"model": "gpt-image-1"}, "multipart", 2),
        (2, {"n": 2}, "json", 0),
        (2, {"model": "my-deployment"}, "multipart", 0),
        (2, {"model": "my-deployment"}, "offline", 2),
    ],
)
def test_unfinished_pictures_are_asked_for_only_where_they_come(
    wanted: int, changes: dict[str, Any], api: str, asked: int
) -> None:
    assert partial_images(wanted, replace(REQUEST, **changes), APIS[api]) == asked


@pytest.mark.parametrize(
    ("changes", "data", "told"),
    [
        ({}, png(), []),
        ({"size": "8x8", "output_format": "png", "background": "transparent"}, transparent_png(), []),
        ({"background": "opaque"}, transparent_png(), []),
        ({"size": "16x8"}, png(), ["The picture has 8x8 pixels, not the 16x8 that were asked for."]),
        (
            {"output_format": "webp"},
            jpeg(),
            ["The picture came as image/jpeg, not as the webp that was asked for."],
        ),
        (
            {"background": "transparent"},
            png(),
            ["A transparent background was asked for, but no pixel of the picture is transparent."],
        ),
    ],
)
def test_a_picture_that_is_other_than_asked_is_told(changes: dict[str, Any], data: bytes, told: list[str]) -> None:
    assert deviations(replace(REQUEST, **changes), checked(data)) == told
