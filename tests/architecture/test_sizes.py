"""Small pieces: a module ends at 400 lines and a function at 60, and every module says what it owns.

The style aims at 150 and 40; what is tested here is where it stops. A pure table may be longer, and is named here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pytest

from tests.architecture.source import Module, module_from, read_modules

MODULE_LINES, FUNCTION_LINES = 400, 60

LONG_TABLES: dict[str, str] = {
    "features/known_elsewhere.py": "one row for each feature key of the reference",
    "app_server/protocol/tables.py": "one row for each notification and server request of the protocol",
}
"""Module → why it may be longer: it holds rows and no logic."""

SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
"""Names under which anything could stand."""


def module_violations(modules: Iterable[Module]) -> list[str]:
    """Every module that is too long."""
    sizes = ((module.path, len(module.text.splitlines())) for module in modules if module.path not in LONG_TABLES)
    return [f"{path} has {lines} lines: split it" for path, lines in sizes if lines > MODULE_LINES]


def function_violations(modules: Iterable[Module]) -> list[str]:
    """Every function that is too long, from its `def` to its last line."""
    return [
        f"{module.at(node.lineno)} {node.name} has {lines} lines: split it"
        for module in modules
        for node in module.nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
    ]


def docstring_violations(modules: Iterable[Module]) -> list[str]:
    """Every module with code that does not open with what it owns."""
    return [
        f"{module.path} opens without a docstring"
        for module in modules
        if module.tree is not None and module.tree.body and not ast.get_docstring(module.tree)
    ]


def name_violations(modules: Iterable[Module]) -> list[str]:
    """Every module or package whose name says nothing."""
    return [f"{module.path} says nothing by its name" for module in modules if SAY_NOTHING & {*module.name.split(".")}]


def test_modules_are_short() -> None:
    assert module_violations(read_modules()) == []


def test_functions_are_short() -> None:
    assert function_violations(read_modules()) == []


def test_every_module_says_what_it_owns() -> None:
    assert docstring_violations(read_modules()) == []


def test_names_say_what_is_in_a_module() -> None:
    assert name_violations(read_modules()) == []


def test_long_modules_and_functions_are_found() -> None:
    function = "def act():\n" + "    x = 1\n" * FUNCTION_LINES
    module = module_from("app_server/x.py", function + "\n" * MODULE_LINES)

    assert module_violations([module]) == ["app_server/x.py has 461 lines: split it"]
    assert function_violations([module]) == ["app_server/x.py:1 act has 61 lines: split it"]


@pytest.mark.parametrize(("text", "faulty"), [("", False), ('"""Owns."""\nx = 1', False), ("x = 1", True)])
def test_a_module_without_a_docstring_is_found(text: str, faulty: bool) -> None:
    assert bool(docstring_violations([module_from("app_server/x.py", text)])) == faulty


def test_a_name_that_says_nothing_is_found() -> None:
    assert name_violations([module_from("app_server/rpc/utils.py", "")]) == [
        "app_server/rpc/utils.py says nothing by its name"
    ]
