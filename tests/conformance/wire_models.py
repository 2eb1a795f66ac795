"""Owns the list of all wire models, how to look into their annotations, and samples of what they take."""

import importlib
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from app_server.protocol.base import WireModel

FAMILIES = [
    "account",
    "approvals",
    "base",
    "command",
    "config",
    "config_write",
    "feature",
    "fs",
    "hooks",
    "host",
    "initialize",
    "item_parts",
    "items",
    "lists",
    "model",
    "notices",
    "paging",
    "search",
    "settings",
    "thread",
    "thread_data",
    "thread_events",
    "thread_replies",
    "turn",
    "turn_data",
    "turn_error",
    "user_input",
]


def _models() -> list[type[WireModel]]:
    found: dict[str, type[WireModel]] = {}
    for family in FAMILIES:
        module = importlib.import_module(f"app_server.protocol.{family}")
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, WireModel) and not name.startswith("_"):
                found[value.__name__] = value
    return [found[name] for name in sorted(found)]


MODELS = _models()


def by_alias(model: type[WireModel]) -> dict[str, FieldInfo]:
    model.model_rebuild()
    return {field.alias or name: field for name, field in model.model_fields.items()}


def is_tag(field: FieldInfo) -> bool:
    """A tag has one value, which the constructor fills in."""
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def parts(annotation: Any) -> Iterator[Any]:
    """Yield the branches of an annotation: classes, containers, single literals."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from parts(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from parts(part)
    else:
        yield annotation


def _sample(annotation: Any, turn_no: int, full: bool) -> Any:
    options = [part for part in parts(annotation) if part is not type(None)]
    part = options[turn_no % len(options)]
    origin = get_origin(part)
    if origin is Literal:
        return get_args(part)[turn_no % len(get_args(part))]
    if origin is tuple:
        return [_sample(get_args(part)[0], turn_no, full)] if full else []
    if origin is dict:
        return {"key": _sample(get_args(part)[1], turn_no, full)} if full else {}
    if part is Any:
        return {"any": [turn_no]}
    if issubclass(part, BaseModel):
        return sample(part, turn_no, full)
    return {str: "text", int: 200, bool: True}[part]


def _path(field: FieldInfo) -> str | None:
    """What a checked path accepts: `AbsolutePath` is text with a validator."""
    return "/tmp/a" if field.annotation is str and field.metadata else None


def sample(model: type[BaseModel], turn_no: int, full: bool) -> dict[str, Any]:
    """Return an object for `model`: its required members, or all; `turn_no` walks through the branches of unions."""
    model.model_rebuild()
    chosen = {
        field.alias or name: _path(field) or _sample(field.annotation, turn_no, full)
        for name, field in model.model_fields.items()
        if full or field.is_required() or name in ("type", "mode")
    }
    if "file_id" in model.model_fields:  # one of two sources: both are optional by the schema, one is needed
        chosen.pop("fileId", None)
        chosen |= {"url": "data:,"} if turn_no % 2 else {"fileId": "file-1", "url": None}
    return chosen
