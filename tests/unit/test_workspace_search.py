"""Which paths are found, in which order, and what of a path counts as matching."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio
import pytest

from app_server.protocol.search import FuzzyFileSearchResult
from app_server.workspace import search as search_module
from app_server.workspace.search import MAX_RESULTS, Candidate, list_paths, search
from app_server.workspace.search_session import Files, SearchSession
from tests.support.bell import Bell

ENV = {"PATH": os.environ["PATH"], "HOME": "/nowhere"}


def never() -> bool:
    return False


def candidates(*paths: str) -> list[Candidate]:
    return [Candidate(root="/r", path=path, lower=path.lower(), is_directory=False) for path in paths]


def found(query: str, *paths: str) -> list[str]:
    return [each.path for each in search(candidates(*paths), query, never)]


def listed(root: Path) -> dict[str, bool]:
    return {each.path: each.is_directory for each in list_paths([("root", str(root))], ENV, never)}


def make(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("")


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("store", ["src/store.py", "src/image_store.py", "storage/index.py"]),  # whole name, a word of it, a folder
        ("imgst", ["src/image_store.py", "src/images/store.py"]),  # within one part before across two
        ("readme", ["README.md", "docs/readme.md"]),  # whatever the case; the shorter of equals
        ("sp", ["a/some_plan.py", "a/xsxp.py"]),  # starts of words before letters within them
        ("src main", ["src/main.py", "src/domain.py"]),  # each word for itself
        ("src/m", ["src/main.py"]),
        ("mc", ["MyClass.ts", "mxxc.ts"]),  # a capital begins a word
    ],
)
def test_the_better_fit_comes_first(query: str, paths: list[str]) -> None:
    others = ["zebra/unrelated.txt"]
    assert found(query, *others, *reversed(paths)) == paths


@pytest.mark.parametrize("query", ["", "  ", "erots", "main src x"])
def test_nothing_is_found_for_nothing_or_letters_out_of_order(query: str) -> None:
    assert found(query, "src/store.py", "src/main.py") == []


def test_a_row_names_root_path_kind_and_the_letters_that_matched() -> None:
    rows = search([Candidate(root="/r", path="a/Dot İs", lower="a/dot is", is_directory=True)], "di", never)
    assert rows == (
        FuzzyFileSearchResult(
            root="/r", path="a/Dot İs", match_type="directory", file_name="Dot İs", score=rows[0].score, indices=(2, 6)
        ),
    )
    assert set(rows[0].wire()) == {"root", "path", "match_type", "file_name", "score", "indices"}


def test_the_number_of_rows_is_bounded() -> None:
    assert len(found("f", *(f"f{number}" for number in range(MAX_RESULTS + 10)))) == MAX_RESULTS


def test_a_search_that_is_stopped_ends_with_what_it_has() -> None:
    assert search(candidates("a"), "a", lambda: True) == ()


def test_without_git_all_files_are_listed_and_links_are_not_entered(tmp_path: Path) -> None:
    make(tmp_path, "a/b.py", ".hidden", "ignored/x", ".git/config")
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "again").symlink_to(".")
    # a folder that is called .git without being a repository
    assert listed(tmp_path) == {
        ".gitignore": False,
        ".hidden": False,
        "a": True,
        "a/b.py": False,
        "again": True,
        "ignored": True,
        "ignored/x": False,
    }


def test_in_a_work_tree_git_says_what_counts(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=ENV)
    make(tmp_path, "src/deep/a.py", "ignored/x", "ü b.txt")
    (tmp_path / ".gitignore").write_text("ignored\n")
    assert listed(tmp_path) == {
        ".gitignore": False,
        "src": True,
        "src/deep": True,
        "src/deep/a.py": False,
        "ü b.txt": False,
    }
    assert listed(tmp_path / "src") == {"deep": True, "deep/a.py": False}


def test_a_program_that_a_repository_names_is_not_run(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, env=ENV)
    (tmp_path / "monitor").write_text(f"#!/bin/sh\ntouch {tmp_path}/was-run\n")
    (tmp_path / "monitor").chmod(0o755)
    subprocess.run(["git", "-C", str(tmp_path), "config", "core.fsmonitor", "./monitor"], check=True, env=ENV)
    assert "monitor" in listed(tmp_path)
    assert not (tmp_path / "was-run").exists()


def test_a_root_that_is_not_there_has_no_paths_and_one_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    make(tmp_path, "f")
    roots = [("no", str(tmp_path / "no")), ("here", str(tmp_path)), ("here", str(tmp_path))]
    assert [(each.root, each.path) for each in list_paths(roots, ENV, never)] == [("here", "f")]


def test_lower_case_keeps_every_letter_in_its_place() -> None:
    assert search_module._lower("İX") == "ix"


@pytest.mark.anyio
async def test_a_session_answers_the_latest_query_alone() -> None:
    bell, told = Bell(), list[tuple[str, Sequence[str]]]()

    def report(query: str, files: Files) -> None:
        told.append((query, [each.path for each in files]))
        bell.ring()

    session = SearchSession(lambda stop: candidates("one", "two"), report, anyio.CapacityLimiter(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(session.run)
        await bell.until(lambda: told == [("", [])], 5, partial(str, "the listing is done"))
        session.update("one")
        session.update("tw")
        await bell.until(lambda: len(told) == 2, 5, partial(str, "an answer"))
        session.update("o")
        session.stop()
    assert told == [("", []), ("tw", ["two"])]
