"""Owns the one sentence that says what is wrong with a request's params, in the words clients know from the reference.

It never sees a model: it reads pydantic's report and, where given, the params themselves, to name the path.
`rpc/dispatch.py` calls it through `protocol/base.py`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_EXPECTED = {
    "string_type": "a string",
    "bool_type": "a boolean",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "list_type": "a sequence",
    "tuple_type": "a sequence",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "none_required": "null",
}
_SHOWN_CHARS = 80
_SECRET = re.compile(r"key|token|secret|password", re.IGNORECASE)
_QUOTED = re.compile(r"'([^']*)'")

Location = tuple[int | str, ...]


def validation_error_message(
    exc: ValidationError, aliases: Mapping[str, str] | None = None, *, data: object = None
) -> str:
    """Word the first error of `exc` as one sentence: what is wrong, what was expected, where.

    `aliases` maps Python names to wire names, for a model that was filled in by name. `data` is the object that was
    validated: with it the path is exact, without it only its first name is known for sure. A value is never shown where
    a name on its path says that it is a secret.
    """
    error = exc.errors(include_url=False)[0]
    names = aliases or {}
    location = tuple(names.get(part, part) if isinstance(part, str) else part for part in error["loc"])
    kind = error["type"]
    path = _path(location, data, absent_last=kind == "missing")
    if kind in ("missing", "union_tag_not_found"):
        field = location[-1] if kind == "missing" and location else _discriminator(error)
        parent = path[:-1] if kind == "missing" else path
        return f"missing field `{field}`{_at(parent if data is not None else ())}"
    hidden = any(isinstance(part, str) and _SECRET.search(part) for part in location)
    return _sentence(error, hidden) + _at(path)


def _sentence(error: ErrorDetails, hidden: bool) -> str:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    described = _describe(value, hidden)
    variants = _variants(error)
    if variants is not None:
        got = value.get(_discriminator(error)) if kind == "union_tag_invalid" and isinstance(value, Mapping) else value
        if isinstance(got, str):
            return f"unknown variant `{'…' if hidden else got[:_SHOWN_CHARS]}`, expected {_one_of(variants)}"
        return f"invalid type: {_describe(got, hidden)}, expected {_one_of(variants)}"
    if kind in _EXPECTED:
        return f"invalid type: {described}, expected {_EXPECTED[kind]}"
    bound = _BOUNDS.get(kind)
    if bound is not None:
        return f"invalid value: {described}, expected {bound(context)}"
    return f"invalid value: {described}, {error['msg'][:1].lower()}{error['msg'][1:]}"


_BOUNDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"an integer that is at least {context['ge']}",
    "less_than_equal": lambda context: f"an integer that is at most {context['le']}",
    "string_too_short": lambda context: "a string that is not empty",
}


def _variants(error: ErrorDetails) -> list[str] | None:
    context = error.get("ctx", {})
    match error["type"]:
        case "literal_error" | "enum":
            return _QUOTED.findall(str(context["expected"]))
        case "union_tag_invalid":
            return _QUOTED.findall(str(context["expected_tags"]))
        case "unknown_variant":
            return _QUOTED.findall(error["msg"])
        case _:
            return None


def _one_of(variants: list[str]) -> str:
    quoted = [f"`{variant}`" for variant in variants]
    return " or ".join(quoted) if len(quoted) <= 2 else f"one of {', '.join(quoted)}"


def _discriminator(error: ErrorDetails) -> str:
    return str(error.get("ctx", {}).get("discriminator", "type")).strip("'")


def _describe(value: object, hidden: bool) -> str:
    kind, shown = _kind_and_text(value)
    return kind if hidden or not shown else f"{kind} {shown}"


def _kind_and_text(value: object) -> tuple[str, str]:
    match value:
        case None:
            return "null", ""
        case bool():
            return "boolean", f"`{str(value).lower()}`"
        case int():
            return "integer", f"`{str(value)[:_SHOWN_CHARS]}`"
        case float():
            return "floating point", f"`{value}`"
        case str():
            return "string", f'"{value[:_SHOWN_CHARS]}"'
        case list() | tuple():
            return "sequence", ""
        case _:
            return "map", ""


def _path(location: Location, data: object, absent_last: bool) -> Location:
    """Drop from `location` what names a branch of a union and not a member of `data`.

    `absent_last`: the last part is a member that is not there, which is the error.
    """
    if data is None:
        return tuple(part for part in location[:1] if isinstance(part, str))
    path: list[int | str] = []
    here: object = data
    for index, part in enumerate(location):
        found, inner = _step(here, part)
        if found:
            here = inner
        elif not (absent_last and index == len(location) - 1):
            continue
        path.append(part)
    return tuple(path)


def _step(here: object, part: int | str) -> tuple[bool, object]:
    if isinstance(here, dict):
        return part in here, here.get(part)
    if isinstance(here, (list, tuple)) and isinstance(part, int) and part < len(here):
        return True, here[part]
    return False, None


def _at(path: Location) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return f" (at `{text}`)" if text else ""
