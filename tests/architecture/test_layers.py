"""Who may import whom: an import goes to a lower level only, and packages of one level do not see each other.

The drawing is in ARCHITECTURE.md; this is the same table, checked on every import of every module, those inside
functions and under TYPE_CHECKING included. A new unit of `app_server` needs a row here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import pytest

from tests.architecture.source import Import, Module, module_from, read_modules

LEVELS: tuple[tuple[str, ...], ...] = (
    ("values",),
    ("features", "protocol", "errors", "ids", "clock", "version", "sse", "net_answers", "wires", "child_groups"),
    ("transport", "config", "net", "observability", "extension_api", "platform_facts"),
    ("auth", "storage", "providers", "approvals", "hooks", "workspace"),
    ("pictures", "tools", "rpc", "tenants"),
    ("turns",),
    ("threads",),
    ("methods", "moving", "extension_access", "extension_host", "replicas"),
    ("bootstrap", "wiring", "commands", "cli", "first_answer", "__main__"),
)
LEVEL_OF = {unit: level for level, units in enumerate(LEVELS) for unit in units}

EXCEPTIONS: dict[tuple[str, str], str] = {
    ("bootstrap", "wiring"): "the two halves of the composition root: answered first, loaded behind it",
    ("wiring", "bootstrap"): "the two halves of the composition root",
    ("commands", "bootstrap"): "a command that serves has the server built for it",
    ("cli", "commands"): "the parser hands over to the command that was named",
    ("cli", "bootstrap"): "the parser may hand the server's own command to the composition root",
    ("__main__", "cli"): "`python -m app_server` is the console script",
    ("__main__", "first_answer"): "the first answer comes before the command line is read",
    ("cli", "first_answer"): "the parser hands on what was read from stdin before it",
    ("commands", "first_answer"): "the server goes on with what was read from stdin before it",
}
"""Importer, imported → why the rule does not hold for the two."""

IMPLEMENTATIONS: dict[str, str] = {
    "app_server.storage.local": "app_server.storage.base",
    "app_server.storage.memory": "app_server.storage.base",
    "app_server.storage.postgres": "app_server.storage.base",
    "app_server.providers.responses_api": "app_server.providers.base",
    "app_server.providers.offline": "app_server.providers.base",
}
"""Module → the protocols to use in its place, for everyone but its own package and the composition root."""

DOOR = "app_server.extension_api"


def unit_of(name: str) -> str | None:
    """The unit of the table that a dotted name of ours belongs to; None for foreign names and for bare `app_server`."""
    parts = name.split(".")
    if parts[0] == "features":
        return "features"
    return parts[1] if parts[0] == "app_server" and len(parts) > 1 else None


def is_below(name: str, package: str) -> bool:
    """Is this dotted name the package or something in it?"""
    return name == package or name.startswith(f"{package}.")


def layer_fault(importer: str, imported: str) -> str | None:
    """Why one unit may not import the other; None when it may."""
    if importer == imported or (importer, imported) in EXCEPTIONS:
        return None
    for unit in (importer, imported):
        if unit not in LEVEL_OF:
            return f"`{unit}` has no level: give it a row in tests/architecture/test_layers.py"
    above, below = LEVEL_OF[importer], LEVEL_OF[imported]
    if below < above:
        return None
    relation = "stands on the same level" if below == above else "stands higher"
    return f"{importer} (level {above}) imports {imported} (level {below}), which {relation}"


def layer_violations(modules: Iterable[Module]) -> list[str]:
    """Every import inside `app_server` and `features` that goes sideways or up."""
    found = []
    for module in modules:
        importer = unit_of(module.name)
        for one in module.imports() if importer else ():
            imported = unit_of(one.target)
            fault = layer_fault(importer, imported) if importer and imported else None
            if fault:
                found.append(f"{module.at(one.line)} {fault}")
    return found


def implementation_violations(modules: Iterable[Module]) -> list[str]:
    """Every import of an implementation by someone who ought to know its protocols alone."""
    found = []
    for module in modules:
        for one in module.imports():
            for implementation, protocols in IMPLEMENTATIONS.items():
                home = implementation.rpartition(".")[0]
                outside = not is_below(module.name, home) and module.name != "app_server.bootstrap"
                if is_below(one.target, implementation) and outside:
                    found.append(f"{module.at(one.line)} imports {one.target}: use the protocols of {protocols}")
    return found


def extension_violations(modules: Iterable[Module]) -> list[str]:
    """Every import by which an extension reaches past the door, or another extension."""
    found = []
    for module in modules:
        own = ".".join(module.name.split(".")[:2])
        for one in module.imports() if is_below(module.name, "extensions") else ():
            ours = one.target.split(".")[0] in ("app_server", "extensions", "tests")
            if ours and not is_below(one.target, DOOR) and not is_below(one.target, own):
                found.append(f"{module.at(one.line)} imports {one.target}: an extension sees {DOOR} and features alone")
    return found


def host_violations(modules: Iterable[Module]) -> list[str]:
    """Every import of an extension by the server: extensions are loaded by the names in `extensions.BUILTIN`."""
    return [
        f"{module.at(one.line)} imports {one.target}: the server loads extensions by name"
        for module in modules
        if is_below(module.name, "app_server")
        for one in module.imports()
        if is_below(one.target, "extensions") and not names_builtin(one)
    ]


def names_builtin(one: Import) -> bool:
    """Is this the bare package, whose `BUILTIN` is the list of names to load?"""
    return one.target in ("extensions", "extensions.BUILTIN")


def leaf_violations(modules: Iterable[Module]) -> list[str]:
    """Every import of `features` that is neither its own nor the standard library's."""
    return [
        f"{module.at(one.line)} imports {one.target}: features uses the standard library alone"
        for module in modules
        if is_below(module.name, "features")
        for one in module.imports()
        if one.target.split(".")[0] not in {*sys.stdlib_module_names, "features"}
    ]


def test_every_module_parses() -> None:
    assert [module.path for module in read_modules() if module.tree is None] == []


def test_imports_go_to_a_lower_level_only() -> None:
    assert layer_violations(read_modules()) == []


def test_storage_and_providers_are_known_by_their_protocols() -> None:
    assert implementation_violations(read_modules()) == []


def test_extensions_see_the_door_and_features_alone() -> None:
    assert extension_violations(read_modules()) == []


def test_the_server_never_imports_an_extension() -> None:
    assert host_violations(read_modules()) == []


def test_features_is_a_leaf() -> None:
    assert leaf_violations(read_modules()) == []


def test_every_unit_of_the_server_has_a_level() -> None:
    units = {unit for module in read_modules(["app_server"]) if (unit := unit_of(module.name))}
    assert sorted(units - set(LEVEL_OF)) == []


def test_every_exception_names_units_of_the_table_and_has_a_reason() -> None:
    assert [pair for pair, why in EXCEPTIONS.items() if not why or not set(pair) <= set(LEVEL_OF)] == []


@pytest.mark.parametrize(
    ("path", "text", "faulty"),
    [
        ("app_server/rpc/hub.py", "from app_server.transport.base import MessageStream", False),
        ("app_server/rpc/hub.py", "from app_server.rpc import outbox", False),
        ("app_server/rpc/hub.py", "import app_server.threads.manager", True),
        ("app_server/rpc/hub.py", "from app_server import threads", True),
        ("app_server/rpc/hub.py", "from app_server.tools.router import Router", True),
        ("app_server/rpc/hub.py", "from ..tools import router", True),
        ("app_server/rpc/__init__.py", "from .hub import Hub", False),
        ("app_server/turns/engine.py", "if TYPE_CHECKING:\n    from app_server.threads import manager", True),
        ("app_server/turns/engine.py", "def late():\n    import app_server.methods.turn", True),
        ("app_server/turns/engine.py", "importlib.import_module('app_server.bootstrap')", True),
        ("app_server/errors.py", "from app_server.protocol.base import WireModel", True),
        ("app_server/protocol/items.py", "from features import FEATURES", True),
        ("features/registry.py", "from app_server.errors import AppServerError", True),
        ("features/registry.py", "from features.spec import Stage", False),
        ("app_server/extension_api/services.py", "from app_server.net import Net", True),
        ("app_server/cli.py", "from app_server.commands import serve", False),
        ("app_server/commands/serve.py", "from app_server.cli import main", True),
        ("app_server/novelty.py", "from app_server.errors import AppServerError", True),
    ],
)
def test_a_sideways_or_upward_import_is_found(path: str, text: str, faulty: bool) -> None:
    assert bool(layer_violations([module_from(path, text)])) == faulty


@pytest.mark.parametrize(
    ("path", "text", "faulty"),
    [
        ("app_server/turns/engine.py", "from app_server.storage.base import ThreadLog", False),
        ("app_server/turns/engine.py", "from app_server.storage.memory import MemoryThreadLog", True),
        ("app_server/turns/engine.py", "from app_server.storage import local", True),
        ("app_server/storage/registry.py", "from app_server.storage.local.log import SqliteThreadLog", False),
        ("app_server/bootstrap.py", "from app_server.providers.offline import OfflineProvider", False),
    ],
)
def test_an_import_of_an_implementation_is_found(path: str, text: str, faulty: bool) -> None:
    assert bool(implementation_violations([module_from(path, text)])) == faulty


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("from app_server.extension_api import Extension", False),
        ("from features import FeatureSet", False),
        ("from extensions.image_generation.selection import select_images", False),
        ("from . import selection", False),
        ("import httpx", False),
        ("from app_server.errors import ToolFailure", True),
        ("from app_server import net", True),
        ("from extensions.shell.tool import Shell", True),
        ("from ..shell import tool", True),
    ],
)
def test_an_extension_that_reaches_past_the_door_is_found(text: str, faulty: bool) -> None:
    assert bool(extension_violations([module_from("extensions/image_generation/tool.py", text)])) == faulty


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("from extensions.image_generation import extension", True),
        ("import_module('extensions.image_generation')", True),
        ("from extensions import BUILTIN", False),
        ("import_module('extensions')", False),
    ],
)
def test_a_server_that_imports_an_extension_is_found(text: str, faulty: bool) -> None:
    assert bool(host_violations([module_from("app_server/extension_host.py", text)])) == faulty


@pytest.mark.parametrize(
    ("text", "faulty"), [("import tomllib", False), ("import tomlkit", True), ("from features import spec", False)]
)
def test_a_foreign_import_of_features_is_found(text: str, faulty: bool) -> None:
    assert bool(leaf_violations([module_from("features/resolution.py", text)])) == faulty
