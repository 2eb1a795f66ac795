"""The first answer is the one that the server would give, and is given to a plain `initialize` alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app_server.bootstrap import App, Options
from app_server.config.home import home_text, locate_home
from app_server.first_answer import answer_to, serves_stdio
from app_server.protocol.jsonrpc import encode_result
from app_server.rpc.session import Session

CLIENT = {"name": "probe", "version": "1.2", "title": None}
LOADED = """
import os, sys
from app_server.first_answer import open_conversation
opening = open_conversation([], os.environ)
sys.stderr.write(f"{opening.answered} " + " ".join(sorted(sys.modules)))
"""


def line(**members: Any) -> bytes:
    request = {"id": 1, "method": "initialize", "params": {"clientInfo": CLIENT}} | members
    return json.dumps(request).encode()


@pytest.mark.parametrize("request_id", [0, -1, 2**63 - 1, "a", 'with "quotes", \n and ü'])
@pytest.mark.parametrize("name", ["probe", "naïve\tclient", 'a"b\\c'])
def test_it_is_byte_for_byte_what_the_server_says(tmp_path: Path, request_id: int | str, name: str) -> None:
    home = tmp_path / "hömé"
    env = {"APP_SERVER_HOME": str(home), "TERM": "xterm"}
    params = {"clientInfo": {**CLIENT, "name": name}, "capabilities": {"experimentalApi": True}}
    app = App(Options(env=env, cwd=tmp_path))
    said = app.initialize(Session(connection_id=1, transport="stdio"), params)
    assert answer_to(line(id=request_id, params=params), env) == encode_result(request_id, said) + b"\n"


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"{",
        b"[]",
        b"5",
        b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"\xff","version":"1"}}}',
        line(method="initialized"),
        line(method="thread/start"),
        line(id=None),
        line(id=1.5),
        line(id=True),
        line(id=2**63),
        line(params=None),
        line(params={}),
        line(params={"clientInfo": {"name": "probe"}}),
        line(params={"clientInfo": CLIENT, "capabilities": {"experimentalApi": "yes"}}),
        line(extra=float("nan")),
        line(id="\ud800"),
        b"[" * 100_000,
    ],
)
def test_everything_else_is_left_to_the_server(given: bytes) -> None:
    assert answer_to(given, {"HOME": "/home/a"}) is None


@pytest.mark.parametrize(
    "env",
    [
        {"HOME": "/home/a"},
        {"HOME": "/home/a/"},
        {"APP_SERVER_HOME": "/x/y", "CODEX_HOME": "/z"},
        {"APP_SERVER_HOME": "  ", "CODEX_HOME": "/z//w/./v/../u/"},
        {"CODEX_HOME": "here/there"},
        {"CODEX_HOME": "./here"},
        {"CODEX_HOME": "."},
        {"CODEX_HOME": "~", "HOME": "/home/a"},
        {"CODEX_HOME": "~/x", "HOME": "/home/a"},
        {"CODEX_HOME": "/"},
        {"CODEX_HOME": " /with space /x "},
    ],
)
def test_the_home_is_named_as_the_server_names_it(env: dict[str, str]) -> None:
    assert home_text(env) == str(locate_home(env)[0])


@pytest.mark.parametrize(
    "env", [{}, {"CODEX_HOME": "~other/x"}, {"CODEX_HOME": "//host/x"}, {"HOME": "relative"}, {"CODEX_HOME": "~/x"}]
)
def test_a_home_that_is_not_plain_is_left_to_the_server(env: dict[str, str]) -> None:
    assert home_text(env) is None


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], True),
        (["serve"], True),
        (["app-server", "-c", "model=x", "--enable", "a", "--disable", "b", "--config", "y=1"], True),
        (["-c", "model=x", "app-server"], True),
        (["-c"], False),
        (["--listen", "ws://127.0.0.1:0"], False),
        (["--listen=stdio://"], False),
        (["--help"], False),
        (["-V"], False),
        (["doctor"], False),
        (["serve", "--whatever"], False),
    ],
)
def test_only_a_plain_command_line_is_answered_early(arguments: list[str], expected: bool) -> None:
    assert serves_stdio(arguments) is expected


def test_nothing_but_quick_parts_of_the_standard_library_is_loaded_before_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r})" + LOADED],
        input=line() + b"\n",
        capture_output=True,
        env={"APP_SERVER_HOME": str(tmp_path)},
        timeout=60,
        check=True,
    )
    answered, *loaded = done.stderr.decode().split()
    assert answered == "True"
    assert json.loads(done.stdout)["result"]["codexHome"] == str(tmp_path)
    slow = {"anyio", "argparse", "asyncio", "dataclasses", "inspect", "logging", "orjson", "pathlib", "platform"}
    assert slow & set(loaded) == set()
    assert sorted(name for name in loaded if name.startswith("app_server.")) == [
        "app_server.config",
        "app_server.config.home",
        "app_server.errors",
        "app_server.first_answer",
        "app_server.platform_facts",
        "app_server.protocol",
        "app_server.protocol.handshake",
        "app_server.version",
    ]


def serve(home: Path, sent: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "app_server"],
        input=sent,
        capture_output=True,
        env={"PATH": os.environ["PATH"], "APP_SERVER_HOME": str(home)},
        timeout=60,
        check=False,
    )


def test_a_broken_setting_is_told_to_a_client_that_has_its_first_answer(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("model = 5\n")
    later = b'{"method":"initialized"}\n{"id":2,"method":"thread/start","params":{}}\nnonsense\n{"id":"x","method":"y"}'
    done = serve(tmp_path, line() + b"\n" + later)
    first, *answers = [json.loads(frame) for frame in done.stdout.splitlines()]
    message = done.stderr.decode().removeprefix("app-server: ").rstrip("\n")
    assert "config.toml:1" in message
    assert first["result"]["codexHome"] == str(tmp_path)
    assert [(answer["id"], answer["error"]["message"]) for answer in answers] == [(2, message), ("x", message)]
    assert done.returncode == 2


def test_a_broken_setting_ends_a_server_that_was_not_asked_in_time(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("model = 5\n")
    done = serve(tmp_path, b"")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"app-server: ")


def test_what_came_with_the_first_line_is_served_in_order(tmp_path: Path) -> None:
    asked = [line(), line(id=2), b'{"id":3,"method":"thread/loaded/list","params":{}}']
    done = serve(tmp_path, b"\n".join(asked) + b"\n")
    answers = [json.loads(frame) for frame in done.stdout.splitlines()]
    by_id = {answer["id"]: answer for answer in answers if "id" in answer}
    assert answers[0]["id"] == 1
    assert by_id[2]["error"]["message"] == "Already initialized"
    assert by_id[3]["result"] == {"data": [], "nextCursor": None}
    assert [answer["id"] for answer in answers if "id" in answer].count(1) == 1
