"""What the doctor says of given facts: the state, the sentence, what to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app_server.commands.doctor import lines
from app_server.commands.doctor_checks import (
    Check,
    State,
    judge_blobs,
    judge_broken,
    judge_config,
    judge_database,
    judge_extensions,
    judge_features,
    judge_keys,
    judge_leases,
    judge_permissions,
    judge_temporary_files,
    look_at_home,
    look_at_permissions,
)
from app_server.extension_api.extension import ExtensionState
from app_server.storage.inspection import BlobFacts, DatabaseFacts, LeaseFacts
from features.registry import FEATURES
from features.resolution import FeatureLayer, resolve_features

HOME = Path("/home/x")
DB = HOME / "state.sqlite"
REPAIR = "Stop the server and run: app-server doctor --repair"
WHOLE = DatabaseFacts(path=DB, exists=True, copies=2, version=2, newest=2, threads=2)


def facts(**changes: object) -> DatabaseFacts:
    return DatabaseFacts(**{"path": DB, "exists": True, "copies": 2, "version": 2, "newest": 2, "threads": 2} | changes)  # type: ignore[arg-type]  # a table of members


@pytest.mark.parametrize(
    ("given", "state", "words", "fix"),
    [
        (WHOLE, State.OK, "is whole: schema version 2, 2 threads", ""),
        (facts(exists=False, copies=0), State.OK, "does not exist yet", ""),
        (facts(exists=False), State.PROBLEM, "is gone, and copies of 2 threads", REPAIR),
        (facts(version=None), State.PROBLEM, "cannot be read as a database, and copies of 2", REPAIR),
        (facts(version=None, copies=0), State.PROBLEM, "there are no copies of its threads", REPAIR),
        (facts(faults=("Tree 4 page 9: bad",)), State.PROBLEM, "(1 faults; the first: Tree 4 page 9: bad)", REPAIR),
        (facts(version=9), State.PROBLEM, "this server knows 2", "Install the newer server"),
        (facts(version=1), State.WARNING, "schema version 1 of 2", "Start the server once"),
    ],
)
def test_what_is_said_of_a_database(given: DatabaseFacts, state: State, words: str, fix: str) -> None:
    check = judge_database(given)
    assert (check.state, words in check.sentence, check.fix.startswith(fix)) == (state, True, True), check


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        (
            BlobFacts(known=3, hashed=3, missing=(), altered=()),
            State.OK,
            "All 3 stored pictures are there and unchanged.",
        ),
        (BlobFacts(known=3, hashed=1, missing=(), altered=()), State.OK, "1 of them were read"),
        (BlobFacts(known=3, hashed=3, missing=("/a",), altered=()), State.PROBLEM, "1 missing: /a."),
        (BlobFacts(known=9, hashed=3, missing=(), altered=tuple("abcdefg")), State.PROBLEM, "a, b, c, d, e and 2 more"),
    ],
)
def test_what_is_said_of_pictures(given: BlobFacts, state: State, words: str) -> None:
    check = judge_blobs(given)
    assert (check.state, words in check.sentence) == (state, True), check


@pytest.mark.parametrize(
    ("modes", "state", "fix"),
    [
        ({"auth.json": 0o600}, State.OK, ""),
        ({"auth.json": 0o644}, State.PROBLEM, "Run: chmod 600 /home/x/auth.json"),
        ({"auth.json": 0o600, "state.sqlite": 0o640}, State.WARNING, "Run: chmod 600 /home/x/state.sqlite"),
    ],
)
def test_what_is_said_of_permissions(modes: dict[str, int], state: State, fix: str) -> None:
    check = judge_permissions(HOME, modes)
    assert (check.state, check.fix) == (state, fix)


def test_a_home_that_is_missing_is_a_warning_and_a_file_in_its_place_a_problem(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    states = [look_at_home(path).state for path in (tmp_path, tmp_path / "none", file)]
    assert states == [State.OK, State.WARNING, State.PROBLEM]


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
def test_a_login_that_others_can_read_is_found(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{}")
    (tmp_path / "auth.json").chmod(0o644)
    assert look_at_permissions(tmp_path).state is State.PROBLEM


def test_leases_are_told_and_never_a_fault() -> None:
    told = [
        judge_leases(LeaseFacts(live=live, dead=dead, home_open=is_open))
        for live, dead, is_open in ((0, 0, False), (0, 2, False), (3, 0, True))
    ]
    assert [check.state for check in told] == [State.OK] * 3
    assert "writes 3 threads" in told[2].sentence


def test_temporary_files_are_a_warning_unless_a_server_may_be_writing_them() -> None:
    states = [
        judge_temporary_files(paths, home_open=is_open).state
        for paths, is_open in (([], False), ([HOME / ".x.tmp"], True), ([HOME / ".x.tmp"], False))
    ]
    assert states == [State.OK, State.OK, State.WARNING]


def test_a_database_that_was_put_aside_is_remembered() -> None:
    assert [judge_broken(paths).state for paths in ([], [HOME / "state.sqlite.broken-1"])] == [State.OK, State.WARNING]


def test_settings_that_cannot_be_read_are_a_problem_with_the_place() -> None:
    check = judge_config("/h/config.toml:3:1: no such value", ())
    assert (check.state, check.sentence) == (State.PROBLEM, "/h/config.toml:3:1: no such value")
    assert [judge_config(None, warnings).state for warnings in ((), ("old key",))] == [State.OK, State.WARNING]


def test_a_missing_key_is_a_warning_that_names_it() -> None:
    assert judge_keys("a", {}).state is State.OK
    assert judge_keys("a", {"b": "Set KEY_B."}).fix == "Set it before a thread uses that provider."
    check = judge_keys("a", {"a": "Set KEY_A."})
    assert (check.state, check.sentence) == (State.WARNING, "Set KEY_A.")


def test_a_broken_extension_and_an_unknown_feature_are_warnings() -> None:
    state = ExtensionState(key="x", title="X", feature="f", origin="o", loaded=True, reason="on")
    assert judge_extensions([state], []).sentence == "1 of 1 are loaded: x."
    assert judge_extensions([state], ["y failed."]).state is State.WARNING
    layer = FeatureLayer(origin="config.toml", values={"nonsense": True})
    assert judge_features(resolve_features(FEATURES, [])).state is State.OK
    assert judge_features(resolve_features(FEATURES, [layer])).state is State.WARNING


def test_the_table_says_what_to_do_below_a_line_and_counts() -> None:
    checks = [
        Check(name="home", state=State.OK, sentence="Good."),
        Check(name="database", state=State.PROBLEM, sentence="Bad.", fix="Mend it."),
    ]
    assert lines(checks) == [
        "ok       home      Good.",
        "PROBLEM  database  Bad.",
        "                   → Mend it.",
        "",
        "2 checks: 1 problems, 0 warnings.",
    ]
