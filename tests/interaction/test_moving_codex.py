"""The reference's own rollouts, of both modes: what it shows of a thread is what this server shows after the import.

Skipped where the conformance kit, and so the reference, is not to be had. It is driven over stdio with a scripted
upstream.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from app_server.moving.codex import move_codex
from app_server.storage.local import open_local_storage
from benchmarks.peer import Unavailable, peer_command
from benchmarks.provider import ROOT
from tests.interaction.conversation import picture_home, run_turn, text
from tests.support.response_events import function_call
from tests.support.server import serving
from tests.support.upstream import ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio
CONFIG = """\
model = "gpt-5.5"
model_provider = "fake"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
[analytics]
enabled = false
[features]
apps = false
plugins = false
[model_providers.fake]
name = "Fake"
base_url = "{base_url}"
wire_api = "responses"
env_key = "FAKE_KEY"
supports_websockets = false
request_max_retries = 0
stream_max_retries = 0
"""


def reference() -> list[str]:
    """The command that starts it, from the kit."""
    kit = Path(os.environ.get("CONFORMANCE_DIR") or ROOT.parent / "shared" / "conformance")
    if not (kit / "run.py").is_file():
        pytest.skip(f"the conformance kit is not at {kit}; set CONFORMANCE_DIR to its folder")
    try:
        return shlex.split(peer_command(os.environ))
    except Unavailable as error:
        pytest.skip(str(error))


class Reference:
    """A client of the reference: requests in order, and the end of a turn awaited."""

    def __init__(self, process: anyio.abc.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout, self._rest, self._number = process.stdin, process.stdout, b"", 0

    async def ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._send({"id": self._number, "method": method, "params": params})
        return (await self._next(lambda message: message.get("id") == self._number))["result"]

    async def turn(self, thread_id: str, words: str) -> None:
        await self.ask("turn/start", threadId=thread_id, input=text(words))
        await self._next(lambda message: message.get("method") == "turn/completed")

    async def greet(self) -> None:
        info = {"name": "tests", "version": "1"}
        await self.ask("initialize", clientInfo=info, capabilities={"experimentalApi": True})
        await self._send({"method": "initialized"})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._stdin.send(orjson.dumps(message) + b"\n")

    async def _next(self, wanted: Any) -> Any:
        with anyio.fail_after(60):
            while True:
                while b"\n" not in self._rest:
                    self._rest += await self._stdout.receive()
                line, _, self._rest = self._rest.partition(b"\n")
                if wanted(message := orjson.loads(line)):
                    return message


@asynccontextmanager
async def running_reference(home: Path, up: ScriptedUpstream) -> AsyncIterator[Reference]:
    command = reference()
    home.mkdir()
    (home / "config.toml").write_text(CONFIG.format(base_url=up.base_url), encoding="utf-8")
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "CODEX_HOME": str(home), "FAKE_KEY": "sk-fake-for-tests"}
    async with await anyio.open_process(command, cwd=home, env=env, stderr=subprocess.DEVNULL) as process:
        client = Reference(process)
        await client.greet()
        yield client
        process.terminate()


def told(items: list[dict[str, Any]], mode: str) -> list[dict[str, Any]]:
    """What a person sees of items. In legacy mode the reference shows neither commands nor times of items."""
    hidden = {"commandExecution"} if mode == "legacy" else set()
    times = ("startedAtMs", "completedAtMs") if mode == "legacy" else ()
    return [
        {key: value for key, value in one.items() if key not in times} for one in items if one["type"] not in hidden
    ]


@pytest.mark.parametrize("mode", ["paginated", "legacy"])
async def test_a_thread_of_the_reference_looks_the_same_and_goes_on(tmp_path: Path, mode: str) -> None:
    reference()
    async with ScriptedUpstream() as up:
        async with running_reference(tmp_path / "codex", up) as client:
            started = await client.ask("thread/start", cwd=str(tmp_path), historyMode=mode)
            thread_id = started["thread"]["id"]
            call = function_call("call_1", "exec_command", {"cmd": "echo out"})
            up.queue += [sse("resp_1", call), text_turn("resp_2", "Done."), text_turn("resp_3", "Again.")]
            await client.turn(thread_id, "run it")
            await client.turn(thread_id, "once more")
            theirs = (await client.ask("thread/read", threadId=thread_id, includeTurns=True))["thread"]
        sent = up.requests[-1].body["input"]

        home = picture_home(tmp_path / "ours", up)
        target = open_local_storage(home.home)
        report = await move_codex(tmp_path / "codex", target, lambda report: None, default_model="gpt-5.5")
        await target.aclose()
        assert (report.complete, report.notes) == (True, {})
        async with serving(home) as (_, ours):
            resumed = (await ours.request("thread/resume", {"threadId": thread_id}))["thread"]
            up.queue.append(text_turn("resp_4", "Here."))
            await run_turn(ours, thread_id, "and here")
        pairs = [(one, other) for one, other in zip(resumed["turns"], theirs["turns"], strict=True)]
        for our_turn, their_turn in pairs:
            assert told(our_turn["items"], mode) == told(their_turn["items"], mode)
            for member in ("id", "status", "error", "startedAt", "completedAt", "durationMs"):
                assert our_turn[member] == their_turn[member]
        assert (resumed["preview"], resumed["cwd"]) == (theirs["preview"], theirs["cwd"])
        before = up.requests[-1].body["input"][: len(sent)]
        assert before[1:] == sent[1:]
        ours_first, theirs_first = (one[0]["content"][0]["text"].splitlines() for one in (before, sent))
        assert [
            row for row in theirs_first if row not in ours_first
        ] == []  # it leaves out what a tool is not there for
