"""Reads the settings from every place they may stand in, and tells where each value came from.

    defaults  <  <home>/config.toml  <  .codex/config.toml of the project  <  command line  <  a thread's own config
    schema.py        user layer                 project layers               -c --enable         with_overrides()

`bootstrap` loads once for the process, every new thread loads for its working directory, and may override. The files
are read at each load, so that an edit counts at once; the same text is judged once (`_loaded_before`). Nothing is
written here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from app_server.config.build import NO_ADDRESS, build_config, without_address
from app_server.config.document import document_of, read_bytes, read_document, version_of
from app_server.config.errors import ConfigError
from app_server.config.merge import expand, leaves, merge, value_at
from app_server.config.overrides import command_line_values
from app_server.config.project import allowed, project_files
from app_server.config.schema import RESERVED_PROVIDERS, Config, TomlTable
from app_server.config.validate import faults, unknown_keys
from app_server.values import field, frozen
from features.resolution import FeatureLayer

CONFIG_FILE = "config.toml"


class LayerOrigin(StrEnum):
    """Where a layer comes from, in the words that people are shown."""

    USER = "config.toml"
    PROJECT = "project config"
    COMMAND_LINE = "command line"
    THREAD = "thread"


@frozen
class ConfigLayer:
    """The values of one place. `text` is that of the file, to find positions in."""

    origin: LayerOrigin
    path: Path | None = None
    values: TomlTable = field(repr=False)
    text: str | None = field(default=None, repr=False)

    @property
    def version(self) -> str:
        """The fingerprint of the values."""
        return version_of(self.values)

    @property
    def source(self) -> str:
        """The name of the place in an error."""
        if self.path is not None:
            return str(self.path)
        return "-c" if self.origin is LayerOrigin.COMMAND_LINE else "config of the thread"

    def error(self, problem: str, path: tuple[str, ...]) -> ConfigError:
        """An error about the value at `path`, with its line and column where the layer is a file."""
        if self.text is None:
            return ConfigError(problem, source=self.source)
        from app_server.config.positions import locate  # of use to a broken file alone

        line, column = locate(self.text, path)
        return ConfigError(problem, source=self.source, line=line, column=column)


@frozen
class LoadedConfig:
    """The settings, the layers they come from (low to high), and what people should be told."""

    config: Config
    layers: tuple[ConfigLayer, ...]
    origins: Mapping[str, ConfigLayer] = field(repr=False)
    """Dotted key → the layer whose value counts."""
    warnings: tuple[str, ...]
    feature_layers: tuple[FeatureLayer, ...]

    def with_overrides(self, values: TomlTable) -> LoadedConfig:
        """These settings with a thread's own on top; keys may be dotted, a null sets nothing.

        Raises `ConfigError` when a value cannot be used. New warnings come after the old ones.
        """
        layer = _layer(LayerOrigin.THREAD, expand(values))
        return _assembled((*self.layers, layer), (*self.warnings, *_warnings_of(layer)))


def load_config(
    home: Path,
    cwd: Path,
    overrides: Sequence[str] = (),
    enable: Sequence[str] = (),
    disable: Sequence[str] = (),
) -> LoadedConfig:
    """All layers but a thread's. Files that do not exist are empty layers (the user's) or none (a project's).

    Raises `ConfigError` for a file that cannot be read or a value that cannot be used, with its place and the fix.
    """
    path, projects = home / CONFIG_FILE, project_files(cwd, home)
    command_line = CommandLine(tuple(overrides), tuple(enable), tuple(disable))
    load = _loaded if projects else _loaded_before
    return load(path, read_bytes(path), projects, command_line)


class CommandLine(NamedTuple):
    """The settings among the options of the command line."""

    overrides: tuple[str, ...]
    enable: tuple[str, ...]
    disable: tuple[str, ...]


def _loaded(path: Path, data: bytes | None, projects: Sequence[Path], command_line: CommandLine) -> LoadedConfig:
    """The user's file at `path` with these bytes, the files of projects, and the command line."""
    warnings: list[str] = []
    user = _user_layer(path, data)
    layers = [user]
    for project in projects:
        layer, dropped = _project_layer(project, user.values)
        layers.append(layer)
        warnings.extend(dropped)
    values, contradictions = command_line_values(*command_line)
    if values:
        layers.append(_layer(LayerOrigin.COMMAND_LINE, values))
    for layer in layers:
        warnings.extend(_warnings_of(layer))
    return _assembled(tuple(layers), (*warnings, *contradictions))


_loaded_before = lru_cache(maxsize=8)(_loaded)
"""The same for the same arguments, which are all that it depends on while there are no projects."""


def _user_layer(path: Path, data: bytes | None) -> ConfigLayer:
    if data is None:
        return _layer(LayerOrigin.USER, {}, path=path)
    document = document_of(path, data)
    return _layer(LayerOrigin.USER, document.values, path=path, text=document.text)


def _project_layer(path: Path, user: TomlTable) -> tuple[ConfigLayer, tuple[str, ...]]:
    document = read_document(path)
    if document is None:  # removed between the search and the reading
        return _layer(LayerOrigin.PROJECT, {}, path=path), ()
    values, warnings = allowed(path, document.values, user)
    return _layer(LayerOrigin.PROJECT, values, path=path, text=document.text), warnings


def _layer(
    origin: LayerOrigin, values: dict[str, Any], *, path: Path | None = None, text: str | None = None
) -> ConfigLayer:
    """A layer whose every value has been checked."""
    layer = ConfigLayer(origin=origin, path=path, values=values, text=text)
    fault = next(faults(values), None)
    if fault is not None:
        raise layer.error(fault.problem, fault.path)
    return layer


def _assembled(layers: tuple[ConfigLayer, ...], warnings: tuple[str, ...]) -> LoadedConfig:
    merged: dict[str, Any] = {}
    origins: dict[str, ConfigLayer] = {}
    for layer in layers:
        merged = merge(merged, layer.values)
        origins.update({".".join(path): layer for path, _ in leaves(layer.values)})
    config = build_config(merged)
    for name in without_address(config):
        path = ("model_providers", name)
        layer = next(layer for layer in reversed(layers) if value_at(layer.values, path) is not None)
        raise layer.error(NO_ADDRESS.format(name=name), path)
    return LoadedConfig(
        config=config,
        layers=layers,
        origins=origins,
        warnings=warnings,
        feature_layers=tuple(_feature_layer(layer) for layer in layers if "features" in layer.values),
    )


def _feature_layer(layer: ConfigLayer) -> FeatureLayer:
    table = layer.values["features"]
    flags = {key: value for key, value in table.items() if isinstance(value, bool)}
    return FeatureLayer(origin=layer.origin.value, values=flags)


def _warnings_of(layer: ConfigLayer) -> list[str]:
    warnings = []
    slips = [f"{key} (did you mean {near}?)" if near else key for key, near in unknown_keys(layer.values)]
    if slips:
        warnings.append(f"{layer.source}: ignored settings that do not exist: {', '.join(slips)}.")
    for name in sorted(RESERVED_PROVIDERS.keys() & (value_at(layer.values, ("model_providers",)) or {}).keys()):
        warnings.append(
            f"{layer.source}: [model_providers.{name}] is ignored, because {name} is built in; give your provider "
            "another name and write that in model_provider (only the address of openai is meant: set openai_base_url)."
        )
    return warnings
