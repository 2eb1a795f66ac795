"""Compares values with the table of keys. Pure: says what is wrong or unknown, and at which path; reads no file."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from app_server.config.keys import KEYS, KeySpec, Kind
from app_server.config.known_elsewhere import PROVIDER, TOP_LEVEL
from app_server.config.schema import RESERVED_PROVIDERS, TomlTable
from app_server.values import frozen
from features.known_elsewhere import KNOWN_ELSEWHERE

_SPECS: Mapping[tuple[str, ...], KeySpec] = {spec.path: spec for spec in KEYS}
_TABLES: frozenset[tuple[str, ...]] = frozenset(path[:size] for path in _SPECS for size in range(1, len(path)))
_NAMED = (("model_providers",), ("tenants", "limits"))
"""Tables whose members have names that the user chooses."""
_NAMES = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


@frozen
class Fault:
    """One wrong value: its path and the sentence about it, without place."""

    path: tuple[str, ...]
    problem: str


def faults(values: TomlTable) -> Iterator[Fault]:
    """What is wrong in one layer, in the order of its keys."""
    yield from _faults_in(values, ())


def unknown_keys(values: TomlTable) -> Iterator[tuple[str, str | None]]:
    """Settings that neither this server nor the reference has, each with the nearest name that exists.

    `[features]` is not looked at: what its keys are is known only when the extensions are.
    """
    for key, value in values.items():
        if (key,) not in _SPECS and (key,) not in _TABLES and key not in TOP_LEVEL:
            yield key, _nearest(key, ())
        elif key in ("image_generation", "server") and isinstance(value, Mapping):
            yield from _unknown_members(value, (key,), (key,), frozenset())
        elif key == "tenants" and isinstance(value, Mapping):
            yield from _unknown_members(value, (key,), (key,), frozenset({"limits"}))
            for name, table in value.get("limits", {}).items():
                yield from _unknown_members(table, (key, "limits", name), (key, "limits", "*"), frozenset())
        elif key == "model_providers" and isinstance(value, Mapping):
            for name, table in value.items():
                if isinstance(table, Mapping) and name not in RESERVED_PROVIDERS:
                    yield from _unknown_members(table, (key, name), (key, "*"), PROVIDER)


def _unknown_members(
    table: TomlTable, path: tuple[str, ...], pattern: tuple[str, ...], elsewhere: frozenset[str]
) -> Iterator[tuple[str, str | None]]:
    for key in table:
        if (*pattern, key) not in _SPECS and key not in elsewhere:
            yield ".".join((*path, key)), _nearest(key, pattern)


def _nearest(key: str, pattern: tuple[str, ...]) -> str | None:
    import difflib  # only a slip needs it

    size = len(pattern)
    names = {path[size] for path in _SPECS if path[:size] == pattern}
    return next(iter(difflib.get_close_matches(key, sorted(names), n=1)), None)


def _faults_in(values: TomlTable, path: tuple[str, ...]) -> Iterator[Fault]:
    for key, value in values.items():
        here = (*path, key)
        pattern = _pattern(here)
        if pattern in _TABLES:
            if isinstance(value, Mapping):
                yield from _faults_in(value, here)
            else:
                yield Fault(path=here, problem=_sentence(here, value, f"write a table [{'.'.join(here)}]"))
        elif spec := _spec(pattern):
            problem = _problem(spec, value)
            if problem is not None:
                yield Fault(path=here, problem=f"{'.'.join(here)} {problem}.")


def _pattern(path: tuple[str, ...]) -> tuple[str, ...]:
    """The path as the table of keys has it, with `*` for a name that the user chose."""
    named = next((table for table in _NAMED if path[: len(table)] == table and len(path) > len(table)), None)
    return path if named is None else (*named, "*", *path[len(named) + 1 :])


def _spec(pattern: tuple[str, ...]) -> KeySpec | None:
    if pattern[0] == "features" and len(pattern) == 2 and pattern[1] not in KNOWN_ELSEWHERE:
        return _SPECS.get(pattern) or KeySpec(key=".".join(pattern), kind=Kind.FLAG, doc="")
    return _SPECS.get(pattern)


def _sentence(path: tuple[str, ...], value: object, write: str) -> str:
    return f"{'.'.join(path)} is {_name(value)}; {write}."


def _problem(spec: KeySpec, value: Any) -> str | None:
    """What is wrong with a value and what to write instead, as the rest of a sentence about the key; None: it is right.

    Only a choice that does not exist and a number out of range are shown: anything else may be a secret.
    """
    match spec.kind:
        case Kind.FLAG:
            right, write = isinstance(value, bool), "write true or false, without quotes"
        case Kind.TEXT:
            right, write = isinstance(value, str) and bool(value.strip()), "write a text in double quotes"
        case Kind.URL:
            right, write = _is_url(value), 'write an address such as "https://gateway.example.com/v1"'
        case Kind.COUNT:
            most = spec.maximum if spec.maximum is not None else float("inf")
            right = isinstance(value, int) and not isinstance(value, bool) and spec.minimum <= value <= most
            span = f"of {spec.minimum} or more" if spec.maximum is None else f"from {spec.minimum} to {spec.maximum}"
            write = f"write a whole number {span}, without quotes"
        case Kind.SECONDS:
            right = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
            write = "write a number of seconds above 0, without quotes"
        case Kind.STRINGS:
            right = isinstance(value, Mapping) and all(isinstance(member, str) for member in value.values())
            write = 'write a table of texts such as { name = "value" }'
        case Kind.TEXTS:
            right = isinstance(value, list) and all(isinstance(one, str) and one.strip() for one in value)
            write = 'write a list of texts such as ["one", "two"]'
        case Kind.NAME_TEMPLATE:
            right = isinstance(value, str) and is_name_template(value, spec.placeholders)
            names = " ".join(f"{{{name}}}" for name in spec.placeholders)
            write = f'write a relative name such as "{spec.default}", with no other placeholders than {names}'
        case Kind.CHOICE:
            return _wrong_choice(spec, value)
    if right:
        return None
    shown = f"is {value}" if spec.kind in (Kind.COUNT, Kind.SECONDS) and _is_number(value) else f"is {_name(value)}"
    return f"{shown}; {write}"


def _wrong_choice(spec: KeySpec, value: Any) -> str | None:
    if isinstance(value, str):
        if value in spec.choices:
            return None
        if value in spec.refused:
            return f'"{value}" {spec.refused[value]}'
    elif spec.table_member and isinstance(value, Mapping) and set(value) == {spec.table_member}:
        return None
    choices = " or ".join(f'"{choice}"' for choice in spec.choices)
    shown = f'"{value[:40]}"' if isinstance(value, str) else _name(value)
    return f"is {shown}; write {choices}"


def _is_url(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(map(str.isspace, value))


def is_name_template(text: str, placeholders: tuple[str, ...]) -> bool:
    """Whether `text` names a file below a folder: known placeholders, `/` between parts, no part empty or climbing."""
    try:
        pieces = [piece[1:] for piece in string.Formatter().parse(text)]
    except ValueError:
        return False
    known = all(name is None or (name in placeholders and not form and not turned) for name, form, turned in pieces)
    return known and "\\" not in text and all(part.strip(". ") for part in text.split("/"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _name(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text" if value.strip() else "an empty text"
    return next((name for kind, name in _NAMES.items() if type(value) is kind), "a date or time")
