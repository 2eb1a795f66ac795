"""The demo's client against a child that follows a script: framing, refusals, and the ways in which a child ends."""

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app_server.commands.demo_client import RequestRefused, ServerGone, StdioServer

CHILD = """
import json, sys, time
script, log = json.loads(sys.argv[1]), open(sys.argv[2], "a")
for line in sys.stdin:
    log.write(line), log.flush()
    asked = json.loads(line)
    for step in script.get(asked.get("method", "reply"), []):
        match step:
            case {"exit": status, "stderr": words}:
                print(words, file=sys.stderr)
                sys.exit(status)
            case {"raw": text}:
                print(text, flush=True)
            case {"result": _} | {"error": _}:
                print(json.dumps({"id": asked["id"], **step}), flush=True)
            case _:
                print(json.dumps(step), flush=True)
while script.get("deaf"):
    time.sleep(60)
"""
Script = Mapping[str, Any]
"""For every method the frames that are written when it comes; `deaf`: the child outlives its stdin."""


def child(script: Script, log: Path) -> list[str]:
    """The command of a child that follows the script and keeps what it was sent."""
    return [sys.executable, "-I", "-S", "-c", CHILD, json.dumps(script), str(log)]


def asked(log: Path) -> list[dict[str, Any]]:
    """The frames that the child was sent."""
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "asked.jsonl"


async def start(script: Script, log: Path) -> contextlib.aclosing[StdioServer]:
    return contextlib.aclosing(await StdioServer.start(child(script, log), {}))


@pytest.mark.anyio
async def test_a_request_gets_its_result_and_notifications_keep_their_order(log: Path) -> None:
    script = {"ask": [{"method": "one", "params": {"n": 1}}, {"result": {"fine": True}}, {"method": "two"}]}
    async with await start(script, log) as server:
        assert await server.request("ask", {"text": 'a "fox" in $NOW\n🦊'}) == {"fine": True}
        assert [await server.next_notification() for _ in range(2)] == [
            ("one", {"n": 1}),
            ("two", {}),
        ]
        await server.send({"method": "bye"})
    assert asked(log) == [{"method": "ask", "id": 1, "params": {"text": 'a "fox" in $NOW\n🦊'}}, {"method": "bye"}]


@pytest.mark.anyio
async def test_an_error_reply_is_raised_with_the_message_of_the_server(log: Path) -> None:
    async with await start({"ask": [{"error": {"code": -32600, "message": "No such thread."}}]}, log) as server:
        with pytest.raises(RequestRefused, match=r"^No such thread\.$"):
            await server.request("ask", {})


@pytest.mark.anyio
async def test_a_request_of_the_server_is_refused(log: Path) -> None:
    script = {"ask": [{"method": "item/tool/call", "id": 0, "params": {}}], "reply": [{"method": "seen"}]}
    async with await start(script, log) as server:
        await server.send({"method": "ask"})
        assert await server.next_notification() == ("seen", {})
    assert asked(log)[1] == {"id": 0, "error": {"code": -32601, "message": "This client answers no requests."}}


@pytest.mark.anyio
async def test_a_line_far_above_the_usual_limit_is_read(log: Path) -> None:
    script = {"ask": [{"raw": "padding"}]}
    command = child(script, log)
    command[4] = CHILD.replace(
        "print(text, flush=True)", "print(json.dumps({'method': 'big', 'params': {'x': 'x' * 5_000_000}}), flush=True)"
    )
    async with contextlib.aclosing(await StdioServer.start(command, {})) as server:
        await server.send({"method": "ask"})
        assert len((await server.next_notification())[1]["x"]) == 5_000_000


@pytest.mark.anyio
async def test_a_child_that_exits_early_is_told_with_its_status_and_words(log: Path) -> None:
    async with await start({"ask": [{"exit": 2, "stderr": "config.toml:3:1: broken"}]}, log) as server:
        with pytest.raises(ServerGone) as during:
            await server.request("ask", {})
        with pytest.raises(ServerGone) as after:
            await server.request("ask", {})
        with pytest.raises(ServerGone) as waiting:
            await server.next_notification()
    gone = ("The server ended early, with exit status 2.", "config.toml:3:1: broken")
    assert [(told.value.message, told.value.stderr) for told in (during, after, waiting)] == [gone] * 3


@pytest.mark.anyio
async def test_a_line_that_is_not_json_ends_the_conversation(log: Path) -> None:
    async with await start({"ask": [{"raw": "hello?"}]}, log) as server:
        with pytest.raises(ServerGone, match=r"^The server wrote a line that is not JSON\.$"):
            await server.request("ask", {})


@pytest.mark.anyio
async def test_a_command_that_does_not_exist_is_named() -> None:
    with pytest.raises(
        ServerGone, match=r"^The server cannot be started: /nowhere/server: No such file or directory\.$"
    ):
        await StdioServer.start(["/nowhere/server"], {})


@pytest.mark.anyio
async def test_a_child_that_ignores_its_closed_stdin_is_terminated(log: Path) -> None:
    server = await StdioServer.start(child({"deaf": True, "ask": [{"result": {}}]}, log), {}, step_s=0.05)
    await server.request("ask", {})
    await server.aclose()
    with pytest.raises(ServerGone, match=r"^The server ended early, with exit status -15\.$"):
        await server.request("ask", {})
