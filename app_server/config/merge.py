"""Tables laid over each other, and dotted keys. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from app_server.config.schema import TomlTable


def merge(base: TomlTable, over: TomlTable) -> dict[str, Any]:
    """`over` laid on `base`: tables are joined member by member, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping):
            merged[key] = merge(below if isinstance(below, Mapping) else {}, value)
        else:
            merged[key] = value
    return merged


def expand(values: TomlTable) -> dict[str, Any]:
    """Dotted keys (`features.apps`) turned into nested tables; nulls, which TOML does not have, are left out."""
    expanded: dict[str, Any] = {}
    for key, value in values.items():
        if value is None:
            continue
        inner = expand(value) if isinstance(value, Mapping) else value
        expanded = merge(expanded, nested(split_key(key), inner))
    return expanded


def nested(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """A value wrapped in one table for each part of its path."""
    for part in reversed(path):
        value = {part: value}
    assert isinstance(value, dict)  # a path has at least one part
    return value


def split_key(dotted: str) -> tuple[str, ...]:
    """The parts of a dotted key, quoted parts as TOML reads them; a key that TOML cannot read is split at the dots."""
    parts: list[str] = []
    try:
        table: Any = tomllib.loads(f"{dotted.strip()} = 0") if "\n" not in dotted else {}
        while isinstance(table, dict) and len(table) == 1:
            ((part, table),) = table.items()
            parts.append(part)
    except tomllib.TOMLDecodeError:
        parts = []
    return tuple(parts) or tuple(part.strip() for part in dotted.split("."))


def value_at(values: TomlTable, path: tuple[str, ...]) -> Any:
    """The value at a path, or None."""
    found: Any = values
    for part in path:
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def leaves(values: TomlTable, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and value of everything that is not a table with members."""
    for key, value in values.items():
        path = (*prefix, key)
        if isinstance(value, Mapping) and value:
            yield from leaves(value, path)
        else:
            yield path, value
