"""How messages reach a server: the pipes of a child process, or a websocket. Blocking writes, reads with a timeout.

Written without the server's transports, and without a library in between, so that what is measured is the server.
`client` speaks over them; nobody else does.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Final, Protocol

READ_BYTES: Final = 1024 * 1024
_CLOSE, _PING, _PONG = 8, 9, 10
_TEXT_FRAME = 0x81
_MASKED = 0x80
_ZERO_MASK = b"\0\0\0\0"


class Gone(Exception):
    """The server closed its side, or did not answer in time."""


class Channel(Protocol):
    """Whole messages in and out."""

    def read(self, timeout_s: float) -> list[bytes]:
        """What came, after at most this long; empty when nothing did. Raises Gone at the end of the stream."""

    def write(self, messages: Sequence[bytes]) -> None:
        """Send messages at once; waits while the server takes nothing."""

    def close(self) -> None:
        """Close our side."""


class PipeChannel:
    """JSON lines on the stdin and stdout of a child."""

    def __init__(self, stdin_fd: int, stdout_fd: int) -> None:
        self._stdin_fd, self._stdout_fd = stdin_fd, stdout_fd
        self._poll = select.poll()
        self._poll.register(stdout_fd, select.POLLIN)
        self._rest: list[bytes] = []

    def read(self, timeout_s: float) -> list[bytes]:
        if not self._poll.poll(timeout_s * 1000):
            return []
        data = os.read(self._stdout_fd, READ_BYTES)
        if not data:
            raise Gone("The server closed its output; its log is in the folder of the run (--keep).")
        if b"\n" not in data:
            self._rest.append(data)
            return []
        first, *lines = data.split(b"\n")
        whole = [b"".join((*self._rest, first)), *lines[:-1]]
        self._rest = lines[-1:]
        return [line for line in whole if line]

    def write(self, messages: Sequence[bytes]) -> None:
        data = b"".join(message + b"\n" for message in messages)
        while data:
            data = data[os.write(self._stdin_fd, data) :]

    def close(self) -> None:
        os.close(self._stdin_fd)


class WebsocketChannel:
    """Text frames of a websocket without extensions (RFC 6455); pings are answered."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._open(port)

    def _open(self, port: int) -> None:
        key = b64encode(os.urandom(16)).decode("ascii")
        self._socket.sendall(
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode("ascii")
        )
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            self._buffer += self._received()
        status = bytes(self._buffer[: self._buffer.find(b"\r\n")])
        if b" 101 " not in status:
            raise Gone(f"The server refused the websocket: {status.decode('latin-1')}")
        del self._buffer[: end + 4]

    def fileno(self) -> int:
        """For a poll over many connections."""
        return self._socket.fileno()

    def read(self, timeout_s: float) -> list[bytes]:
        return self.messages(self.read_raw()) if self._poll.poll(timeout_s * 1000) else []

    def read_raw(self) -> bytes:
        """Bytes as they came, frames and all, for one who has no time yet; `messages` takes them later, in order."""
        return self._received()

    def messages(self, data: bytes) -> list[bytes]:
        """The messages that are whole with these bytes."""
        self._buffer += data
        return self._frames()

    def _received(self) -> bytes:
        data = self._socket.recv(READ_BYTES)
        if not data:
            raise Gone("The server closed the websocket.")
        return data

    def _frames(self) -> list[bytes]:
        messages: list[bytes] = []
        at = 0
        while (found := frame_at(self._buffer, at)) is not None:
            first, payload, at = found
            kind = first & 0x0F
            if kind == _PING:
                self._send(0x80 | _PONG, payload)
            elif kind == _CLOSE:
                raise Gone("The server closed the websocket.")
            elif kind != _PONG:
                self._parts.append(payload)
                if first & 0x80:
                    messages.append(b"".join(self._parts))
                    self._parts.clear()
        del self._buffer[:at]
        return messages

    def write(self, messages: Sequence[bytes]) -> None:
        for message in messages:
            self._send(_TEXT_FRAME, message)

    def _send(self, first: int, payload: bytes) -> None:
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", first, _MASKED | size)
        elif size < 0x10000:
            head = struct.pack("!BBH", first, _MASKED | 126, size)
        else:
            head = struct.pack("!BBQ", first, _MASKED | 127, size)
        self._socket.sendall(head + _ZERO_MASK + payload)  # a mask of zeros changes nothing, and is one

    def close(self) -> None:
        self._socket.close()


def frame_at(data: bytearray, at: int) -> tuple[int, bytes, int] | None:
    """First byte, payload and end of the frame that begins at `at`; None while it is not whole."""
    if len(data) < at + 2:
        return None
    first, size = data[at], data[at + 1] & 0x7F
    begin = at + 2
    if size >= 126:
        width = 2 if size == 126 else 8
        if len(data) < begin + width:
            return None
        size = int.from_bytes(data[begin : begin + width], "big")
        begin += width
    return (first, bytes(data[begin : begin + size]), begin + size) if len(data) >= begin + size else None


def connected(port: int, limit_s: float = 20) -> WebsocketChannel:
    """Connect to a server that may still be starting. Raises Gone."""
    end = time.monotonic() + limit_s
    while True:
        try:
            return WebsocketChannel(port)
        except ConnectionError as error:
            if time.monotonic() > end:
                raise Gone(f"Nothing listens on port {port}: {error}") from error
            time.sleep(0.02)
