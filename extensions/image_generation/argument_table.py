"""ARGUMENTS: each argument of the tool once, with the schema that the model sees and the reading that enforces it.

    default          prompt · action · referenced_image_paths · referenced_images · num_last_images_to_include ·
                     transparent_background
    exposed, too     size · quality · n · background · output_format · gif · mask_path · model

`rules_for` says what the settings allow; both faces of an argument go by it. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from app_server.extension_api import ImageSettings, ToolFailure
from app_server.extension_api.values import frozen
from extensions.image_generation.backends.capabilities import (
    AUTO,
    BACKGROUNDS,
    GIF_FRAME_MS,
    GIF_FRAMES,
    model_row,
)

if TYPE_CHECKING:
    from extensions.image_generation.backends.base import Gif

MAX_LAST: Final = 5
"""Pictures that the window over the newest ones may reach back to."""


class Action(StrEnum):
    """What the model says that it wants."""

    GENERATE = "generate"
    EDIT = "edit"


@frozen
class ArgumentRules:
    """What the settings allow."""

    max_references: int
    exposed: bool
    models: tuple[str, ...]
    """The first one is the default."""
    qualities: tuple[str, ...]
    formats: tuple[str, ...]
    max_n: int
    size_rules: str

    def offers(self, argument: Argument) -> bool:
        """Whether the model may send it."""
        return self.exposed or not argument.exposed_only


@frozen
class Argument:
    """One argument. `read` gets what was sent, None for nothing, and raises ToolFailure."""

    name: str
    schema: Callable[[ArgumentRules], Mapping[str, Any]]
    read: Callable[[object, ArgumentRules], Any]
    exposed_only: bool = False


def rules_for(settings: ImageSettings) -> ArgumentRules:
    """The rules of these settings; with several models what at least one of them takes."""
    models = tuple(dict.fromkeys((settings.model, *settings.models)))
    rows = [model_row(name) for name in models]
    sizes = {name: row.sizes.rule for name, row in zip(models, rows, strict=True) if row.sizes is not None}
    return ArgumentRules(
        max_references=settings.max_references,
        exposed=settings.expose_parameters,
        models=models,
        qualities=tuple(dict.fromkeys((AUTO, *(quality for row in rows for quality in row.qualities)))),
        formats=tuple(dict.fromkeys(name for row in rows for name in row.formats)),
        max_n=max(row.max_n for row in rows),
        size_rules="; ".join(f"with {name} {rule}" for name, rule in sizes.items()),
    )


def parameters(rules: ArgumentRules) -> dict[str, Any]:
    """The JSON schema of the arguments."""
    return {
        "type": "object",
        "properties": {row.name: dict(row.schema(rules)) for row in ARGUMENTS if rules.offers(row)},
        "required": ["prompt"],
        "additionalProperties": False,
    }


def kind_of(value: object) -> str:
    """The JSON type of a value, in words."""
    return next((title for matches, title in _KINDS if matches(value)), "an object")


_KINDS: Final[tuple[tuple[Callable[[object], bool], str], ...]] = (
    (lambda value: value is None, "null"),
    (lambda value: isinstance(value, bool), "a boolean"),
    (lambda value: isinstance(value, (int, float)), "a number"),
    (lambda value: isinstance(value, str), "a string"),
    (lambda value: isinstance(value, list), "a list"),
)


# -- schemas
def _choice_schema(choices: tuple[str, ...], description: str) -> dict[str, Any]:
    return {"type": ["string", "null"], "enum": [*choices, None], "description": description}


def _count_schema(least: int, most: int, description: str) -> dict[str, Any]:
    return {"type": ["integer", "null"], "minimum": least, "maximum": most, "description": description}


def _list_schema(most: int, description: str) -> dict[str, Any]:
    return {"type": ["array", "null"], "items": {"type": "string"}, "maxItems": most, "description": description}


def _gif_schema(rules: ArgumentRules) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "properties": {
            "frame_count": _count_schema(*GIF_FRAMES, "Number of frames."),
            "frame_duration_ms": _count_schema(*GIF_FRAME_MS, "Duration of each frame in milliseconds."),
        },
        "additionalProperties": False,
        "description": "Makes a short looping animation; {} takes the defaults.",
    }


def _size_schema(rules: ArgumentRules) -> dict[str, Any]:
    rule = f", {rules.size_rules}" if rules.size_rules else ""
    return {
        "type": ["string", "null"],
        "pattern": "^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$",
        "description": f"auto, or width x height in pixels such as 1536x1024{rule}.",
    }


# -- reading
def _prompt(value: object, rules: ArgumentRules) -> str:
    if not isinstance(value, str):
        kind = kind_of(value)
        raise ToolFailure(f"`prompt` must be a string, not {kind}; say in words what the picture should show")
    if not value.strip():
        raise ToolFailure("`prompt` must not be empty; say what the picture should show")
    return value


def _action(value: object, rules: ArgumentRules) -> Action | None:
    if value is None:
        return None
    try:
        return Action(value if isinstance(value, str) else "")
    except ValueError:
        raise ToolFailure(f"`action` must be `generate` or `edit`, not {_shown(value)}; or leave it out") from None


def _paths(value: object, rules: ArgumentRules) -> tuple[str, ...]:
    name = "referenced_image_paths"
    paths = _strings(name, value, rules.max_references, "path")
    for path in paths:
        _refuse_url(name, path)
    return paths


def _handles(value: object, rules: ArgumentRules) -> tuple[str, ...]:
    return _strings("referenced_images", value, rules.max_references, "handle")


def _strings(name: str, value: object, most: int, noun: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ToolFailure(f"`{name}` must be a list of {noun}s, not {kind_of(value)}; put the {noun} into a list")
    if len(value) > most:
        rule = f"`{name}` must contain at most {most} {noun}{'' if most == 1 else 's'}, not {len(value)}"
        raise ToolFailure(f"{rule}; leave out the least important ones or edit in several calls")
    for one in value:
        if not isinstance(one, str):
            raise ToolFailure(f"`{name}` must contain only strings, not {kind_of(one)}; give each {noun} as a string")
        if not one.strip():
            raise ToolFailure(f"`{name}` must not contain an empty {noun}; give the {noun} of a picture")
    return tuple(value)


def _refuse_url(name: str, path: str) -> None:
    if path.lower().startswith(("file:", "http:", "https:", "data:")):
        rule = f"`{name}` takes paths, not URLs such as `{path[:80]}`"
        raise ToolFailure(f"{rule}; give the path of a picture file on this machine")


def _last(value: object, rules: ArgumentRules) -> int | None:
    fix = "give the smallest number that covers the pictures"
    return _count("num_last_images_to_include", value, (1, MAX_LAST), fix)


def _count(name: str, value: object, span: tuple[int, int], fix: str) -> int | None:
    least, most = span
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolFailure(f"`{name}` must be a whole number, not {kind_of(value)}; give {least} to {most}")
    if not least <= value <= most:
        raise ToolFailure(f"`{name}` must be between {least} and {most}; {fix}")
    return value


def _flag(value: object, rules: ArgumentRules) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ToolFailure(f"`transparent_background` must be true or false, not {kind_of(value)}; or leave it out")


def _size(value: object, rules: ArgumentRules) -> str | None:
    """Its shape; whether the model takes it is decided when model and backend are known."""
    if value is None:
        return None
    parts = value.split("x") if isinstance(value, str) else []
    whole = len(parts) == 2 and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts)
    if value != AUTO and not (whole and all(int(part) for part in parts)):
        raise ToolFailure(f"`size` must be auto or width x height such as 1536x1024, not {_shown(value)}")
    return str(value)


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> str | None:
    if value is None or (isinstance(value, str) and value in choices):
        return value
    offer = f"use {', '.join(choices)}, or leave it out" if choices else "leave it out"
    raise ToolFailure(f"`{name}` cannot be {_shown(value)}; {offer}")


def _gif(value: object, rules: ArgumentRules) -> Gif | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ToolFailure(f"`gif` must be an object, not {kind_of(value)}; give {{}} for the defaults")
    for key in value:
        if key not in ("frame_count", "frame_duration_ms"):
            raise ToolFailure(f"`gif` has no member `{key[:80]}`; use only `frame_count` and `frame_duration_ms`")
    from extensions.image_generation.backends.base import Gif  # with the first call

    fix = "choose a number in between, or leave it out"
    return Gif(
        frame_count=_count("gif.frame_count", value.get("frame_count"), GIF_FRAMES, fix),
        frame_duration_ms=_count("gif.frame_duration_ms", value.get("frame_duration_ms"), GIF_FRAME_MS, fix),
    )


def _mask_path(value: object, rules: ArgumentRules) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ToolFailure(f"`mask_path` must be a path, not {_shown(value)}; give the path of a PNG file")
    _refuse_url("mask_path", value)
    return value


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f"`{value[:80]}`" if value.strip() else "an empty string"
    return kind_of(value)


ARGUMENTS: Final[tuple[Argument, ...]] = (
    Argument(
        name="prompt",
        schema=lambda _: {
            "type": "string",
            "minLength": 1,
            "description": "What the picture should show, or what to change in the pictures given.",
        },
        read=_prompt,
    ),
    Argument(
        name="action",
        schema=lambda _: _choice_schema(
            tuple(action.value for action in Action),
            "`edit` without a selector edits the pictures of the newest user message that has some, and those made "
            "since; with a selector the call is always an edit.",
        ),
        read=_action,
    ),
    Argument(
        name="referenced_image_paths",
        schema=lambda rules: _list_schema(
            rules.max_references,
            "Picture files to edit, in the order that the prompt speaks of them: absolute, with `~`, or relative to "
            "the working directory. Not together with another selector.",
        ),
        read=_paths,
    ),
    Argument(
        name="referenced_images",
        schema=lambda rules: _list_schema(
            rules.max_references,
            "Pictures of the conversation to edit, by their handles such as `img_1`, in the order that the prompt "
            "speaks of them. Not together with another selector.",
        ),
        read=_handles,
    ),
    Argument(
        name="num_last_images_to_include",
        schema=lambda _: _count_schema(
            1,
            MAX_LAST,
            "Edit this many of the newest pictures of the conversation. Not together with another selector.",
        ),
        read=_last,
    ),
    Argument(
        name="transparent_background",
        schema=lambda _: {
            "type": ["boolean", "null"],
            "description": "True only when the user asks for a transparent background.",
        },
        read=_flag,
    ),
    Argument(name="size", schema=_size_schema, read=_size, exposed_only=True),
    Argument(
        name="quality",
        schema=lambda rules: _choice_schema(rules.qualities, "How much work goes into the picture."),
        read=lambda value, rules: _one_of("quality", value, rules.qualities),
        exposed_only=True,
    ),
    Argument(
        name="n",
        schema=lambda rules: _count_schema(1, rules.max_n, "Number of variants of the one prompt; all are saved."),
        read=lambda value, rules: _count("n", value, (1, rules.max_n), "make several calls for more"),
        exposed_only=True,
    ),
    Argument(
        name="background",
        schema=lambda _: _choice_schema(BACKGROUNDS, "The background; auto leaves it to the model."),
        read=lambda value, _: _one_of("background", value, BACKGROUNDS),
        exposed_only=True,
    ),
    Argument(
        name="output_format",
        schema=lambda rules: _choice_schema(rules.formats, "File format of the picture; png unless said."),
        read=lambda value, rules: _one_of("output_format", value, rules.formats),
        exposed_only=True,
    ),
    Argument(name="gif", schema=_gif_schema, read=_gif, exposed_only=True),
    Argument(
        name="mask_path",
        schema=lambda _: {
            "type": ["string", "null"],
            "description": "A PNG file of the size of the first picture: only where it is transparent may that picture "
            "change.",
        },
        read=_mask_path,
        exposed_only=True,
    ),
    Argument(
        name="model",
        schema=lambda rules: _choice_schema(rules.models, f"Image model; {rules.models[0]} unless said."),
        read=lambda value, rules: _one_of("model", value, rules.models),
        exposed_only=True,
    ),
)
