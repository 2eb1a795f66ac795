"""Message streams of the test's own: to a real child process over its pipes, and to a websocket server.

Written without the server's transports, so that a fault of theirs cannot hide itself.
`tests/support/client.py` calls it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import Process
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app_server.transport.base import StreamClosed

INHERITED = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
"""What a child gets of the test's environment: no keys, no homes, no proxies."""
EXIT_TIMEOUT_S = 15
"""How long a child may take from the end of its input to its exit."""


class ChildStream:
    """JSON lines over the pipes of a child process; what it writes to stderr is kept."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._stderr = bytearray()
        self._buffer = bytearray()
        self._searched = 0
        self._closed = False

    @property
    def transport(self) -> str:
        return "stdio"

    @property
    def stderr_text(self) -> str:
        """What the child logged so far; whole once the stream is closed."""
        return self._stderr.decode("utf-8", "replace")

    @property
    def returncode(self) -> int | None:
        """The exit status; None while the child runs."""
        return self.process.returncode

    async def receive(self) -> bytes:
        assert self.process.stdout is not None
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            try:
                self._buffer += await self.process.stdout.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                raise StreamClosed from None
        frame = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return frame

    async def send(self, frames: Sequence[bytes]) -> None:
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send(b"".join(frame + b"\n" for frame in frames))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise StreamClosed from None

    async def close_input(self) -> None:
        """The end of the child's input, as a client that goes away leaves it."""
        if self.process.stdin is not None:
            await self.process.stdin.aclose()

    async def aclose(self) -> None:
        """End the input and wait for the exit; a child that does not exit is killed, and that is a failure."""
        if self._closed:
            return
        self._closed = True
        await self.close_input()
        with anyio.move_on_after(EXIT_TIMEOUT_S, shield=True) as patience:
            await self.process.wait()
        if patience.cancelled_caught:
            self.process.kill()
            with anyio.CancelScope(shield=True):
                await self.process.wait()
            raise AssertionError(f"The child did not exit within {EXIT_TIMEOUT_S} s of the end of its input.")

    async def collect_stderr(self) -> None:
        """Read stderr until its end; a task of `spawned`."""
        assert self.process.stderr is not None
        async for piece in self.process.stderr:
            self._stderr += piece


@asynccontextmanager
async def spawned(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncGenerator[ChildStream]:
    """Start a child with a clean environment plus `env`; at the end it has exited and its stderr is whole."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    async with await anyio.open_process(
        list(argv), stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env={**inherited, **(env or {})}
    ) as process:
        stream = ChildStream(process)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.collect_stderr)
            try:
                yield stream
            finally:
                await stream.aclose()


class WebsocketStream:
    """Text frames over a websocket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @property
    def transport(self) -> str:
        return "websocket"

    async def receive(self) -> bytes:
        try:
            return await self.connection.recv(decode=False)
        except ConnectionClosed:
            raise StreamClosed from None

    async def send(self, frames: Sequence[bytes]) -> None:
        try:
            for frame in frames:
                await self.connection.send(frame, text=True)
        except ConnectionClosed:
            raise StreamClosed from None

    async def aclose(self) -> None:
        await self.connection.close()


@asynccontextmanager
async def websocket(url: str, headers: Mapping[str, str] | None = None) -> AsyncGenerator[WebsocketStream]:
    """Connect to a websocket server; no proxy of the environment is used, no frame is too large."""
    async with connect(url, additional_headers=headers, max_size=None, proxy=None) as connection:
        yield WebsocketStream(connection)
