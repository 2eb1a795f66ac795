"""Owns one child process: started in a session of its own, read, fed, and ended with all it started. `process` calls.

A child on pipes has stdout and stderr apart; one with a terminal has both in one. It decides nothing: limits, caps and
where the output goes are its caller's.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, SubprocessStreamProtocol
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from app_server import child_groups
from app_server.workspace.pty import READ_BYTES, Terminal, open_terminal

if TYPE_CHECKING:
    from app_server.protocol.command import CommandExecOutputStream
    from app_server.workspace.command_plan import CommandPlan

END_GRACE_S: Final = 1.0
"""Between the request to end and the kill: time to remove lock files and to restore a terminal."""
_REAP_S: Final = 2.0

Reader = Callable[[], Awaitable[bytes]]
"""The next piece of a stream; empty at its end."""


class _Protocol(SubprocessStreamProtocol):
    """The standard one, which tells in time that the process has ended, also while a child of it holds the pipes."""

    def __init__(self) -> None:
        super().__init__(limit=2 * READ_BYTES, loop=asyncio.get_running_loop())
        self.exited = anyio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


class Child:
    """A process that runs, or has ended and is not forgotten yet."""

    def __init__(self, transport: asyncio.SubprocessTransport, protocol: _Protocol, terminal: Terminal | None) -> None:
        self._transport, self._protocol, self.terminal = transport, protocol, terminal
        self._pid = transport.get_pid()
        self.exited = protocol.exited
        child_groups.note(self._pid)

    def outputs(self) -> dict[CommandExecOutputStream, Reader]:
        """Its streams and how they are read."""
        if self.terminal is not None:
            return {"stdout": self.terminal.read}
        found: dict[CommandExecOutputStream, Reader] = {}
        if (stdout := self._protocol.stdout) is not None:
            found["stdout"] = lambda: stdout.read(READ_BYTES)
        if (stderr := self._protocol.stderr) is not None:
            found["stderr"] = lambda: stderr.read(READ_BYTES)
        return found

    async def write(self, data: bytes) -> None:
        """Feed it. Raises OSError when it takes no more."""
        if self.terminal is not None:
            await self.terminal.write(data)
        elif (stdin := self._protocol.stdin) is not None:
            stdin.write(data)
            await stdin.drain()

    async def close_input(self) -> None:
        """Tell it that nothing more comes. Raises OSError when it takes no more."""
        if self.terminal is not None:
            await self.terminal.end_input()
        elif (stdin := self._protocol.stdin) is not None:
            stdin.close()

    @property
    def exit_code(self) -> int:
        """As a shell says it: 128 and the signal for one that was killed."""
        status = self._transport.get_returncode()
        if status is None:
            return -1
        return 128 - status if status < 0 else status

    async def end(self) -> None:
        """Ask it to end, kill it when it does not; returns when it has ended. To be shielded by the caller."""
        if self.exited.is_set():
            return
        self._signal_group(*_POLITE if self.terminal is None else _HANG_UP)
        with anyio.move_on_after(END_GRACE_S):
            await self.exited.wait()
            return
        self.kill_group()
        with anyio.move_on_after(_REAP_S):
            await self.exited.wait()

    def kill_group(self) -> None:
        """Kill what is left of its process group."""
        if sys.platform != "win32":
            self._signal_group(signal.SIGKILL)
        elif not self.exited.is_set():
            self._transport.kill()

    def close(self) -> None:
        """Close the pipes and the terminal. Nobody may be reading or writing."""
        self._transport.close()
        child_groups.forget(self._pid)
        if self.terminal is not None:
            self.terminal.close()

    def _signal_group(self, *signals: int) -> None:
        if sys.platform == "win32":
            if not self.exited.is_set():
                self._transport.terminate()
            return
        for number in signals:
            with suppress(ProcessLookupError, PermissionError):  # nobody is left in it
                os.killpg(self._pid, number)


_POLITE: Final = (signal.SIGTERM,) if sys.platform == "win32" else (signal.SIGTERM, signal.SIGCONT)
_HANG_UP: Final = (signal.SIGTERM,) if sys.platform == "win32" else (signal.SIGHUP, signal.SIGTERM, signal.SIGCONT)
"""An interactive shell ignores SIGTERM; a stopped process takes either when it goes on."""


async def spawn(plan: CommandPlan) -> Child:
    """Start the command of a plan. Raises OSError, with the program or the folder as its file name."""
    if plan.size is None:
        return await _start(plan.argv, plan, None)
    program = find_program(plan.argv[0], plan.cwd, plan.env)
    terminal = open_terminal(plan.size)
    try:
        child = await _start(terminal.argv((program, *plan.argv[1:])), plan, terminal)
    except BaseException:
        terminal.close()
        raise
    terminal.release_program_end()
    return child


async def _start(argv: tuple[str, ...], plan: CommandPlan, terminal: Terminal | None) -> Child:
    if terminal is not None:
        stdin = stdout = terminal.program_fd
    else:
        stdin, stdout = PIPE if plan.takes_input else DEVNULL, PIPE
    transport, protocol = await asyncio.get_running_loop().subprocess_exec(
        _Protocol,
        *argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stdout,
        cwd=plan.cwd,
        env=dict(plan.env),
        start_new_session=True,
    )
    return Child(transport, protocol, terminal)


def find_program(name: str, cwd: Path, env: Mapping[str, str]) -> str:
    """Where a program is, as the system would find it. Raises FileNotFoundError, PermissionError."""
    if os.path.dirname(name):
        path = cwd / name
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if not os.access(path, os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)
        return str(path)
    found = shutil.which(name, path=env.get("PATH", os.defpath))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    return str(cwd / found)
