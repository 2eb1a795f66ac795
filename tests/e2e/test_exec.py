"""`app-server exec` as a person runs it: a picture in one line, a program reading JSON, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import orjson
import pytest

from tests.interaction.conversation import picture_home
from tests.support.upstream import Gate, Reply, ScriptedUpstream

TIMEOUT_S = 60
ROOT = str(Path(__file__).parents[2])


def environment(home: Path) -> dict[str, str]:
    """No key and no home of the person who runs the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("APP_SERVER_", "CODEX_", "OPENAI_"))}
    return {**kept, "PYTHONPATH": ROOT, "APP_SERVER_HOME": str(home), "FAKE_KEY": "sk-fake-for-tests"}


def offline(home: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One run on the offline provider, which draws without a network."""
    home.mkdir(exist_ok=True)
    options = ["--enable", "imagegenext", "-c", "model_provider=offline"]
    return subprocess.run(
        [sys.executable, "-m", "app_server", "exec", *options, *words],
        cwd=home,
        env=environment(home),
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


def test_a_picture_in_one_line_and_its_edit_in_the_next(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = offline(home, "a red fox in the snow")
    assert first.returncode == 0, first.stderr
    (line,) = (line for line in first.stdout.splitlines() if line.startswith("picture: "))
    assert Path(line.removeprefix("picture: ").rpartition(" (")[0]).read_bytes().startswith(b"\x89PNG")

    second = offline(home, "--last", "--json", "-", stdin="make it night")
    assert second.returncode == 0, second.stderr
    events = [orjson.loads(line) for line in second.stdout.splitlines()]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    (picture,) = (item for item in items if item["type"] == "image_generation")
    assert Path(picture["saved_path"]).stat().st_size == picture["bytes"]
    assert events[0]["thread_id"] in first.stderr
    assert events[-1]["type"] == "turn.completed"


@pytest.mark.anyio
@pytest.mark.skipif(os.name == "nt", reason="needs a SIGINT that reaches one process")
async def test_ctrl_c_interrupts_the_turn_and_ends_with_130(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        gate = Gate()
        up.queue.append(Reply(events=[gate]))
        home = picture_home(tmp_path, up, enable=())
        command = [sys.executable, "-m", "app_server", "exec", "--json", "Think for ever"]
        process = await anyio.open_process(command, cwd=home.cwd, env=environment(home.home))
        async with process:
            with anyio.fail_after(TIMEOUT_S):
                await gate.wait_reached(TIMEOUT_S)
                process.send_signal(signal.SIGINT)
                assert process.stdout is not None
                written = b"".join([chunk async for chunk in process.stdout])
                assert await process.wait() == 130
    events = [orjson.loads(line) for line in written.splitlines()]
    assert events[-1] == {"type": "turn.failed", "error": {"message": "The turn was interrupted."}}
