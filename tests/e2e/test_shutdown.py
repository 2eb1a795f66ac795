"""The end of a real server: by a signal, by the end of its input, by the death of its parent, by a second signal."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest

from tests.interaction.conversation import start_thread, start_turn
from tests.interaction.test_listeners import child, unix_client
from tests.support.client import RpcClient, stdio_client
from tests.support.server import Home, make_home, serving
from tests.support.upstream import Gate, Reply, ScriptedUpstream

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and process groups are POSIX"),
]
BOUND_S = 20.0
"""An orderly end takes a moment; this is where it would count as hanging."""
SERVER = [sys.executable, "-m", "app_server"]
STUBBORN = 'exec 3>"$0"; trap "" TERM HUP; echo ready; while :; do sleep 1; done'
"""A command that does not end when it is asked to, and holds the pipe at $0 as long as it or a child of it lives."""
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)"
"""Starts the server with pipes of its own and waits for it."""


@contextmanager
def held_pipe(folder: Path) -> Iterator[tuple[Path, int]]:
    """A named pipe, and its reading end: at its end when nobody holds the other one any more."""
    path = folder / "held"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield path, reading
    finally:
        os.close(reading)


async def released(reading: int) -> None:
    """Return when nobody holds the pipe."""
    with anyio.fail_after(BOUND_S):
        await anyio.wait_readable(reading)
    assert os.read(reading, 1) == b""


async def start_stubborn(client: RpcClient[Any], pipe: Path) -> None:
    """A command that runs for ever; returns when it does."""
    argv = ["/bin/sh", "-c", STUBBORN, str(pipe)]
    params = {"command": argv, "processId": "p", "streamStdoutStderr": True, "disableTimeout": True}
    await client.post("command/exec", params)
    await client.wait_for("command/exec/outputDelta", processId="p")


def environment(home: Home) -> dict[str, str]:
    return {"APP_SERVER_HOME": str(home.home), "PYTHONPATH": str(Path(__file__).parents[2]), **home.env}


async def stored_status(home: Home, thread_id: str) -> list[str]:
    """How the turns of a thread ended, as the next server finds them."""
    async with serving(home) as (_, client):
        read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    return [turn["status"] for turn in read["thread"]["turns"]]


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "SIGHUP", "the end of the input"])
async def test_an_orderly_end_interrupts_the_turn_and_ends_the_commands(tmp_path: Path, how: str) -> None:
    gate = Gate()
    with held_pipe(tmp_path) as (pipe, reading):
        async with ScriptedUpstream() as up:
            home = make_home(tmp_path, up.base_url)
            up.queue.append(Reply(events=[gate]))
            async with stdio_client(SERVER, env=environment(home), cwd=home.cwd) as client:
                await client.initialize()
                thread_id = await start_thread(client)
                await start_turn(client, thread_id)
                await gate.wait_reached(BOUND_S)
                await start_stubborn(client, pipe)

                if how.startswith("SIG"):
                    client.stream.process.send_signal(getattr(signal, how))
                else:
                    await client.stream.close_input()
                with anyio.fail_after(BOUND_S):
                    status = await client.stream.process.wait()
        await released(reading)

    assert (status, client.stream.stderr_text) == (0, "")
    assert await stored_status(home, thread_id) == ["interrupted"]


async def test_a_second_signal_ends_at_once_and_leaves_neither_socket_nor_command(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="s") as short, held_pipe(tmp_path) as (pipe, reading):
        path = Path(short, "folder", "socket")
        async with child(Path(short), "--listen", f"unix://{path}", listeners=1) as server:
            async with unix_client(path, "one") as client:
                await client.initialize()
                await start_stubborn(client, pipe)  # an orderly end would wait for it

                server.process.send_signal(signal.SIGTERM)
                server.process.send_signal(signal.SIGINT)
                with anyio.fail_after(BOUND_S):
                    status = await server.process.wait()
            await released(reading)

        assert status in (128 + signal.SIGINT, 128 + signal.SIGTERM)  # whichever of the two is heard last
        assert not path.exists()


async def test_a_server_whose_parent_dies_ends_as_well(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    argv = [sys.executable, "-c", PARENT, *SERVER, "--listen", "stdio://", "--no-such-option"]
    async with await anyio.open_process(argv, cwd=home.cwd, env=environment(home), stdout=None, stderr=PIPE) as parent:
        assert parent.stderr is not None
        with anyio.fail_after(BOUND_S):
            said = await parent.stderr.receive()  # of the option: the server is up
            parent.kill()
            rest = b"".join([piece async for piece in parent.stderr])  # its end: nobody holds stderr any more

    assert b"ignored unknown options" in said + rest
    assert b"Traceback" not in said + rest
