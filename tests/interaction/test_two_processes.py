"""Two processes on one home: one writes a thread, the other reads it, and takes it over when the first one is gone."""

from __future__ import annotations

import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interaction.conversation import ended, refused, run_turn, start_thread, start_turn, text
from tests.support.client import stdio_client
from tests.support.server import make_home, serving
from tests.support.upstream import Gate, ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio
SERVER = (sys.executable, "-m", "app_server")


async def test_the_second_process_reads_and_takes_over_when_the_first_is_killed_in_mid_turn(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [
            text_turn("r1", "Hello."),
            replace(text_turn("r2", "Never."), hold=gate),
            text_turn("r3", "Mine now."),
        ]
        env = {"APP_SERVER_HOME": str(home.home), "HOME": str(home.home), **home.env}
        async with serving(home) as (_, second), stdio_client(SERVER, env=env, cwd=home.cwd) as first:
            await first.initialize()
            thread_id = await start_thread(first)
            await run_turn(first, thread_id)
            await start_turn(first, thread_id, "Again")
            await gate.wait_reached()
            read = await second.request("thread/read", {"threadId": thread_id, "includeTurns": True})
            listed = await second.request("thread/list", {})
            answer = await refused(second, "thread/resume", {"threadId": thread_id})
            first.stream.process.send_signal(signal.SIGKILL)
            await first.stream.process.wait()
            resumed = await second.request("thread/resume", {"threadId": thread_id})
            turn = await run_turn(second, thread_id, "And now?")

    assert [each["status"] for each in read["thread"]["turns"]] == ["completed", "inProgress"]
    assert [each["id"] for each in listed["data"]] == [thread_id]
    hint = "use it there, or end that process first"
    assert answer == (-32600, f"thread {thread_id} already has an active writer; {hint}")
    assert [each["status"] for each in resumed["thread"]["turns"]] == ["completed", "interrupted"]
    assert turn["items"][0]["text"] == "Mine now."


async def test_a_stalled_process_that_was_taken_over_writes_nothing_more_and_lets_go(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [replace(text_turn("r1", "Too late."), hold=gate), text_turn("r2", "Mine now.")]
        async with serving(home) as (_, stalled):
            thread_id = await start_thread(stalled)
            turn_id = await start_turn(stalled, thread_id)
            await gate.wait_reached()
            for sign_of_life in (home.home / "locks").glob("*.lock"):  # as a disk of the network may lose it
                sign_of_life.unlink()
            async with serving(home) as (_, second):
                await second.request("thread/resume", {"threadId": thread_id})
                mine = await run_turn(second, thread_id, "And now?")
                stored = (await second.request("thread/read", {"threadId": thread_id, "includeTurns": True}))["thread"]
                gate.release()
                late = await ended(stalled, turn_id)
                loaded = await stalled.request("thread/loaded/list", {})
                code, message = await refused(stalled, "turn/start", {"threadId": thread_id, "input": text("Hi")})
                held = await refused(stalled, "thread/resume", {"threadId": thread_id})
                after = (await stalled.request("thread/read", {"threadId": thread_id, "includeTurns": True}))["thread"]

    assert (mine["status"], late["status"], loaded["data"]) == ("completed", "failed", [])
    assert late["error"]["message"].startswith(f"Thread {thread_id} was taken over")
    assert after["turns"] == stored["turns"]
    assert [turn["status"] for turn in after["turns"]] == ["interrupted", "completed"]
    assert (code, message) == (
        -32600,
        f"thread not found: {thread_id}; it is stored, resume it with thread/resume first",
    )
    assert held[1].startswith(f"thread {thread_id} already has an active writer")
    statuses = [told["status"]["type"] for told in stalled.notifications("thread/status/changed")]
    assert statuses[-1] == "notLoaded"
