"""What the model may send to `image_gen.imagegen`, and what it is told when it sends something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app_server.extension_api import ImageSettings, ToolFailure
from extensions.image_generation.argument_table import Action, parameters, rules_for
from extensions.image_generation.arguments import ImageArguments, parse_arguments, resolve_path
from extensions.image_generation.backends.base import Gif

RULES = rules_for(ImageSettings())
EXPOSED = rules_for(ImageSettings(expose_parameters=True, models=("dall-e-3",)))
ALL = (
    "`prompt`, `action`, `referenced_image_paths`, `referenced_images`, `num_last_images_to_include`, "
    "`transparent_background`"
)
ONE_SELECTOR = "exclude each other; give only one of them"


def bare(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without its descriptions, which all members must have."""
    assert all(member["description"] for member in schema["properties"].values())
    return {
        name: {key: value for key, value in member.items() if key != "description"}
        for name, member in schema["properties"].items()
    }


SELECTORS: dict[str, Any] = {
    "prompt": {"type": "string", "minLength": 1},
    "action": {"type": ["string", "null"], "enum": ["generate", "edit", None]},
    "referenced_image_paths": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 5},
    "referenced_images": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 5},
    "num_last_images_to_include": {"type": ["integer", "null"], "minimum": 1, "maximum": 5},
    "transparent_background": {"type": ["boolean", "null"]},
}


def test_the_emitted_schema_states_every_limit() -> None:
    schema = parameters(RULES)
    assert {**schema, "properties": bare(schema)} == {
        "type": "object",
        "properties": SELECTORS,
        "required": ["prompt"],
        "additionalProperties": False,
    }


def test_the_limit_of_references_is_that_of_the_settings() -> None:
    rules = rules_for(ImageSettings(max_references=16))
    for name in ("referenced_image_paths", "referenced_images"):
        assert parameters(rules)["properties"][name]["maxItems"] == 16
        assert parse_arguments(json.dumps({"prompt": "a fox", name: list("abcdefghijklmnop")}), rules)
        with pytest.raises(ToolFailure, match=f"`{name}` must contain at most 16 "):
            parse_arguments(json.dumps({"prompt": "a fox", name: list("abcdefghijklmnopq")}), rules)


def test_exposed_parameters_stand_in_the_schema_with_what_the_allowed_models_take() -> None:
    schema = parameters(EXPOSED)
    exposed = {name: member for name, member in bare(schema).items() if name not in SELECTORS}
    assert exposed == {
        "size": {"type": ["string", "null"], "pattern": "^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$"},
        "quality": {"type": ["string", "null"], "enum": ["auto", "low", "medium", "high", "standard", "hd", None]},
        "n": {"type": ["integer", "null"], "minimum": 1, "maximum": 10},
        "background": {"type": ["string", "null"], "enum": ["auto", "opaque", "transparent", None]},
        "output_format": {"type": ["string", "null"], "enum": ["png", "jpeg", "webp", "gif", None]},
        "gif": {
            "type": ["object", "null"],
            "properties": {
                "frame_count": {
                    "type": ["integer", "null"],
                    "minimum": 2,
                    "maximum": 16,
                    "description": "Number of frames.",
                },
                "frame_duration_ms": {
                    "type": ["integer", "null"],
                    "minimum": 20,
                    "maximum": 2000,
                    "description": "Duration of each frame in milliseconds.",
                },
            },
            "additionalProperties": False,
        },
        "mask_path": {"type": ["string", "null"]},
        "model": {"type": ["string", "null"], "enum": ["gpt-image-2", "dall-e-3", None]},
    }
    assert "both edges multiples of 16" in schema["properties"]["size"]["description"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"size": "1536x1024", "quality": "high", "n": 3}, {"size": "1536x1024", "quality": "high", "n": 3}),
        ({"size": None, "quality": None, "n": None, "background": None, "output_format": None, "gif": None}, {}),
        ({"size": "auto", "quality": "auto", "background": "auto"}, {}),
        ({"background": "opaque"}, {"background": "opaque"}),
        ({"background": "transparent"}, {"background": "transparent"}),
        ({"background": "transparent", "transparent_background": True}, {"background": "transparent"}),
        ({"background": "transparent", "transparent_background": False}, {"background": "transparent"}),
        ({"output_format": "webp"}, {"output_format": "webp"}),
        ({"output_format": "gif"}, {"output_format": "gif", "gif": Gif()}),
        ({"gif": {}}, {"output_format": "gif", "gif": Gif()}),
        (
            {"gif": {"frame_count": 2, "frame_duration_ms": 2000}},
            {"output_format": "gif", "gif": Gif(frame_count=2, frame_duration_ms=2000)},
        ),
        (
            {"gif": {"frame_count": 16, "frame_duration_ms": 20}, "output_format": "gif"},
            {"output_format": "gif", "gif": Gif(frame_count=16, frame_duration_ms=20)},
        ),
        ({"mask_path": "~/m.png"}, {"mask_path": "~/m.png"}),
        ({"model": "dall-e-3"}, {"model": "dall-e-3"}),
    ],
)
def test_exposed_parameters_are_read(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parse_arguments(json.dumps({"prompt": "a fox", **given}), EXPOSED) == ImageArguments(
        prompt="a fox", **expected
    )


SIZE = "`size` must be auto or width x height such as 1536x1024, not "


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": "big"}, f"{SIZE}`big`"),
        ({"size": "1x2x3"}, f"{SIZE}`1x2x3`"),
        ({"size": "0x100"}, f"{SIZE}`0x100`"),
        ({"size": "-1x100"}, f"{SIZE}`-1x100`"),
        ({"size": "100000x100"}, f"{SIZE}`100000x100`"),
        ({"size": 1024}, f"{SIZE}a number"),
        (
            {"quality": "ultra"},
            "`quality` cannot be `ultra`; use auto, low, medium, high, standard, hd, or leave it out",
        ),
        ({"n": 0}, "`n` must be between 1 and 10; make several calls for more"),
        ({"n": 11}, "`n` must be between 1 and 10; make several calls for more"),
        ({"n": "2"}, "`n` must be a whole number, not a string; give 1 to 10"),
        ({"n": True}, "`n` must be a whole number, not a boolean; give 1 to 10"),
        ({"background": "red"}, "`background` cannot be `red`; use auto, opaque, transparent, or leave it out"),
        (
            {"background": "opaque", "transparent_background": True},
            "`transparent_background` is true, but `background` is opaque; leave out one of the two",
        ),
        ({"output_format": "bmp"}, "`output_format` cannot be `bmp`; use png, jpeg, webp, gif, or leave it out"),
        (
            {"gif": {}, "output_format": "png"},
            "`gif` is given, but `output_format` is png; leave out one of the two",
        ),
        ({"gif": True}, "`gif` must be an object, not a boolean; give {} for the defaults"),
        (
            {"gif": {"loops": 3}},
            "`gif` has no member `loops`; use only `frame_count` and `frame_duration_ms`",
        ),
        *(
            (
                {"gif": {"frame_count": count}},
                "`gif.frame_count` must be between 2 and 16; choose a number in between, or leave it out",
            )
            for count in (1, 17)
        ),
        *(
            (
                {"gif": {"frame_duration_ms": duration}},
                "`gif.frame_duration_ms` must be between 20 and 2000; choose a number in between, or leave it out",
            )
            for duration in (0, 19, 2001)
        ),
        ({"gif": {"frame_count": "9"}}, "`gif.frame_count` must be a whole number, not a string; give 2 to 16"),
        ({"mask_path": 1}, "`mask_path` must be a path, not a number; give the path of a PNG file"),
        ({"mask_path": " "}, "`mask_path` must be a path, not an empty string; give the path of a PNG file"),
        (
            {"mask_path": "https://x.test/m.png"},
            "`mask_path` takes paths, not URLs such as `https://x.test/m.png`; give the path of a picture file on this "
            "machine",
        ),
        ({"model": "other"}, "`model` cannot be `other`; use gpt-image-2, dall-e-3, or leave it out"),
    ],
)
def test_a_wrong_exposed_parameter_is_refused_with_its_name_the_rule_and_the_fix(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolFailure) as failure:
        parse_arguments(json.dumps({"prompt": "a fox", **given}), EXPOSED)
    assert failure.value.message == message


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="prompt alone"),
        pytest.param({"action": "generate"}, {"action": Action.GENERATE}, id="generate"),
        pytest.param({"action": "edit"}, {"action": Action.EDIT}, id="edit"),
        pytest.param({"transparent_background": True}, {"background": "transparent"}, id="transparent"),
        pytest.param({"transparent_background": False}, {}, id="not transparent"),
        pytest.param(
            {"referenced_image_paths": ["b", "a", "b", "~/c", "/d"]},
            {"paths": ("b", "a", "b", "~/c", "/d")},
            id="paths keep order and duplicates",
        ),
        pytest.param({"referenced_image_paths": []}, {}, id="no paths"),
        pytest.param(
            {"referenced_images": ["img_2", "img_1", "img_2"]},
            {"handles": ("img_2", "img_1", "img_2")},
            id="handles keep order and duplicates",
        ),
        pytest.param({"num_last_images_to_include": 1}, {"last": 1}, id="last 1"),
        pytest.param({"num_last_images_to_include": 5}, {"last": 5}, id="last 5"),
        pytest.param(
            {"referenced_image_paths": [], "num_last_images_to_include": 2}, {"last": 2}, id="no paths and last 2"
        ),
        pytest.param(
            {"action": "generate", "referenced_image_paths": ["a"]},
            {"action": Action.GENERATE, "paths": ("a",)},
            id="generate with paths",
        ),
        pytest.param(
            {
                "action": None,
                "referenced_image_paths": None,
                "num_last_images_to_include": None,
                "transparent_background": None,
            },
            {},
            id="all null",
        ),
    ],
)
def test_valid_arguments_are_read(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert parse_arguments(json.dumps({"prompt": "a fox", **given}), RULES) == ImageArguments(
        prompt="a fox", **expected
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"referenced_image_paths": list("abcdef")},
            "`referenced_image_paths` must contain at most 5 paths, not 6; leave out the least important ones or edit "
            "in several calls",
        ),
        (
            {"referenced_image_paths": ["a"], "num_last_images_to_include": 1},
            f"`referenced_image_paths` and `num_last_images_to_include` {ONE_SELECTOR}",
        ),
        (
            {"referenced_images": ["img_1"], "num_last_images_to_include": 1},
            f"`referenced_images` and `num_last_images_to_include` {ONE_SELECTOR}",
        ),
        (
            {"referenced_images": ["img_1"], "referenced_image_paths": ["a"]},
            f"`referenced_image_paths` and `referenced_images` {ONE_SELECTOR}",
        ),
        (
            {"referenced_images": "img_1"},
            "`referenced_images` must be a list of handles, not a string; put the handle into a list",
        ),
        (
            {"referenced_images": [1]},
            "`referenced_images` must contain only strings, not a number; give each handle as a string",
        ),
        *(
            (
                {"num_last_images_to_include": number},
                "`num_last_images_to_include` must be between 1 and 5; "
                "give the smallest number that covers the pictures",
            )
            for number in (0, 6, -1)
        ),
        *(
            (
                {"num_last_images_to_include": value},
                f"`num_last_images_to_include` must be a whole number, not {kind}; give 1 to 5",
            )
            for value, kind in (("1", "a string"), (True, "a boolean"), (1.5, "a number"), ([1], "a list"))
        ),
        (
            {"referenced_image_paths": "a.png"},
            "`referenced_image_paths` must be a list of paths, not a string; put the path into a list",
        ),
        (
            {"referenced_image_paths": [None]},
            "`referenced_image_paths` must contain only strings, not null; give each path as a string",
        ),
        (
            {"referenced_image_paths": [" "]},
            "`referenced_image_paths` must not contain an empty path; give the path of a picture",
        ),
        (
            {"referenced_image_paths": ["file:///a.png"]},
            "`referenced_image_paths` takes paths, not URLs such as `file:///a.png`; give the path of a picture file "
            "on this machine",
        ),
        ({"size": "1x1"}, f"`size` is not an argument of this tool; leave it out and use only {ALL}"),
        ({"gif": {}}, f"`gif` is not an argument of this tool; leave it out and use only {ALL}"),
        ({"prompt": 3}, "`prompt` must be a string, not a number; say in words what the picture should show"),
        ({"prompt": None}, "`prompt` must be a string, not null; say in words what the picture should show"),
        ({"prompt": " \n"}, "`prompt` must not be empty; say what the picture should show"),
        ({"action": "remix"}, "`action` must be `generate` or `edit`, not `remix`; or leave it out"),
        ({"action": {}}, "`action` must be `generate` or `edit`, not an object; or leave it out"),
        (
            {"transparent_background": "yes"},
            "`transparent_background` must be true or false, not a string; or leave it out",
        ),
    ],
)
def test_a_wrong_argument_is_refused_with_its_name_the_rule_and_the_fix(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        parse_arguments(json.dumps({"prompt": "a fox", **given}), RULES)
    assert failure.value.message == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "`prompt` is missing; say what the picture should show"),
        ("[]", "the arguments must be a JSON object, not a list; send an object with `prompt`"),
        ("null", "the arguments must be a JSON object, not null; send an object with `prompt`"),
        ('{"prompt": ', "the arguments are not valid JSON (line 1, column 12); send one JSON object with `prompt`"),
        ("", "the arguments are not valid JSON (line 1, column 1); send one JSON object with `prompt`"),
    ],
)
def test_what_is_no_object_with_a_prompt_is_refused(text: str, message: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        parse_arguments(text, RULES)
    assert failure.value.message == message


@pytest.mark.parametrize("text", ['{"prompt": "\\ud800"}', "[" * 5000, '{"prompt": "a", "prompt": }'])
def test_what_could_not_be_sent_on_is_not_valid_json(text: str) -> None:
    with pytest.raises(ToolFailure, match="the arguments are not valid JSON"):
        parse_arguments(text, RULES)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/abs/a.png", Path("/abs/a.png")),
        ("/abs/x/../a.png", Path("/abs/a.png")),
        ("a.png", Path("/work dir/a.png")),
        ("./sub/../a.png", Path("/work dir/a.png")),
        ("~/a.png", Path.home() / "a.png"),
    ],
)
def test_a_path_may_be_absolute_relative_or_in_the_home(text: str, path: Path) -> None:
    assert resolve_path(text, Path("/work dir")) == path


def test_the_home_of_an_unknown_user_is_refused() -> None:
    with pytest.raises(ToolFailure, match="no home folder is known for `~nobody-of-this-name/a"):
        resolve_path("~nobody-of-this-name/a.png", Path("/"))
