"""`app-server doctor` as a person runs it: on a healthy home, on a broken one, repaired, and while a server runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_exec import ROOT, TIMEOUT_S, environment, offline


def doctor(home: Path, *words: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "app_server", "doctor", "--home", str(home), "-c", "model_provider=offline", *words],
        cwd=home,
        env=environment(home.with_name("elsewhere")),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended.returncode, ended.stdout


def states(home: Path, *words: str) -> tuple[int, dict[str, str], Any]:
    code, out = doctor(home, "--json", *words)
    told = json.loads(out)
    return code, {check["name"]: check["state"] for check in told["checks"]}, told


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one thread and one picture."""
    folder = tmp_path / "home"
    assert offline(folder, "a red fox in the snow").returncode == 0
    return folder


def test_a_healthy_home_has_no_problem(home: Path) -> None:
    before = sorted(path.name for path in home.iterdir())
    code, found, told = states(home, "--deep")
    assert sorted(path.name for path in home.iterdir()) == before
    assert (code, set(found.values()), told["repaired"]) == (0, {"ok"}, None), told
    code, out = doctor(home)
    assert (code, out.splitlines()[-1]) == (0, f"{len(found)} checks: 0 problems, 0 warnings.")


def test_garbage_is_found_repaired_and_the_conversation_goes_on(home: Path) -> None:
    path = home / "state.sqlite"
    path.write_bytes(b"garbage" * 1000)
    code, found, _ = states(home)
    assert (code, found["database"]) == (1, "problem")

    code, found, told = states(home, "--repair")
    assert (code, found["database"], found["earlier damage"]) == (0, "ok", "warning"), told
    repaired = told["repaired"]
    assert (repaired["threads_saved"], repaired["blobs_saved"], repaired["records_lost"]) == (1, 1, 0)
    assert Path(repaired["broken"]).read_bytes() == b"garbage" * 1000
    again = offline(home, "--last", "make it night")
    assert again.returncode == 0, again.stderr


def test_what_is_lost_is_told_thread_by_thread_with_status_1(home: Path) -> None:
    path = home / "state.sqlite"
    for copy in (home / "copies").iterdir():
        copy.unlink()
    data = bytearray(path.read_bytes())
    at = data.index(b'"settings"') // 4096 * 4096
    data[at : at + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    code, out = doctor(home, "--repair")
    assert code == 1
    assert "lost: thread" in out or "cut:  thread" in out


def test_a_picture_that_was_changed_is_found_and_named(home: Path) -> None:
    (picture,) = (home / "generated_images").rglob("*.png")
    picture.write_bytes(picture.read_bytes()[:-1] + b"x")
    code, out = doctor(home)
    assert (code, str(picture) in out) == (1, True)


def test_a_repair_is_refused_while_a_server_has_the_home_open(home: Path) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "app_server", "-c", "model_provider=offline"],
        cwd=ROOT,
        env=environment(home),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        client = {"clientInfo": {"name": "t", "version": "1"}}
        for number, (method, params) in enumerate((("initialize", client), ("thread/list", {}))):
            request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            server.stdin.write(json.dumps(request).encode() + b"\n")
        server.stdin.flush()
        while json.loads(server.stdout.readline()).get("id") != 1:
            pass
        code, out = doctor(home, "--repair")
        assert (code, "open; stop it" in out) == (2, True), out
    finally:
        server.stdin.close()
        server.wait(TIMEOUT_S)
        server.stdout.close()
