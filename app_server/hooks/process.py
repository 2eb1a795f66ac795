"""Runs one command of the user: the shell, JSON on its input, its output under a cap, all within a time limit.

It gets the server's environment and the turn's folder. When time is up or the turn is interrupted, the command and
what it started in its process group are killed. A child that it leaves in the background on purpose does not hold the
call up. Knows nothing of tools; `tool_hooks.py` is its only caller.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final, cast

import anyio

from app_server import child_groups
from app_server.values import frozen

MAX_OUTPUT_BYTES: Final = 32 * 1024
"""Kept of each of stdout and stderr; the rest is read and dropped."""
_DRAIN_S: Final = 0.5
"""How long output is still awaited when the command has ended and a child of it holds the pipes."""
_REAP_S: Final = 2.0
_STDIN, _STDOUT, _STDERR = 0, 1, 2


@frozen
class Ran:
    """How a command ended. `exit_status` None: it did not end by itself, and `failure` says why."""

    exit_status: int | None
    stdout: str = ""
    stderr: str = ""
    failure: str = ""


class _Collector(asyncio.SubprocessProtocol):
    """Takes the output as it comes."""

    def __init__(self) -> None:
        self.output: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        self.exited, self.drained = anyio.Event(), anyio.Event()
        self._open = {_STDOUT, _STDERR}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        kept = self.output[fd]
        kept += data[: MAX_OUTPUT_BYTES - len(kept)]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if not self._open:
            self.drained.set()

    def process_exited(self) -> None:
        self.exited.set()

    def text(self, fd: int) -> str:
        return bytes(self.output[fd]).decode("utf-8", "replace").strip()


async def run_command(command: str, stdin: bytes, *, cwd: str, env: Mapping[str, str], timeout_s: float) -> Ran:
    """Run a shell command to its end. Never raises but cancellation, which kills it."""
    loop = asyncio.get_running_loop()
    try:
        # a session of its own, so that it can be killed with all it started, and no signal of a terminal reaches it
        transport, collector = await loop.subprocess_shell(
            _Collector, command, cwd=cwd, env=dict(env), start_new_session=True
        )
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else "a null character"
        return Ran(exit_status=None, failure=f"it could not be started in {cwd} ({cause})")
    ended = False
    child_groups.note(transport.get_pid())
    try:
        if (pipe := transport.get_pipe_transport(_STDIN)) is not None:
            writer = cast("asyncio.WriteTransport", pipe)  # stdin's is one; the method's type covers all three
            writer.write(stdin)
            writer.close()
        with anyio.move_on_after(timeout_s):
            await collector.exited.wait()
            ended = True
            with anyio.move_on_after(_DRAIN_S):
                await collector.drained.wait()
    finally:
        if not ended:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_REAP_S):
                _kill(transport)
                await collector.exited.wait()
        transport.close()
        child_groups.forget(transport.get_pid())
    return Ran(
        exit_status=transport.get_returncode() if ended else None,
        stdout=collector.text(_STDOUT),
        stderr=collector.text(_STDERR),
        failure="" if ended else f"it did not end within {timeout_s:g} s and was stopped",
    )


def _kill(transport: asyncio.SubprocessTransport) -> None:
    """The command with its process group; where there are none, the command alone."""
    try:
        if sys.platform != "win32":
            os.killpg(transport.get_pid(), signal.SIGKILL)
        else:
            transport.kill()
    except ProcessLookupError:
        pass  # it ended in this very moment
