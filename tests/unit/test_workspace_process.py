"""The course of one command: output, caps, input, terminals, and every way in which it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from app_server.errors import InternalError, InvalidRequest
from app_server.protocol.command import CommandExecOutputStream, CommandExecParams, CommandExecTerminalSize
from app_server.workspace import process
from app_server.workspace.command_plan import plan_command
from app_server.workspace.process import TIMED_OUT, Command, Finished
from tests.support.bell import Bell

pytestmark = pytest.mark.anyio
Delta = tuple[CommandExecOutputStream, bytes, bool]


@dataclass
class FakeClient:
    """Takes output; reads no further while `slow` is not set."""

    deltas: list[Delta] = field(default_factory=list)
    bell: Bell = field(default_factory=Bell)
    slow: anyio.Event | None = None
    ended: Finished | None = None

    async def emit(self, stream: CommandExecOutputStream, data: bytes, cap_reached: bool) -> None:
        self.deltas.append((stream, data, cap_reached))
        self.bell.ring()
        if self.slow is not None:
            await self.slow.wait()

    def text(self) -> str:
        return b"".join(data for _, data, _ in self.deltas).decode()

    async def until(self, words: str) -> None:
        await self.bell.until(lambda: words in self.text(), 10, lambda: f"{words!r} in {self.text()!r}")


def command(client: FakeClient, cwd: Path, *argv: str, **params: Any) -> Command:
    given = CommandExecParams.model_validate({"command": list(argv), **params})
    return Command(plan_command(given, cwd, dict(os.environ)), client.emit)


async def ran(cwd: Path, script: str, **params: Any) -> Finished:
    with anyio.fail_after(10):
        return await command(FakeClient(), cwd, "/bin/sh", "-c", script, **params).run()


@asynccontextmanager
async def running(cwd: Path, *argv: str, **params: Any) -> AsyncIterator[tuple[Command, FakeClient]]:
    """A command that streams, with input; leaving the block waits for its end."""
    client = FakeClient()
    started = command(
        client, cwd, *argv, **{"processId": "p", "streamStdin": True, "streamStdoutStderr": True} | params
    )

    async def run() -> None:
        client.ended = await started.run()

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield started, client


async def test_outputs_and_exit_code_come_apart(tmp_path: Path) -> None:
    assert await ran(tmp_path, "echo out; echo err >&2; exit 3") == Finished(
        exit_code=3, stdout=b"out\n", stderr=b"err\n"
    )


async def test_a_command_runs_in_its_folder_with_its_environment(tmp_path: Path) -> None:
    finished = await ran(tmp_path, 'pwd; echo "$FOO ${HOME-none}"', env={"FOO": "bar", "HOME": None})
    assert finished.stdout.decode() == f"{tmp_path}\nbar none\n"


async def test_a_command_without_input_meets_the_end_of_it(tmp_path: Path) -> None:
    assert (await ran(tmp_path, "cat; echo done")).stdout == b"done\n"


async def test_output_beyond_the_cap_is_dropped_and_the_command_goes_on(tmp_path: Path) -> None:
    finished = await ran(tmp_path, "head -c 300000 /dev/zero; echo err >&2; exit 5", outputBytesCap=4)
    assert finished == Finished(exit_code=5, stdout=b"\0\0\0\0", stderr=b"err\n")


@pytest.mark.parametrize(("cap", "delta"), [(8, b"12345678"), (4, b"1234"), (0, b"")])
async def test_the_last_delta_says_whether_output_was_cut(tmp_path: Path, cap: int, delta: bytes) -> None:
    async with running(tmp_path, "printf", "12345678", outputBytesCap=cap) as (_, client):
        pass
    assert client.deltas == [("stdout", delta, len(delta) < 8)]
    assert client.ended == Finished(exit_code=0, stdout=b"", stderr=b"")


async def test_time_that_is_up_ends_it_and_keeps_what_was_said(tmp_path: Path) -> None:
    assert await ran(tmp_path, "echo part; sleep 30", timeoutMs=200) == Finished(
        exit_code=TIMED_OUT, stdout=b"part\n", stderr=b""
    )


async def test_a_command_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, "/bin/sh", "-c", "trap '' TERM; echo ready; sleep 30; sleep 30") as (started, client):
        await client.until("ready")
        started.end()
    assert client.ended is not None
    assert client.ended.exit_code == 128 + 9


async def test_a_command_may_tidy_up_when_it_is_asked_to_end(tmp_path: Path) -> None:
    script = "trap 'rm lock; exit 7' TERM; touch lock; echo ready; while :; do sleep 0.05; done"
    async with running(tmp_path, "/bin/sh", "-c", script) as (started, client):
        await client.until("ready")
        started.end()
    assert client.ended == Finished(exit_code=7, stdout=b"", stderr=b"")
    assert not (tmp_path / "lock").exists()


async def test_what_a_command_left_behind_ends_with_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "line")
    line = os.open(tmp_path / "line", os.O_RDONLY | os.O_NONBLOCK)
    try:
        await ran(tmp_path, "(echo here; exec sleep 30) > line &")
        os.set_blocking(line, True)
        with anyio.fail_after(5):  # read to the end: nobody holds the other side any more
            assert await anyio.to_thread.run_sync(_rest_of, line) == b"here\n"
    finally:
        os.close(line)


def _rest_of(pipe: int) -> bytes:
    found = b""
    while data := os.read(pipe, 100):
        found += data
    return found


async def test_late_output_of_a_child_is_awaited(tmp_path: Path) -> None:
    assert (await ran(tmp_path, "(sleep 0.1; echo late) & echo first")).stdout == b"first\nlate\n"


async def test_a_cancelled_request_ends_its_command(tmp_path: Path) -> None:
    client = FakeClient()
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            script = "trap 'touch ended; exit' TERM; echo ready; while :; do sleep 0.05; done"
            params = {"processId": "p", "streamStdoutStderr": True}
            tasks.start_soon(command(client, tmp_path, "/bin/sh", "-c", script, **params).run)
            await client.until("ready")
            tasks.cancel_scope.cancel()
    assert (tmp_path / "ended").exists()


async def test_a_slow_client_loses_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, "head", "-c", "400000", "/dev/zero") as (_, client):
        client.slow = anyio.Event()
        await client.until("\0")
        # the process has written into the pipes what they hold, and waits with the rest
        client.slow.set()
    assert len(client.text()) == 400_000


async def test_input_is_fed_in_order_and_can_be_closed(tmp_path: Path) -> None:
    async with running(tmp_path, "cat") as (started, client):
        started.write(b"one ", close=False)
        started.write(b"two", close=False)
        await client.until("one two")
        started.write(b" three", close=True)
        assert _refused(started, b"four") == "inputClosed"
    assert client.text() == "one two three"


async def test_input_that_nobody_reads_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path, "sleep", "30") as (started, _):
        for _ in range(process.MAX_QUEUED_INPUT_BYTES // 2**20):
            started.write(bytes(2**20), close=False)
        assert _refused(started, b"x") == "inputFull"
        started.end()


async def test_a_command_without_streamed_input_takes_none(tmp_path: Path) -> None:
    async with running(tmp_path, "sleep", "30", streamStdin=False) as (started, _):
        assert _refused(started, b"x") == "noInput"
        started.end()


def _refused(started: Command, data: bytes) -> str:
    with pytest.raises(InvalidRequest) as raised:
        started.write(data, close=False)
    return raised.value.data_code


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_a_terminal_has_keys_and_a_size(tmp_path: Path) -> None:
    script = (
        "trap 'echo resized' WINCH; trap 'echo keyed' INT; stty size; while read -r line; do stty size; done; exit 4"
    )
    size = {"rows": 10, "cols": 40}
    async with running(tmp_path, "bash", "-c", script, tty=True, size=size) as (started, client):
        await client.until("10 40\r\n")
        started.resize(CommandExecTerminalSize(rows=20, cols=50))
        started.write(b"\n", close=False)
        await client.until("20 50\r\n")
        assert "resized" in client.text()
        started.write(b"\x03", close=False)
        await client.until("keyed")
        started.write(b"", close=True)
    assert client.ended == Finished(exit_code=4, stdout=b"", stderr=b"")
    assert {stream for stream, _, _ in client.deltas} == {"stdout"}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
async def test_the_end_of_input_is_heard_within_a_line_of_a_terminal(tmp_path: Path) -> None:
    async with running(tmp_path, "cat", tty=True) as (started, client):
        started.write(b"half a line", close=True)
    assert client.ended == Finished(exit_code=0, stdout=b"", stderr=b"")


async def test_a_terminal_that_is_hung_up_ends_its_shell(tmp_path: Path) -> None:
    async with running(tmp_path, "/bin/sh", "-i", tty=True, env={"PS1": "ready "}) as (started, client):
        await client.until("ready")
        started.end()
    assert client.ended is not None
    assert client.ended.exit_code != 0


async def test_a_command_without_a_terminal_cannot_be_resized(tmp_path: Path) -> None:
    async with running(tmp_path, "sleep", "30") as (started, _):
        with pytest.raises(InvalidRequest, match="`tty: true`"):
            started.resize(CommandExecTerminalSize(rows=20, cols=50))
        started.end()


@pytest.mark.parametrize("tty", [False, True])
@pytest.mark.parametrize(
    ("argv", "folder", "message"),
    [
        (
            "no-such-program-x",
            "",
            "no-such-program-x cannot be started in {at}: there is no such program, or its interpreter is missing; "
            "check the name and PATH.",
        ),
        (
            "./plain",
            "",
            "./plain cannot be started in {at}: permission denied; give the user who runs the server the right to it.",
        ),
        ("true", "none", "true cannot be started in {at}: no such file or directory; check the path."),
    ],
)
async def test_a_command_that_cannot_be_started_says_why(
    tmp_path: Path, argv: str, folder: str, message: str, tty: bool
) -> None:
    (tmp_path / "plain").write_text("text")
    started = command(FakeClient(), tmp_path / folder, argv, tty=tty, processId="p")
    with pytest.raises(InternalError) as raised:
        await started.run()
    assert raised.value.message == message.format(at=tmp_path / folder)
    assert raised.value.data_code == "notStarted"
