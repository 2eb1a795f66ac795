"""What may stand in few places only: certain libraries, `print`, broad `except`, and checks silenced for a reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

import pytest

from tests.architecture.source import Module, module_from, read_modules

LIBRARIES: dict[str, tuple[str, ...]] = {
    "jsonrpcserver": ("app_server/rpc/engine.py",),
    "oslash": ("app_server/rpc/engine.py",),  # the result type that jsonrpcserver hands out
    "opentelemetry": ("app_server/observability/otel.py",),
    "sqlite3": ("app_server/storage/local/",),
    "asyncpg": ("app_server/storage/postgres/",),
    "obstore": ("app_server/storage/s3.py",),
    "httpx": (
        "app_server/net.py",
        "app_server/net_answers.py",
        "app_server/providers/",
        "app_server/auth/",
        "extensions/",
    ),
}
"""Library → the only files, or folders, that import it."""

MAY_PRINT = ("app_server/commands/",)

BROAD_EXCEPT: dict[str, tuple[str, ...]] = {
    "request task": ("app_server/rpc/dispatch.py", "app_server/rpc/connection.py"),
    "turn task": ("app_server/turns/engine.py", "app_server/threads/live_thread.py"),
    "tool task": ("app_server/tools/router.py",),
    "start-up of the heavy half": ("app_server/bootstrap.py",),
    "loading foreign code": ("app_server/extension_host.py",),
    "hop to another thread": ("app_server/storage/local/writer.py",),
}
"""Why `except Exception` may stand → the one file of these where it does.

Each logs the traceback and goes on, but for the hop, which hands whatever was raised to the caller that awaits it."""

SILENCERS = re.compile(
    r"#\s*(?:type:\s*ignore(?P<types>\[[\w, -]+\])?|noqa(?P<lints>:\s*[A-Z]+\d+(?:[, ]+[A-Z]+\d+)*)?)"
)
REASON_WORDS = 2
"""A reason has at least so many words."""


def library_violations(modules: Iterable[Module]) -> list[str]:
    """Every import of a confined library outside its place."""
    return [
        f"{module.at(one.line)} imports {one.target}: only {', '.join(LIBRARIES[library])} may"
        for module in modules
        for one in module.imports()
        if (library := one.target.split(".")[0]) in LIBRARIES and not module.path.startswith(LIBRARIES[library])
    ]


def print_violations(modules: Iterable[Module]) -> list[str]:
    """Every call of `print` or `pprint` outside the commands: stdout belongs to the protocol."""
    return [
        f"{module.at(node.lineno)} prints: stdout belongs to the protocol"
        for module in modules
        if not module.path.startswith(MAY_PRINT)
        for node in module.nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint")
    ]


def broad_excepts(module: Module) -> Iterator[int]:
    """Lines that catch everything, by `except` or `suppress`; one that ends in a bare `raise` only cleans up."""
    for node in module.nodes():
        match node:
            case ast.ExceptHandler(type=caught, body=[*_, last]) if caught is None or _is_broad(caught):
                if not (isinstance(last, ast.Raise) and last.exc is None):
                    yield node.lineno
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=args):
                yield from (node.lineno for argument in args if _is_broad(argument))


def _is_broad(caught: ast.expr) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(_is_broad, caught.elts))
    return isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException")


def broad_except_violations(modules: Iterable[Module]) -> list[str]:
    """Every broad handler outside the table, and every second place for one purpose."""
    found, used = [], set()
    allowed = {path for places in BROAD_EXCEPT.values() for path in places}
    for module in modules:
        for line in broad_excepts(module):
            used.add(module.path)
            if module.path not in allowed:
                found.append(f"{module.at(line)} catches every exception: name the ones that can be handled")
    for purpose, places in BROAD_EXCEPT.items():
        if len(both := sorted(used.intersection(places))) > 1:
            found.append(f"{' and '.join(both)} both catch every exception for the {purpose}: one place is enough")
    return found


def silencer_violations(modules: Iterable[Module]) -> list[str]:
    """Every `type: ignore` or `noqa` without the rule that it silences, or without its reason."""
    return [
        f"{module.at(line)} {fault}"
        for module in modules
        if module.tree is not None
        for line, comment in module.comments()
        if (fault := silencer_fault(comment))
    ]


def silencer_fault(comment: str) -> str | None:
    """What a comment that silences a check lacks; None for any other comment."""
    silencers = list(SILENCERS.finditer(comment))
    if not silencers:
        return None
    if any(not (one["types"] or one["lints"]) for one in silencers):
        return f"`{comment}` silences everything: name the rule in it"
    reason = SILENCERS.sub("", comment)
    return None if len(re.findall(r"\w{2,}", reason)) >= REASON_WORDS else f"`{comment}` needs its reason on the line"


def cast_violations(modules: Iterable[Module]) -> list[str]:
    """Every `cast` whose lines carry no comment."""
    found = []
    for module in modules:
        commented = {line for line, _ in module.comments()} if module.tree is not None else set()
        for node in module.nodes():
            match node:
                case ast.Call(func=ast.Name(id="cast") | ast.Attribute(value=ast.Name(id="typing"), attr="cast")):
                    if commented.isdisjoint(range(node.lineno, (node.end_lineno or node.lineno) + 1)):
                        found.append(f"{module.at(node.lineno)} a cast needs its reason on the line")
    return found


def test_confined_libraries_stay_in_their_place() -> None:
    assert library_violations(read_modules()) == []


def test_only_commands_print() -> None:
    assert print_violations(read_modules()) == []


def test_every_exception_is_caught_in_a_few_known_places_only() -> None:
    assert broad_except_violations(read_modules()) == []


def test_a_silenced_check_names_its_rule_and_reason() -> None:
    assert silencer_violations(read_modules(["app_server", "extensions", "features", "tests"])) == []


def test_a_cast_has_its_reason_on_the_line() -> None:
    assert cast_violations(read_modules()) == []


@pytest.mark.parametrize(
    ("path", "text", "faulty"),
    [
        ("app_server/rpc/engine.py", "from jsonrpcserver.async_dispatcher import dispatch_request", False),
        ("app_server/rpc/connection.py", "import jsonrpcserver", True),
        ("app_server/storage/local/log.py", "import sqlite3", False),
        ("app_server/storage/memory.py", "def late():\n    import sqlite3", True),
        ("app_server/net.py", "import httpx", False),
        ("app_server/network.py", "import httpx", True),
        ("app_server/methods/account.py", "from httpx import AsyncClient", True),
    ],
)
def test_a_library_outside_its_place_is_found(path: str, text: str, faulty: bool) -> None:
    assert bool(library_violations([module_from(path, text)])) == faulty


@pytest.mark.parametrize(
    ("path", "text", "faulty"),
    [
        ("app_server/cli.py", "print('hello')", True),
        ("app_server/commands/demo.py", "print('hello')", False),
        ("app_server/cli.py", "console.print('hello')", False),
    ],
)
def test_a_stray_print_is_found(path: str, text: str, faulty: bool) -> None:
    assert bool(print_violations([module_from(path, text)])) == faulty


@pytest.mark.parametrize(
    ("path", "handler", "faulty"),
    [
        ("app_server/tools/router.py", "except Exception:\n    log()", False),
        ("app_server/tools/dynamic.py", "except Exception:\n    log()", True),
        ("app_server/tools/dynamic.py", "except (ValueError, Exception) as error:\n    log()", True),
        ("app_server/tools/dynamic.py", "except:\n    log()", True),
        ("app_server/tools/dynamic.py", "except BaseException:\n    clean_up()\n    raise", False),
        ("app_server/tools/dynamic.py", "except ValueError:\n    log()", False),
        ("app_server/tools/dynamic.py", "finally:\n    suppress(Exception)", True),
    ],
)
def test_a_broad_except_outside_its_place_is_found(path: str, handler: str, faulty: bool) -> None:
    assert bool(broad_except_violations([module_from(path, f"try:\n    act()\n{handler}\n")])) == faulty


def test_two_places_for_one_purpose_are_found() -> None:
    text = "try:\n    act()\nexcept Exception:\n    log()\n"
    paths = ("app_server/rpc/connection.py", "app_server/rpc/dispatch.py")

    assert broad_except_violations([module_from(path, text) for path in paths]) == [
        "app_server/rpc/connection.py and app_server/rpc/dispatch.py both catch every exception for the request task: "
        "one place is enough"
    ]


@pytest.mark.parametrize(
    ("comment", "faulty"),
    [
        ("# an ordinary comment", False),
        ("# type: " + "ignore[misc]  # the stub is wrong here", False),
        ("# no" + "qa: BLE001 - the tool's own fault must not end the turn", False),
        ("# no" + "qa: F401, E402  # imported late on purpose", False),
        ("# type: " + "ignore  # the stub is wrong here", True),
        ("# type: " + "ignore[misc]", True),
        ("# no" + "qa", True),
        ("# no" + "qa: E501", True),
        ("# type: " + "ignore[misc]  # no" + "qa: E501", True),
    ],
)
def test_a_silencer_without_rule_or_reason_is_found(comment: str, faulty: bool) -> None:
    assert bool(silencer_fault(comment)) == faulty


@pytest.mark.parametrize(
    ("text", "faulty"),
    [("x = cast(int, y)", True), ("x = cast(int, y)  # the codec only yields ints", False), ("x = forecast(y)", False)],
)
def test_a_cast_without_a_reason_is_found(text: str, faulty: bool) -> None:
    assert bool(cast_violations([module_from("app_server/net.py", text)])) == faulty
