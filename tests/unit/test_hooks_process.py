"""A command of the user as a process: its input and output, its bounds, and its end in every outcome."""

import os
import sys
from pathlib import Path
from typing import TextIO

import anyio
import anyio.to_thread
import pytest

from app_server.hooks.process import MAX_OUTPUT_BYTES, Ran, run_command

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell"),
]


async def run(command: str, cwd: Path, *, stdin: bytes = b"{}", timeout_s: float = 10, **env: str) -> Ran:
    return await run_command(command, stdin, cwd=str(cwd), env={"PATH": os.environ["PATH"], **env}, timeout_s=timeout_s)


HOLDS_PIPE = "exec 3> pipe; echo started >&3; sleep 600 & wait"
"""Opens the named pipe, as does its child: the pipe's reader sees its end when both are gone."""


async def next_line(pipe: TextIO) -> str:
    """The next line of the pipe, "" at its end."""
    with anyio.fail_after(10):
        return await anyio.to_thread.run_sync(pipe.readline, abandon_on_cancel=True)


async def opened(path: Path) -> TextIO:
    """The pipe for reading, once somebody writes to it."""
    with anyio.fail_after(10):
        return await anyio.to_thread.run_sync(path.open, abandon_on_cancel=True)


async def test_a_command_reads_its_input_in_the_folder_with_the_environment(tmp_path: Path) -> None:
    ran = await run('cat; echo " $WORD $(pwd)"; echo bad >&2; exit 2', tmp_path, stdin=b'{"a":1}', WORD="fox")
    assert ran == Ran(exit_status=2, stdout=f'{{"a":1}} fox {tmp_path}', stderr="bad")


async def test_input_that_nobody_reads_hurts_nobody(tmp_path: Path) -> None:
    assert await run("exit 0", tmp_path, stdin=b"x" * 4_000_000) == Ran(exit_status=0)


async def test_output_is_read_to_its_end_and_kept_under_a_cap(tmp_path: Path) -> None:
    ran = await run("head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2", tmp_path)
    assert ran == Ran(exit_status=0, stdout="x" * MAX_OUTPUT_BYTES, stderr="end")


async def test_a_command_that_is_late_is_killed_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    ran: list[Ran] = []

    async def late() -> None:
        ran.append(await run(f"echo before; {HOLDS_PIPE}", tmp_path, timeout_s=0.5))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(late)
        with await opened(tmp_path / "pipe") as pipe:
            assert [await next_line(pipe), await next_line(pipe)] == ["started\n", ""]
    failure = "it did not end within 0.5 s and was stopped"
    assert ran == [Ran(exit_status=None, stdout="before", failure=failure)]


async def test_an_interrupted_command_is_killed_with_its_children(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, HOLDS_PIPE, tmp_path)
        with await opened(tmp_path / "pipe") as pipe:
            assert await next_line(pipe) == "started\n"
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                assert await next_line(pipe) == ""


async def test_a_child_in_the_background_does_not_hold_the_call_up(tmp_path: Path) -> None:
    with anyio.fail_after(10):
        assert await run("sleep 30 & echo done", tmp_path) == Ran(exit_status=0, stdout="done")


async def test_a_folder_that_is_gone_is_a_failure_of_the_hook(tmp_path: Path) -> None:
    ran = await run("true", tmp_path / "gone")
    folder = tmp_path / "gone"
    assert ran == Ran(exit_status=None, failure=f"it could not be started in {folder} (No such file or directory)")
