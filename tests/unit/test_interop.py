"""What `make interop` decides: when there is nothing to run, and what the kit's run means."""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.interop.run import OURS, WAITING, Verdict, command, judge, missing, prepared, skipped, unavailable

GREEN = [{"client": "tui", "transport": "ws", "flows": {"chat": "PASS", "tool": "XFAIL"}}]


def row(client: str, transport: str, **flows: str) -> Mapping[str, Any]:
    return {"client": client, "transport": transport, "flows": flows}


def test_without_the_kit_the_run_is_skipped_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert missing(tmp_path, "linux") == f"the conformance kit is not at {tmp_path}; set CONFORMANCE_DIR to its folder"


def test_with_the_kit_the_run_is_tried_on_linux_only(tmp_path: Path) -> None:
    (tmp_path / "run.py").touch()
    assert missing(tmp_path, "linux") is None
    assert missing(tmp_path, "darwin") == "the conformance kit runs on Linux only, and this is darwin"


@pytest.mark.parametrize(
    ("status", "output", "why"),
    [
        (0, "kit      /x/python\nSKIPPED  tui: needs tmux on PATH\n", None),
        (
            1,
            "setting up kit …\nFAILED   kit: pip install for kit failed: no route to host\n",
            "the kit cannot make its environment: FAILED kit: pip install for kit failed: no route to host",
        ),
        (1, "", "the kit cannot make its environment: it said nothing"),
        (None, "", "the clients were not installed within 5 seconds; a package registry may be out of reach"),
    ],
)
def test_an_environment_that_cannot_be_made_is_a_reason_to_skip(status: int | None, output: str, why: str) -> None:
    assert prepared(status, output, 5) == why


def test_a_run_without_an_unexpected_failure_is_green() -> None:
    assert judge(0, GREEN, 900) == Verdict(status=0, lines=())


def test_a_failing_client_fails_the_run() -> None:
    verdict = judge(1, [row("tui", "ws", chat="FAIL", tool="XFAIL")], 900)
    assert verdict == Verdict(status=1, lines=("interop: a real client fails; its flow stands above",))


def test_a_run_in_which_no_client_could_be_installed_is_skipped() -> None:
    verdict = judge(0, [row("tui", "ws", setup="SKIP"), row("codexed", "stdio", setup="SKIP")], 900)
    assert verdict == skipped("no client could be run; the reasons stand above")


def test_a_run_of_no_client_is_skipped() -> None:
    assert judge(0, [], 900) == skipped("no client could be run; the reasons stand above")


def test_a_client_that_could_not_be_installed_is_left_out_with_its_reason() -> None:
    absent = unavailable("kit      /x/python\nSKIPPED  tui: needs tmux on PATH\nclient   codexed\n")
    assert absent == {"tui": "needs tmux on PATH"}
    assert command(Path("/kit"), Path("/out"), "python", absent)[-2:] == ["--skip", "tui"]


def test_a_flow_that_waited_and_passes_everywhere_has_to_leave_the_table() -> None:
    passing = judge(0, [row("codexed", "stdio", tool="PASS"), row("codexed", "ws", tool="PASS")], 900)
    passing_once = judge(0, [row("codexed", "stdio", tool="XFAIL"), row("codexed", "ws", tool="PASS")], 900)
    line = "interop: codexed:tool passes now; take it out of WAITING in tests/interop/run.py"
    assert (passing, passing_once) == (Verdict(status=1, lines=(line,)), Verdict(status=0, lines=()))


def test_a_run_that_hangs_or_breaks_off_fails() -> None:
    assert judge(None, None, 900).lines == ("interop: not done after 900 seconds; see the last client above",)
    assert judge(143, None, 900).lines == ("interop: the kit ended with status 143 and no results; see above",)
    assert (judge(None, GREEN, 900).status, judge(143, None, 900).status) == (1, 1)


def test_the_kit_gets_both_transports_and_the_flows_that_wait() -> None:
    words = command(Path("/kit"), Path("/out"), "/a b/python")
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:3] == ["/a b/python", "/kit/run.py", "clients"]
    assert shlex.split(given["--server-cmd"]) == ["/a b/python", "-m", "app_server", "--enable", "imagegenext"]
    assert given["--ws-cmd"] == given["--server-cmd"] + " --listen ws://127.0.0.1:{port}"
    assert (given["--expect-fail"].split(","), given["--out"]) == (list(WAITING), "/out")


def test_the_kit_gets_the_clients_that_we_bring_along_and_each_has_its_driver() -> None:
    words = command(Path("/kit"), Path("/out"), "python")
    folder = Path(words[words.index("--extra") + 1], "clients")
    names = tomllib.loads((folder / "clients.toml").read_text(encoding="utf-8"))
    assert list(OURS) == ["--extra", str(folder.parent)]
    assert {f"drive_{name}.py" for name in names} == {path.name for path in folder.glob("*.py")}
