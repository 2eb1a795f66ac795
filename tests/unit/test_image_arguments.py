"""What the model may send to `image_gen.imagegen`, and what it is told when it sends something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app_server.extension_api import ToolFailure
from extensions.image_generation.arguments import PARAMETERS, Action, ImageArguments, parse_arguments, resolve_path

ALL = (
    "`prompt`, `action`, `referenced_image_paths`, `num_last_images_to_include`, `transparent_background`"
)  # fmt: skip


def test_the_emitted_schema_states_every_limit() -> None:
    bare = {
        name: {key: value for key, value in schema.items() if key != "description"}
        for name, schema in PARAMETERS["properties"].items()
    }
    assert ({**PARAMETERS, "properties": bare}) == {
        "type": "object",
        "properties": {
            "prompt": {"type": "string", "minLength": 1},
            "action": {"type": ["string", "null"], "enum": ["generate", "edit", None]},
            "referenced_image_paths": {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": 5},
            "num_last_images_to_include": {"type": ["integer", "null"], "minimum": 1, "maximum": 5},
            "transparent_background": {"type": ["boolean", "null"]},
        },
        "required": ["prompt"],
        "additionalProperties": False,
    }
    assert all(schema["description"] for schema in PARAMETERS["properties"].values())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, {}, id="prompt alone"),
        pytest.param({"action": "generate"}, {"action": Action.GENERATE}, id="generate"),
        pytest.param({"action": "edit"}, {"action": Action.EDIT}, id="edit"),
        pytest.param({"transparent_background": True}, {"transparent": True}, id="transparent"),
        pytest.param({"transparent_background": False}, {}, id="not transparent"),
        pytest.param(
            {"referenced_image_paths": ["b", "a", "b", "~/c", "/d"]},
            {"paths": ("b", "a", "b", "~/c", "/d")},
            id="paths keep order and duplicates",
        ),
        pytest.param({"referenced_image_paths": []}, {}, id="no paths"),
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
    assert parse_arguments(json.dumps({"prompt": "a fox", **given})) == ImageArguments(prompt="a fox", **expected)


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
            "`referenced_image_paths` and `num_last_images_to_include` exclude each other; give only one of them",
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
            "`referenced_image_paths` must not contain an empty path; give the path of a picture file",
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
        parse_arguments(json.dumps({"prompt": "a fox", **given}))
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
        parse_arguments(text)
    assert failure.value.message == message


@pytest.mark.parametrize("text", ['{"prompt": "\\ud800"}', "[" * 5000, '{"prompt": "a", "prompt": }'])
def test_what_could_not_be_sent_on_is_not_valid_json(text: str) -> None:
    with pytest.raises(ToolFailure, match="the arguments are not valid JSON"):
        parse_arguments(text)


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
