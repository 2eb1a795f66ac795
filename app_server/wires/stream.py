"""The connections of the HTTP client as asyncio protocols: what comes from a socket is looked at in the round of the
loop that read it.

httpcore reads through anyio, which is two more rounds, three more system calls and a dozen calls for every piece of an
answer. Here the bytes go from the socket to whoever tapped the body, with nothing between but the joining of chunks:

    socket ─► Wire.data_received ─► ChunkJoiner ─┬─► tap: a body that somebody takes as it comes
                                                └─► queue ─► read() ─► h11, httpcore, httpx

`net.py` puts it into its client. It knows no HTTP but that the answer to what was written comes behind it.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, cast

import anyio
import httpcore

from app_server.wires.chunks import ChunkJoiner, Tap

HELD_BYTES: Final = 64 * 1024
"""What is written is held until the answer is read, up to this much: so head and body of a request go out together."""
UNREAD_BYTES: Final = 256 * 1024
"""A peer that sent so much more than was read has to wait."""
_HAPPY_EYEBALLS_DELAY_S: Final = 0.25
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")


class Wire(asyncio.Protocol):
    """One connection as the loop sees it."""

    def __init__(self) -> None:
        self.joiner = ChunkJoiner()
        self.ended = False
        """Nothing more comes."""
        self.failure: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self._unread_bytes = 0
        self._came_at_s = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None
        self._full = False

    # -- from the loop
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # a stream's: the loop says only that it is one of any

    def data_received(self, data: bytes) -> None:
        self._came_at_s = self._loop.time()
        if ready := self.joiner.feed(data):
            self._queue.append(ready)
            self._unread_bytes += len(ready)
            if self._unread_bytes > UNREAD_BYTES and self.transport is not None:
                self.transport.pause_reading()
            _wake(self._reader)

    def eof_received(self) -> bool:
        self.ended = True
        _wake(self._reader)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended, self.failure = True, exc
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        _wake(self._writer)

    # -- from the stream
    @property
    def idle(self) -> bool:
        """Whether nothing came that nobody asked for, the end included."""
        closing = self.transport is None or self.transport.is_closing()
        return not (self._queue or self.ended or closing)

    async def read(self, max_bytes: int, timeout_s: float | None) -> bytes:
        """What came, or nothing at the end. Raises TimeoutError after a silence, and what ended the connection."""
        if not self._queue and not self.ended:
            self._came_at_s = self._loop.time()
            self._reader = self._loop.create_future()
            if timeout_s is not None:
                self._timer = self._loop.call_later(timeout_s, self._look, timeout_s)
            try:
                await self._reader
            finally:
                self._reader = None
                if timeout_s is not None:
                    self._timer.cancel()
        if not self._queue:
            if self.failure is not None:
                raise self.failure
            return b""
        data = self._queue.popleft()
        if len(data) > max_bytes:
            self._queue.appendleft(data[max_bytes:])
            data = data[:max_bytes]
        was_full = self._unread_bytes > UNREAD_BYTES
        self._unread_bytes -= len(data)
        if was_full and self._unread_bytes <= UNREAD_BYTES and self.transport is not None:
            self.transport.resume_reading()
        return data

    def _look(self, timeout_s: float) -> None:
        """End the wait after a silence. One timer for a wait, not one for each piece that a tap takes meanwhile."""
        left_s = self._came_at_s + timeout_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look, timeout_s)
        elif self._reader is not None and not self._reader.done():
            self._reader.set_exception(TimeoutError())

    async def write(self, data: bytes, timeout_s: float | None) -> None:
        """Returns when the system, or a small buffer, has it. Raises TimeoutError, and OSError once it is closed."""
        if self.transport is None or self.transport.is_closing():
            raise self.failure or ConnectionError("the connection is closed")
        self.transport.write(data)
        while self._full and not self.ended:
            self._writer = self._loop.create_future()
            try:
                with anyio.fail_after(timeout_s):
                    await self._writer
            finally:
                self._writer = None


class WireStream(httpcore.AsyncNetworkStream):
    """A connection for httpcore."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._held = b""
        self._write_timeout_s: float | None = None

    def tap(self, tap: Tap | None, seen_bytes: int) -> bool:
        """Let `tap` take the body as it comes. False, and nothing is tapped, unless all that came was read.

        seen_bytes: of the body, as its reader has counted them. See `ChunkJoiner.tap`.
        """
        return self._wire.joiner.tap(tap, seen_bytes)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._held:
            with suppress(httpcore.WriteError):  # as httpcore does it: who closed before it read all may have answered
                await self._send(self._write_timeout_s)
        try:
            return await self._wire.read(max_bytes, timeout)
        except TimeoutError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except (OSError, RuntimeError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.joiner.request_sent()
        self._write_timeout_s = timeout
        if len(self._held) + len(buffer) <= HELD_BYTES:
            self._held += buffer
            return
        await self._send(timeout)
        self._held = buffer
        await self._send(timeout)

    async def _send(self, timeout_s: float | None) -> None:
        data, self._held = self._held, b""
        if not data:
            return
        try:
            await self._wire.write(data, timeout_s)
        except TimeoutError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except (OSError, RuntimeError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        if self._wire.transport is not None:
            self._wire.transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        loop, below = asyncio.get_running_loop(), self._wire.transport
        assert below is not None  # it is connected
        wire = Wire()
        try:
            with anyio.fail_after(timeout):
                upper = await loop.start_tls(below, wire, ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            below.abort()
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:  # SSLError is one too
            below.abort()
            raise httpcore.ConnectError(str(error)) from error
        except BaseException:
            below.abort()
            raise
        assert upper is not None
        wire.connection_made(upper)
        return WireStream(wire)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":
            return not self._wire.idle
        transport = self._wire.transport
        if transport is None:
            return None
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return transport.get_extra_info(names.get(info, info))


class WireBackend(httpcore.AsyncNetworkBackend):
    """Opens connections for httpcore."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        local = None if local_address is None else (local_address, 0)
        try:
            with anyio.fail_after(timeout):
                _, wire = await loop.create_connection(
                    Wire, host, port, local_addr=local, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S
                )
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(str(error)) from error
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from _one(error)
        return WireStream(wire)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _one(error: OSError) -> OSError:
    """Of several addresses that failed alike asyncio tells only in words; with the number it has a class again."""
    numbers = set(_ERRNO.findall(str(error)))
    return OSError(int(numbers.pop()), str(error)) if error.errno is None and len(numbers) == 1 else error


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
