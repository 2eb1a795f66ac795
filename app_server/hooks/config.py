"""Reads the user's hooks from every place they may stand in. Runs nothing; `wiring` calls it once at start-up.

    <home>/config.toml and hooks.json                  the user's own
    .codex/config.toml and hooks.json of the project   only where the user trusts the project
    -c hooks.…                                         the command line

All places add up: no layer replaces another's hooks. A hook that cannot be run as it is written is left out with a
warning. `[features] hooks = false` turns all of them off, said anywhere but in a project.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.config.layers import ConfigLayer, LayerOrigin, LoadedConfig
from app_server.config.merge import value_at
from app_server.config.project import PROJECT_FILE, is_trusted, project_files
from app_server.values import field, frozen

HOOKS_FILE: Final = "hooks.json"
DEFAULT_TIMEOUT_S: Final = 600.0
MAX_TIMEOUT_S: Final = 3600.0
_SWITCHES: Final = ("hooks", "codex_hooks")
_NOT_EVENTS: Final = ("state",)
_SOURCES: Final[Mapping[LayerOrigin, str]] = {
    LayerOrigin.USER: "user",
    LayerOrigin.PROJECT: "project",
    LayerOrigin.COMMAND_LINE: "sessionFlags",
    LayerOrigin.THREAD: "sessionFlags",
}


class HookEvent(StrEnum):
    """When a hook runs, in the words of the config."""

    PRE_TOOL_USE = "PreToolUse"
    POST_TOOL_USE = "PostToolUse"


@frozen
class HookCommand:
    """One command. `matcher` None or "" or "*": every tool."""

    event: HookEvent
    matcher: str | None
    command: str
    timeout_s: float
    source: str
    """The protocol's HookSource: user, project or sessionFlags."""
    source_path: str
    order: int
    """Position among all hooks."""
    status_message: str | None = None


@frozen
class Hooks:
    """All hooks of this process, in order, and what the user should be told about the others."""

    commands: tuple[HookCommand, ...] = ()
    warnings: tuple[str, ...] = ()


@frozen
class HookSetup:
    """The hooks of the process and the environment they run in."""

    hooks: Hooks = field(default_factory=Hooks)
    cwd: str | None = None
    """Where they run; None: in the folder of the turn."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


@frozen
class _Place:
    """One table of hooks and where it stands."""

    source: str
    path: str
    table: Any


class _Left(Exception):
    """A hook that is left out; the message ends a sentence that names it."""


def read_hooks(loaded: LoadedConfig, home: Path, cwd: Path) -> Hooks:
    """All hooks that hold for this process."""
    if _switched_off(loaded.layers):
        return Hooks()
    commands: list[HookCommand] = []
    warnings: list[str] = []
    for place in _places(loaded, home, cwd, warnings):
        _read_place(place, commands, warnings)
    return Hooks(commands=tuple(commands), warnings=tuple(warnings))


def _switched_off(layers: tuple[ConfigLayer, ...]) -> bool:
    """The highest layer that says anything counts; a repository must not switch the user's guards off."""
    for layer in reversed(layers):
        said = [value_at(layer.values, ("features", key)) for key in _SWITCHES]
        if layer.origin is not LayerOrigin.PROJECT and any(isinstance(value, bool) for value in said):
            return False in said
    return False


def _places(loaded: LoadedConfig, home: Path, cwd: Path, warnings: list[str]) -> Iterator[_Place]:
    files = {LayerOrigin.USER: [home / HOOKS_FILE], LayerOrigin.PROJECT: _trusted_files(loaded, home, cwd, warnings)}
    last = {layer.origin: at for at, layer in enumerate(loaded.layers)}
    last.setdefault(LayerOrigin.PROJECT, last[LayerOrigin.USER])
    for at, layer in enumerate(loaded.layers):
        source = _SOURCES[layer.origin]
        yield _Place(source=source, path=layer.source, table=layer.values.get("hooks", {}))
        for origin in (origin for origin in files if last[origin] == at):
            for path in files[origin]:
                yield _Place(source=_SOURCES[origin], path=str(path), table=_json_file(path, warnings))


def _trusted_files(loaded: LoadedConfig, home: Path, cwd: Path, warnings: list[str]) -> list[Path]:
    user = next(layer for layer in loaded.layers if layer.origin is LayerOrigin.USER)
    found = project_files(cwd, home, PROJECT_FILE.with_name(HOOKS_FILE))
    trusted = [path for path in found if is_trusted(path, user.values)]
    warnings.extend(
        f"{path} is ignored: the project is not trusted; to allow its hooks, write "
        f'[projects."{path.parent.parent}"] trust_level = "trusted" in your own config.toml.'
        for path in found
        if path not in trusted
    )
    return trusted


def _json_file(path: Path, warnings: list[str]) -> Any:
    try:
        content = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, orjson.JSONDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not valid JSON"
        warnings.append(f"{path}: no hook of this file runs ({cause}); correct or remove it.")
        return {}
    return content.get("hooks") if isinstance(content, Mapping) else content


def _read_place(place: _Place, commands: list[HookCommand], warnings: list[str]) -> None:
    if not isinstance(place.table, Mapping):
        warnings.append(f"{place.path}: hooks is no table; write [[hooks.PreToolUse]] with matcher and hooks.")
        return
    events = {event.value: event for event in HookEvent}
    others = sorted(key for key in place.table if key not in events and key not in _NOT_EVENTS)
    if others:
        known = " and ".join(events)
        warnings.append(f"{place.path}: hooks for {', '.join(others)} do not run here; this server has {known}.")
    for name, event in events.items():
        for label, matcher, handler in _handlers(place, name, place.table.get(name, []), warnings):
            try:
                command = _command(place, event, matcher, handler, len(commands))
            except _Left as why:
                warnings.append(f"{place.path}: {label} does not run: {why}.")
            else:
                commands.append(command)


def _handlers(
    place: _Place, name: str, groups: Any, warnings: list[str]
) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """(name for messages, matcher, handler) of every hook of an event."""
    for at, group in enumerate(groups if isinstance(groups, list) else [groups]):
        label = f"hooks.{name}[{at}]"
        handlers = group.get("hooks") if isinstance(group, Mapping) else None
        matcher = group.get("matcher") if isinstance(group, Mapping) else None
        if not isinstance(handlers, list) or not (matcher is None or isinstance(matcher, str)):
            warnings.append(f"{place.path}: {label} does not run: it needs a text matcher and a list of hooks.")
            continue
        for number, handler in enumerate(handlers):
            yield f"{label}.hooks[{number}]", matcher, handler if isinstance(handler, Mapping) else {}


def _command(
    place: _Place, event: HookEvent, matcher: str | None, handler: Mapping[str, Any], order: int
) -> HookCommand:
    kind, command = handler.get("type", "command"), handler.get("command")
    timeout = handler.get("timeout", handler.get("timeoutSec", DEFAULT_TIMEOUT_S))
    message = handler.get("statusMessage", handler.get("status_message"))
    if kind != "command":
        raise _Left('its type is not "command", the only one this server runs')
    if not isinstance(command, str) or not command.strip():
        raise _Left("it has no command; write the shell command to run as a text")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= MAX_TIMEOUT_S:
        raise _Left(f"its timeout must be a number of seconds above 0 and at most {MAX_TIMEOUT_S:g}")
    if handler.get("async") is True:
        raise _Left("async hooks are not supported; leave async out, and the tool waits for it")
    return HookCommand(
        event=event,
        matcher=matcher,
        command=command,
        timeout_s=float(timeout),
        source=place.source,
        source_path=place.path,
        order=order,
        status_message=message if isinstance(message, str) else None,
    )
