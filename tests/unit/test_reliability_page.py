"""docs/reliability.md names what repeats each of its rows: every test, file and make target of it must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NODE = re.compile(r"(tests/[\w/]+\.py)(?:::(\w+))?")


def rows(page: str) -> list[list[str]]:
    """The cells of every row of a table of cases."""
    lines = [line for line in page.splitlines() if line.startswith("| ") and line.count(" | ") == 3]
    return [re.split(r" \| ", line.strip("| ")) for line in lines]


def repeats(cell: str) -> list[str]:
    """What stands in backticks in the last cell."""
    return re.findall(r"`([^`]+)`", cell)


def fault(named: str) -> str | None:
    """What is wrong with the name of something that repeats a case; None when it is there."""
    if named.startswith("kit: "):
        re.compile(named.removeprefix("kit: "))
        return None
    if named.startswith("make "):
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        return None if named.removeprefix("make ") in targets else f"{named}: no such target"
    node = NODE.fullmatch(named)
    if node is None:
        return f"{named}: neither a test nor a target nor a case of the kit"
    path = ROOT / node[1]
    if not path.is_file():
        return f"{named}: no such file"
    return None if node[2] is None or node[2] in functions(path) else f"{named}: no such test"


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_case_names_what_repeats_it_and_that_is_there() -> None:
    cases = [row for row in rows(PAGE) if row[0] != "case"]
    assert len(cases) > 50
    assert [row[0] for row in cases if not repeats(row[-1])] == []
    assert [wrong for row in cases for named in repeats(row[-1]) if (wrong := fault(named))] == []


@pytest.mark.parametrize(
    "named",
    ["make nothing", "tests/unit/test_nothing.py", "tests/unit/test_reliability_page.py::test_nothing", "anything"],
)
def test_what_is_not_there_is_found(named: str) -> None:
    assert fault(named) is not None


def test_there_is_a_section_for_each_kind_of_fault() -> None:
    assert [int(number) for number in re.findall(r"^## (\d+) ·", PAGE, re.MULTILINE)] == list(range(1, 13))


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
