"""Owns the arguments of `image_gen.imagegen`: the JSON schema that the model sees, and the reading of what it sends.

The limits stand in the schema and are enforced here, from one set of constants. Pure. Every refusal is a ToolFailure
that names the argument, the rule and the fix; it comes before any item is shown and any request is sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.extension_api import ToolFailure

MAX_PICTURES: Final = 5
"""Pictures that one edit may start from, by path or from the conversation."""


class Action(StrEnum):
    """What the model says that it wants."""

    GENERATE = "generate"
    EDIT = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageArguments:
    """The arguments of one call, valid. At most one of `paths` and `last` is given."""

    prompt: str
    action: Action | None = None
    paths: tuple[str, ...] = ()
    """As the model wrote them, in its order."""
    last: int | None = None
    """Edit the newest so many pictures of the conversation."""
    transparent: bool = False


PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "prompt": {
            "type": "string",
            "minLength": 1,
            "description": "What the picture should show, or what to change in the pictures given.",
        },
        "action": {
            "type": ["string", "null"],
            "enum": [*(action.value for action in Action), None],
            "description": "`edit` without a selector edits the pictures of the newest user message that has some, and "
            "those made since; with a selector the call is always an edit.",
        },
        "referenced_image_paths": {
            "type": ["array", "null"],
            "items": {"type": "string"},
            "maxItems": MAX_PICTURES,
            "description": "Picture files to edit, in the order that the prompt speaks of them: absolute, with `~`, or "
            "relative to the working directory.",
        },
        "num_last_images_to_include": {
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": MAX_PICTURES,
            "description": "Edit this many of the newest pictures of the conversation. Not together with paths.",
        },
        "transparent_background": {
            "type": ["boolean", "null"],
            "description": "True only when the user asks for a transparent background.",
        },
    },
    "required": ["prompt"],
    "additionalProperties": False,
}
_NAMES: Final = tuple(PARAMETERS["properties"])


def parse_arguments(text: str) -> ImageArguments:
    """Read the model's JSON. Raises ToolFailure."""
    data = _object(text)
    for name in data:
        if name not in _NAMES:
            known = ", ".join(f"`{known}`" for known in _NAMES)
            raise ToolFailure(f"`{name}` is not an argument of this tool; leave it out and use only {known}")
    paths = _paths(data.get("referenced_image_paths"))
    last = _last(data.get("num_last_images_to_include"))
    if paths and last is not None:
        raise ToolFailure(
            "`referenced_image_paths` and `num_last_images_to_include` exclude each other; give only one of them"
        )
    return ImageArguments(
        prompt=_prompt(data),
        action=_action(data.get("action")),
        paths=paths,
        last=last,
        transparent=_flag("transparent_background", data.get("transparent_background")),
    )


def resolve_path(text: str, cwd: Path) -> Path:
    """The absolute path that the model means: `~` is the home, anything else relative is taken from `cwd`."""
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # no such user, or a user without a home
        raise ToolFailure(
            f"`referenced_image_paths`: no home folder is known for `{text}`; give an absolute path"
        ) from error
    return Path(os.path.normpath(cwd / path))


def _object(text: str) -> dict[str, Any]:
    try:
        data = orjson.loads(text)  # stricter than json: no lone surrogates, which could not be sent on
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})"
        raise ToolFailure(f"the arguments are not valid JSON{where}; send one JSON object with `prompt`") from error
    if not isinstance(data, dict):
        raise ToolFailure(f"the arguments must be a JSON object, not {_kind(data)}; send an object with `prompt`")
    return data


def _prompt(data: Mapping[str, Any]) -> str:
    if "prompt" not in data:
        raise ToolFailure("`prompt` is missing; say what the picture should show")
    prompt = data["prompt"]
    if not isinstance(prompt, str):
        raise ToolFailure(f"`prompt` must be a string, not {_kind(prompt)}; say in words what the picture should show")
    if not prompt.strip():
        raise ToolFailure("`prompt` must not be empty; say what the picture should show")
    return prompt


def _action(value: object) -> Action | None:
    if value is None:
        return None
    try:
        return Action(str(value) if isinstance(value, str) else "")
    except ValueError:
        shown = f"`{value}`" if isinstance(value, str) else _kind(value)
        raise ToolFailure(f"`action` must be `generate` or `edit`, not {shown}; or leave it out") from None


def _paths(value: object) -> tuple[str, ...]:
    name = "`referenced_image_paths`"
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ToolFailure(f"{name} must be a list of paths, not {_kind(value)}; put the path into a list")
    if len(value) > MAX_PICTURES:
        rule = f"{name} must contain at most {MAX_PICTURES} paths, not {len(value)}"
        raise ToolFailure(f"{rule}; leave out the least important ones or edit in several calls")
    for path in value:
        if not isinstance(path, str):
            raise ToolFailure(f"{name} must contain only strings, not {_kind(path)}; give each path as a string")
        if not path.strip():
            raise ToolFailure(f"{name} must not contain an empty path; give the path of a picture file")
        if path.lower().startswith(("file:", "http:", "https:", "data:")):
            rule = f"{name} takes paths, not URLs such as `{path[:80]}`"
            raise ToolFailure(f"{rule}; give the path of a picture file on this machine")
    return tuple(value)


def _last(value: object) -> int | None:
    name = "`num_last_images_to_include`"
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolFailure(f"{name} must be a whole number, not {_kind(value)}; give 1 to {MAX_PICTURES}")
    if not 1 <= value <= MAX_PICTURES:
        raise ToolFailure(
            f"{name} must be between 1 and {MAX_PICTURES}; give the smallest number that covers the pictures"
        )
    return value


def _flag(name: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ToolFailure(f"`{name}` must be true or false, not {_kind(value)}; or leave it out")


_KINDS: Final[tuple[tuple[Callable[[object], bool], str], ...]] = (
    (lambda value: value is None, "null"),
    (lambda value: isinstance(value, bool), "a boolean"),
    (lambda value: isinstance(value, (int, float)), "a number"),
    (lambda value: isinstance(value, str), "a string"),
    (lambda value: isinstance(value, list), "a list"),
)


def _kind(value: object) -> str:
    """The JSON type of a value, in words."""
    return next((title for matches, title in _KINDS if matches(value)), "an object")
