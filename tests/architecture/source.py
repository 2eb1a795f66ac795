"""Reads the source tree as the architecture tests see it: modules with their text, syntax tree and imports.

Uses the standard library alone and imports nothing that it reads, so that a broken module cannot hide another's fault.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app_server", "extensions", "features")


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One thing that a module imports, by its full dotted name: `app_server.errors.ToolFailure`, `httpx`."""

    target: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One source file. `tree` is None when the text does not parse."""

    name: str
    path: str
    """Relative to the repository, with forward slashes."""
    text: str
    tree: ast.Module | None

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    def at(self, line: int) -> str:
        """Where a violation stands."""
        return f"{self.path}:{line}"

    def nodes(self) -> Iterator[ast.AST]:
        """Every node of the tree, those inside functions and under TYPE_CHECKING included."""
        return iter(()) if self.tree is None else ast.walk(self.tree)

    def imports(self) -> list[Import]:
        """Everything it imports, anywhere in the file; relative names are resolved."""
        return [found for node in self.nodes() for found in self._imports_of(node)]

    def _imports_of(self, node: ast.AST) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                yield from (Import(target=alias.name, line=node.lineno) for alias in names)
            case ast.ImportFrom(names=names):
                base = self._base_of(node)
                yield from (Import(target=f"{base}.{alias.name}", line=node.lineno) for alias in names)
            case ast.Call(func=function, args=[ast.Constant(value=str(target)), *_]) if _imports_by_name(function):
                yield Import(target=target, line=node.lineno)

    def _base_of(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + (1 if self.is_package else 0)]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def comments(self) -> list[tuple[int, str]]:
        """Line and text of every comment."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]


def _imports_by_name(function: ast.expr) -> bool:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in ("import_module", "__import__")
    return False


def module_from(path: str, text: str) -> Module:
    """A module as it would stand at that path; the tests of the rules make theirs with it."""
    dotted = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        tree = ast.parse(text, filename=path)
    except SyntaxError:
        tree = None
    return Module(name=dotted, path=path, text=text, tree=tree)


def read_modules(folders: Iterable[str] = PACKAGES) -> list[Module]:
    """Every module below these folders of the repository, in the order of their paths."""
    files = sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))
    return [_read(file) for file in files]


@cache
def _read(file: Path) -> Module:
    return module_from(file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8"))
