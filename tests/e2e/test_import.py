"""`app-server import` as a person runs it: another home, a home of codex, twice, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app_server.storage.base import tenant_of
from app_server.storage.registry import tenant_folder
from tests.e2e.test_exec import TIMEOUT_S, environment, offline
from tests.support.rollouts import THREAD, meta, paginated_turn, write_rollout


def imported(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    home.mkdir(exist_ok=True)
    ended = subprocess.run(
        [sys.executable, "-m", "app_server", "import", *words],
        cwd=home,
        env=environment(home),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended


def report(home: Path, *words: str) -> tuple[int, Any]:
    ended = imported(home, "--json", *words)
    return ended.returncode, json.loads(ended.stdout)


def test_a_thread_moves_house_and_goes_on_there(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert offline(old, "a red fox in the snow").returncode == 0
    dry = imported(new, "--from", str(old), "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "Nothing was written: this was a dry run.")
    assert not (new / "state.sqlite").exists()

    first = imported(new, "--from", str(old))
    assert (first.returncode, first.stdout.splitlines()[1:]) == (
        0,
        ["threads: 1 new in the target", "verified by sha256: 1 threads, 1 pictures", "Everything is there."],
    )
    assert first.stderr.startswith("app-server: import: 1 of 1 threads, 1 pictures")
    code, told = report(new, "--from", str(old))
    assert (code, told["threads"], told["verified"]) == (0, {"total": 1, "present": 1}, {"threads": 1, "pictures": 1})
    again = offline(new, "--last", "make it night")
    assert again.returncode == 0, again.stderr


def test_threads_of_codex_move_in_and_go_on(tmp_path: Path) -> None:
    codex, home = tmp_path / "codex", tmp_path / "home"
    write_rollout(codex, [meta(model_provider="offline"), *paginated_turn(1, "one", "first")])
    code, told = report(home, "--codex", str(codex))
    assert (code, told["complete"], told["threads"]) == (0, True, {"total": 1, "moved": 1})
    again = offline(home, "--resume", THREAD, "and two")
    assert again.returncode == 0, again.stderr


def test_what_is_missing_is_named_and_gives_status_1(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert offline(old, "a red fox in the snow").returncode == 0
    for path in (old / "generated_images").rglob("*.png"):
        path.unlink()
    ended = imported(new, "--from", str(old))
    assert ended.returncode == 1
    assert "is gone or changed in the source." in ended.stdout
    assert ended.stdout.splitlines()[-1] == "1 things are missing."


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--from", "."), "is the target itself; name another home"),
        (("--from", "nowhere"), "has no state.sqlite; name the home of a server"),
        (("--codex", "nowhere"), "has no folder sessions; name a home of codex"),
        (("--from", "nowhere", "--to", "ftp:x"), "ftp:, which is not known"),
        (("--from", "nowhere", "--blobs", "s3://x"), "storage.blobs is for PostgreSQL"),
        (("--form", "nowhere"), "--from --codex is required"),
        ((), "one of the arguments --from --codex is required"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_status_2(
    tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    ended = imported(tmp_path / "home", *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert sentence in ended.stderr


def test_a_tenant_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert offline(old, "a red fox in the snow").returncode == 0
    assert report(new, "--from", str(old), "--tenant", "ann")[0] == 0
    assert not (new / "state.sqlite").exists()
    assert (tenant_folder(new, tenant_of("ann")) / "state.sqlite").is_file()  # where a client with that login looks
