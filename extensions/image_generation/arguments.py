"""Owns the arguments of one call of `image_gen.imagegen` once they are read and valid, and how they are read.

What each argument may be stands in `argument_table.py`; here is what concerns them together. Pure. Every refusal is a
ToolFailure that names the argument, the rule and the fix; it comes before any item is shown and any request is sent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.extension_api import ToolFailure
from app_server.extension_api.values import frozen
from extensions.image_generation.argument_table import ARGUMENTS, Action, ArgumentRules, kind_of
from extensions.image_generation.backends.base import Gif

SELECTORS: Final = ("referenced_image_paths", "referenced_images", "num_last_images_to_include")
"""Each names the pictures of an edit, and excludes the others."""


@frozen
class ImageArguments:
    """The arguments of one call, valid. At most one of `paths`, `handles` and `last` is given."""

    prompt: str
    action: Action | None = None
    paths: tuple[str, ...] = ()
    """As the model wrote them, in its order."""
    handles: tuple[str, ...] = ()
    """Pictures of the conversation by name, in the model's order."""
    last: int | None = None
    """Edit the newest so many pictures of the conversation."""
    background: str = "auto"
    size: str = "auto"
    quality: str = "auto"
    n: int = 1
    output_format: str | None = None
    gif: Gif | None = None
    mask_path: str | None = None
    model: str | None = None


def parse_arguments(text: str, rules: ArgumentRules) -> ImageArguments:
    """Read the model's JSON. Raises ToolFailure."""
    data = _object(text)
    offered = {argument.name: argument for argument in ARGUMENTS if rules.offers(argument)}
    for name in data:
        if name not in offered:
            known = ", ".join(f"`{known}`" for known in offered)
            raise ToolFailure(f"`{name}` is not an argument of this tool; leave it out and use only {known}")
    if "prompt" not in data:
        raise ToolFailure("`prompt` is missing; say what the picture should show")
    given = {name: argument.read(data.get(name), rules) for name, argument in offered.items()}
    _one_selector(given)
    gif, output_format = _animation(given)
    return ImageArguments(
        prompt=given["prompt"],
        action=given["action"],
        paths=given["referenced_image_paths"],
        handles=given["referenced_images"],
        last=given["num_last_images_to_include"],
        background=_background(given),
        size=given.get("size") or "auto",
        quality=given.get("quality") or "auto",
        n=given.get("n") or 1,
        output_format=output_format,
        gif=gif,
        mask_path=given.get("mask_path"),
        model=given.get("model"),
    )


def resolve_path(text: str, cwd: Path, name: str = "referenced_image_paths", *, tilde: bool = True) -> Path:
    """The absolute path that the model means: `~` is the home, anything else relative is taken from `cwd`."""
    try:
        path = Path(text).expanduser() if tilde else Path(text)
    except RuntimeError as error:  # no such user, or a user without a home
        raise ToolFailure(f"`{name}`: no home folder is known for `{text}`; give an absolute path") from error
    return Path(os.path.normpath(cwd / path))


def _object(text: str) -> dict[str, Any]:
    try:
        data = orjson.loads(text)  # stricter than json: no lone surrogates, which could not be sent on
    except orjson.JSONDecodeError as error:
        where = f" (line {error.lineno}, column {error.colno})"
        raise ToolFailure(f"the arguments are not valid JSON{where}; send one JSON object with `prompt`") from error
    if not isinstance(data, dict):
        raise ToolFailure(f"the arguments must be a JSON object, not {kind_of(data)}; send an object with `prompt`")
    return data


def _one_selector(given: dict[str, Any]) -> None:
    used = [f"`{name}`" for name in SELECTORS if given[name]]
    if len(used) > 1:
        raise ToolFailure(f"{' and '.join(used)} exclude each other; give only one of them")


def _background(given: dict[str, Any]) -> str:
    background: str | None = given.get("background")
    if not given["transparent_background"]:
        return background or "auto"
    if background not in (None, "transparent"):
        raise ToolFailure(
            f"`transparent_background` is true, but `background` is {background}; leave out one of the two"
        )
    return "transparent"


def _animation(given: dict[str, Any]) -> tuple[Gif | None, str | None]:
    """An animation asks for the format gif, and the format gif for an animation with the backend's defaults."""
    gif: Gif | None = given.get("gif")
    output_format: str | None = given.get("output_format")
    if gif is not None and output_format not in (None, "gif"):
        raise ToolFailure(f"`gif` is given, but `output_format` is {output_format}; leave out one of the two")
    if gif is not None or output_format == "gif":
        return gif or Gif(), "gif"
    return None, output_format
