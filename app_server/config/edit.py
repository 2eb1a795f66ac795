"""Changes settings in the user's file, leaving its comments and order as they are. Called by the `config/*` methods.

Blocking; the file is small. What would not be readable afterwards is refused before anything is written.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app_server.config.atomic import PRIVATE_MODE, write_atomically
from app_server.config.build import NO_ADDRESS, build_config, without_address
from app_server.config.document import parse, read_document, version_of
from app_server.config.errors import ConfigError, ConfigVersionConflict
from app_server.config.merge import split_key
from app_server.config.validate import faults
from app_server.values import frozen

if TYPE_CHECKING:
    from tomlkit import TOMLDocument


MAX_DEPTH = 32
"""Levels of tables and lists that a value may have, so that the file stays readable for everybody."""


@frozen
class Edit:
    """One change: the new value of a dotted key, None to remove it; `upsert` joins a table to the one that is there."""

    key: str
    value: Any
    upsert: bool = False


def set_value(path: Path, dotted_key: str, value: Any, expected_version: str | None = None) -> str:
    """Write one value (None removes the key) and return the file's new version. Raises as `apply_edits`."""
    return apply_edits(path, (Edit(key=dotted_key, value=value),), expected_version)


def apply_edits(path: Path, edits: Sequence[Edit], expected_version: str | None = None) -> str:
    """Write all edits or none, and return the file's new version.

    Raises `ConfigVersionConflict` when the file is not the expected one any more, and `ConfigError` when a key or value
    cannot be used or the file cannot be read or written.
    """
    import tomlkit  # only an edit needs it

    document = read_document(path)
    version = version_of(document.values if document else {})
    if expected_version is not None and expected_version != version:
        message = f"{path} has changed since it was read; read the configuration again and repeat the change."
        raise ConfigVersionConflict(message)
    try:
        parsed = tomlkit.parse(document.text if document else "")
    except tomlkit.exceptions.ParseError as error:  # `read_document` reads it: nested deeper than tomlkit goes
        raise ConfigError("is nested too deeply to be changed here; edit it by hand.", source=str(path)) from error
    for edit in edits:
        _check_depth(edit)
        _apply(parsed, edit)
    text = tomlkit.dumps(parsed)
    values = parse(text, source=str(path))
    fault = next(faults(values), None)
    if fault is not None:
        raise ConfigError(fault.problem, source=str(path))
    for name in without_address(build_config(values)):
        raise ConfigError(NO_ADDRESS.format(name=name), source=str(path))
    _write(path, text)
    return version_of(values)


def _apply(document: TOMLDocument, edit: Edit) -> None:
    *above, name = split_key(edit.key)
    if not all((*above, name)):
        raise ConfigError(
            "the key is empty; name the setting, such as model or features.image_generation.", source="keyPath"
        )
    table: MutableMapping[str, Any] = document
    for part in above:
        if part not in table and edit.value is None:
            return
        child = table.setdefault(part, {})
        if not isinstance(child, MutableMapping):
            raise ConfigError(f"{part} is no table, so {edit.key} has no place; remove {part} first.", source="keyPath")
        table = table[part]  # what the document made of it, not the plain table that was put in
    if edit.value is None:
        table.pop(name, None)
    else:
        _put(table, name, _without_nulls(edit.value), upsert=edit.upsert)


def _check_depth(edit: Edit) -> None:
    todo = [(edit.value, edit.key.count(".") + 1)]
    while todo:
        value, depth = todo.pop()
        if depth > MAX_DEPTH:
            problem = f"the value is nested more than {MAX_DEPTH} levels deep; no setting is."
            raise ConfigError(problem, source="value")
        if isinstance(value, Mapping | list):
            todo += [(each, depth + 1) for each in (value.values() if isinstance(value, Mapping) else value)]


def _put(table: MutableMapping[str, Any], name: str, value: Any, *, upsert: bool) -> None:
    below = table.get(name)
    if upsert and isinstance(value, Mapping) and isinstance(below, MutableMapping):
        for key, member in value.items():
            _put(below, key, member, upsert=True)
    else:
        table[name] = value


def _without_nulls(value: Any) -> Any:
    """The value without the nulls in its tables, which TOML does not have."""
    if isinstance(value, Mapping):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_nulls(member) for member in value if member is not None]
    return value


def _write(path: Path, text: str) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else PRIVATE_MODE
        write_atomically(path, text.encode(), mode=mode)
    except OSError as error:
        cause = (error.strerror or "output error").lower()
        problem = f"cannot be written ({cause}); make the file and its folder writable."
        raise ConfigError(problem, source=str(path)) from error
