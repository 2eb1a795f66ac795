"""Finds extensions by name, opens their gates, isolates broken ones, and sums up what they add.

Two gates, both with a reason. *Load* (here): an extension is built once its feature is on, at start-up for the process,
else on the first need of a thread. *Exposure* (the tool's own, asked by the planner): every turn anew.
Built-in names come from `extensions.BUILTIN`, others from the entry-point group `app_server.extensions`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from app_server.extension_api.extension import Contributions, Extension, ExtensionRegistry, ExtensionState
from app_server.observability.logging import get_logger
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.services import ExtensionServices
    from app_server.extension_api.tools import ToolExecutor, ToolName
    from features.resolution import FeatureSet
    from features.spec import FeatureSpec

ENTRY_POINTS = "app_server.extensions"
BUILT_IN = "built-in"
log = get_logger("extensions")


@frozen
class Found:
    """An extension by name: its manifest, or why it cannot be imported."""

    name: str
    origin: str
    extension: Extension | None
    failure: str = ""


def discover(modules: Iterable[str] | None = None) -> tuple[Found, ...]:
    """Import the manifests: of the named modules alone, or of all built-in and installed ones. Never raises."""
    if modules is not None:
        return tuple(_load(name, BUILT_IN) for name in modules)
    builtin = importlib.import_module("extensions").BUILTIN
    found = [_load(name, BUILT_IN) for name in builtin]
    if may_be_installed(sys.path):
        found += _installed()
    return tuple(found)


def may_be_installed(folders: Iterable[str]) -> bool:
    """Whether a distribution in these folders of `sys.path` may have entry points of ours.

    A look at the files alone: the library that reads them takes a twentieth of a start to load, and most have none.
    """
    for folder in folders:
        try:
            with os.scandir(folder or ".") as entries:
                names = [entry.path for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))]
        except FileNotFoundError:
            continue
        except OSError:
            return True  # an archive, for instance: let the library look
        for name in names:
            try:
                with open(os.path.join(name, "entry_points.txt"), "rb") as file:
                    if ENTRY_POINTS.encode() in file.read():
                        return True
            except OSError:  # it has no entry points
                continue
    return False


def _installed() -> list[Found]:
    from importlib import metadata  # see above

    found = []
    for point in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda point: point.name):
        origin = point.dist.name if point.dist is not None else point.value
        found.append(_load(point.value.partition(":")[0], origin))
    return found


def _load(module: str, origin: str) -> Found:
    try:
        extension = importlib.import_module(module).EXTENSION
    except Exception as error:  # somebody else's code: the server goes on without it
        log.error("extension_not_imported", extension=module, exc_info=True)
        cause = f"{type(error).__name__}: {error}"
        return Found(name=module, origin=origin, extension=None, failure=f"{module} cannot be imported ({cause[:200]})")
    if not isinstance(extension, Extension):
        why = f"{module}.EXTENSION is no Extension; see app_server.extension_api"
        return Found(name=module, origin=origin, extension=None, failure=why)
    return Found(name=extension.key, origin=origin, extension=extension)


def _distinct(found: Iterable[Found]) -> tuple[Found, ...]:
    """Keys are unique: the second of two equal ones is broken, under a name that tells them apart."""
    by_name: dict[str, Found] = {}
    for each in found:
        if (first := by_name.setdefault(each.name, each)) is not each:
            name, why = f"{each.name} of {each.origin}", f"has the key of another extension, of {first.origin}"
            by_name[name] = Found(name=name, origin=each.origin, extension=None, failure=f"The extension {name} {why}")
    return tuple(by_name.values())


def feature_specs(found: Iterable[Found]) -> tuple[FeatureSpec, ...]:
    """The flags that extensions bring themselves; read before features are resolved."""
    return tuple(spec for each in found if each.extension is not None for spec in each.extension.feature_specs)


class ExtensionHost:
    """Builds extensions when their gate opens. `warn` is told once of each that is broken."""

    def __init__(
        self, found: Iterable[Found], services: Callable[[str], ExtensionServices], warn: Callable[[str], None]
    ) -> None:
        self._found, self._services, self._warn = _distinct(found), services, warn
        self._built: dict[str, Contributions] = {}
        self._broken: dict[str, str] = {}
        self._told: set[str] = set()
        for each in self._found:
            if each.extension is None:
                self._fail(each.name, each.failure)

    def registry(self, features: FeatureSet) -> ExtensionRegistry:
        """What is there under these features; builds what is needed for the first time."""
        tools: dict[ToolName, ToolExecutor] = {}
        owners: dict[ToolName, str] = {}
        warnings: list[str] = []
        for each in self._found:
            contributions = self._contributions(each, features)
            for tool in contributions.tools if contributions is not None else ():
                if tool.name in tools:
                    warnings.append(
                        f"The tool {tool.name} of {each.name} is left out: {owners[tool.name]} has one of that name."
                    )
                else:
                    tools[tool.name], owners[tool.name] = tool, each.name
        for warning in warnings:
            self._tell(warning)
        states = tuple(self._state(each, features) for each in self._found)
        return ExtensionRegistry(tools=tools, states=states, warnings=tuple(warnings))

    def _contributions(self, found: Found, features: FeatureSet) -> Contributions | None:
        extension = found.extension
        if extension is None or found.name in self._broken or not features.enabled(extension.feature):
            return None
        if found.name not in self._built:
            try:
                built = extension.build(self._services(found.name))
                if not isinstance(built, Contributions):
                    raise TypeError("build returned no Contributions; see app_server.extension_api")
                self._built[found.name] = built
            except Exception as error:  # isolates a broken extension: the server goes on without it
                log.error("extension_not_built", extension=found.name, exc_info=True)
                self._fail(
                    found.name, f"The extension {found.name} failed to start ({type(error).__name__}: {error})"[:300]
                )
                return None
        return self._built[found.name]

    def _state(self, found: Found, features: FeatureSet) -> ExtensionState:
        extension = found.extension
        if extension is None or found.name in self._broken:
            title = extension.title if extension is not None else found.name
            feature = extension.feature if extension is not None else ""
            reason, loaded = self._broken.get(found.name, found.failure), False
        else:
            title, feature = extension.title, extension.feature
            state = features.states.get(feature)
            loaded = found.name in self._built
            reason = f"{feature} is {state.reason}" if state is not None else f"{feature} is no feature of this server"
        return ExtensionState(
            key=found.name, title=title, feature=feature, origin=found.origin, loaded=loaded, reason=reason
        )

    def _fail(self, name: str, reason: str) -> None:
        self._broken[name] = reason
        self._tell(f"{reason}; the server runs without it.")

    def _tell(self, warning: str) -> None:
        if warning not in self._told:
            self._told.add(warning)
            log.warning("extension_warning", message=warning)
            self._warn(warning)
