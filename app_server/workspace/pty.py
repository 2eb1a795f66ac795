"""Owns the pseudo-terminal of one command: our end, its size, how a program gets it as its controlling terminal.

POSIX only; elsewhere `open_terminal` says that there is none. `child` is the only caller.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import anyio

from app_server.errors import NotSupported
from app_server.values import slotted

if TYPE_CHECKING:
    from app_server.protocol.command import CommandExecTerminalSize

if sys.platform != "win32":
    import termios

READ_BYTES = 32 * 1024
_END_OF_INPUT = b"\x04"
"""What a terminal takes for the end of its input, in place of a closed pipe."""
_TAKE_TERMINAL = ': <>"$0" && exec "$@"'
"""Opening the terminal makes it the controlling one of a fresh session: signals of its keys and of its size arrive."""


@slotted(eq=False)
class Terminal:
    """Our end. `program_fd` is the program's, to be closed here once the program has it."""

    fd: int
    program_fd: int
    _within_line: bool = False

    def argv(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        """The command line that takes this terminal and then becomes `argv`."""
        return ("/bin/sh", "-c", _TAKE_TERMINAL, os.ttyname(self.program_fd), *argv)

    async def read(self) -> bytes:
        """What the program wrote; empty when every program has closed the terminal."""
        while True:
            await anyio.wait_readable(self.fd)
            try:
                return os.read(self.fd, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno == errno.EIO:  # how Linux says that the other end is closed
                    return b""
                raise

    async def write(self, data: bytes) -> None:
        """Type it. Raises OSError when no program has the terminal any more."""
        self._within_line = not data.endswith(b"\n")
        rest = memoryview(data)
        while rest:
            await anyio.wait_writable(self.fd)
            try:
                rest = rest[os.write(self.fd, rest) :]
            except BlockingIOError:
                continue

    async def end_input(self) -> None:
        """Type the end of the input; within a line the first one only hands over what was typed. Raises OSError."""
        await self.write(_END_OF_INPUT * 2 if self._within_line else _END_OF_INPUT)

    def resize(self, size: CommandExecTerminalSize) -> None:
        """Tell the programs of the terminal. Raises OSError."""
        if sys.platform != "win32":
            termios.tcsetwinsize(self.fd, (size.rows, size.cols))

    def release_program_end(self) -> None:
        """The program has its own copy, or was never started."""
        if self.program_fd >= 0:
            os.close(self.program_fd)
            self.program_fd = -1

    def close(self) -> None:
        """Hang up. Nobody may be reading or writing."""
        self.release_program_end()
        os.close(self.fd)


def open_terminal(size: CommandExecTerminalSize) -> Terminal:
    """A new terminal of this size. Raises NotSupported where the system has none, OSError where it has none left."""
    if sys.platform == "win32":
        raise NotSupported("command/exec `tty` is not supported on Windows; leave it out.")
    ours, program = os.openpty()
    os.set_blocking(ours, False)
    terminal = Terminal(ours, program)
    terminal.resize(size)
    return terminal
