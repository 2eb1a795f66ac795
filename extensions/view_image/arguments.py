"""Owns the arguments of `view_image`: the JSON schema that the model sees, and the reading of what it sends. Pure.

Every refusal is a ToolFailure that names the argument, the rule and the fix; it comes before any item is shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.extension_api import ToolFailure
from app_server.extension_api.values import frozen


class Detail(StrEnum):
    """How closely the model looks: `original` keeps four times as many pixels of a large picture."""

    HIGH = "high"
    ORIGINAL = "original"


@frozen
class ViewArguments:
    """The arguments of one call, valid; the path as the model wrote it."""

    path: str
    detail: Detail = Detail.HIGH


PARAMETERS: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "path": {
            "type": "string",
            "minLength": 1,
            "description": "The picture file: absolute, with `~`, or relative to the working directory.",
        },
        "detail": {
            "type": ["string", "null"],
            "enum": [*(detail.value for detail in Detail), None],
            "description": "Leave it out, or give `original` where small things in a large picture matter.",
        },
    },
    "required": ["path"],
    "additionalProperties": False,
}
_NAMES: Final = frozenset(PARAMETERS["properties"])


def parse_arguments(text: str) -> ViewArguments:
    """Read the model's JSON. Raises ToolFailure."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})"
        raise ToolFailure(f"the arguments are not valid JSON{where}; send one JSON object with `path`") from error
    if not isinstance(data, dict):
        raise ToolFailure("the arguments must be a JSON object; send one with `path`")
    for name in data:
        if name not in _NAMES:
            raise ToolFailure(f"`{name}` is not an argument of this tool; leave it out and use only `path`, `detail`")
    return ViewArguments(path=_path(data.get("path")), detail=_detail(data.get("detail")))


def resolve_path(text: str, cwd: Path, *, tilde: bool = True) -> Path:
    """The absolute path that the model means: `~` is the home, anything else relative is taken from `cwd`."""
    try:
        path = Path(text).expanduser() if tilde else Path(text)
    except RuntimeError as error:  # no such user, or a user without a home
        raise ToolFailure(f"`path`: no home folder is known for `{text}`; give an absolute path") from error
    return Path(os.path.normpath(cwd / path))


def _path(value: object) -> str:
    if value is None:
        raise ToolFailure("`path` is missing; give the path of the picture file to look at")
    if not isinstance(value, str):
        raise ToolFailure("`path` must be a string; give the path of one picture file, one call for each")
    if not value.strip():
        raise ToolFailure("`path` must not be empty; give the path of the picture file to look at")
    if value.lower().startswith(("file:", "http:", "https:", "data:")):
        rule = f"`path` takes a path, not a URL such as `{value[:80]}`"
        raise ToolFailure(f"{rule}; give the path of a picture file on this machine")
    return value


def _detail(value: object) -> Detail:
    if value is None:
        return Detail.HIGH
    try:
        return Detail(str(value) if isinstance(value, str) else "")
    except ValueError:
        shown = f"`{value[:80]}`" if isinstance(value, str) else "a value of another type"
        raise ToolFailure(f"`detail` must be `high` or `original`, not {shown}; or leave it out") from None
