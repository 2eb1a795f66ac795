"""The little HTTP/1.1 that the scripted upstream needs: whole requests in, whole or chunked answers out, keep-alive.

Owns one accepted connection. Knows nothing of scripts or of the API; `tests/support/upstream.py` is its only caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import anyio
from anyio.abc import ByteStream

MAX_HEAD_BYTES = 64 * 1024
PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request as it came. Header names are lower case; of a repeated header the last value stands."""

    method: str
    target: str
    headers: Mapping[str, str]
    raw: bytes


class HttpWire:
    """Reads requests from, and writes answers to, one connection."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def read_request(self) -> HttpRequest | None:
        """The next request with its body, or None when the peer closed the connection between two requests."""
        if not self._buffer and not await self._fill():
            return None
        head = (await self._until(b"\r\n\r\n")).decode("latin-1")
        request_line, *lines = head.split("\r\n")
        method, target, _version = request_line.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines if line)
        headers = {name.strip().lower(): value.strip() for name, value in pairs}
        return HttpRequest(method=method, target=target, headers=headers, raw=await self._read_body(headers))

    async def _read_body(self, headers: Mapping[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", "").lower():
            return await self._exactly(int(headers.get("content-length", "0")))
        body = bytearray()
        while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
            body += await self._exactly(size)
            await self._until(b"\r\n")
        while await self._until(b"\r\n"):
            pass  # trailers are of no interest
        return bytes(body)

    async def send_head(self, status: int, headers: Mapping[str, str]) -> None:
        """Status line and headers of an answer."""
        phrase = PHRASES.get(status, "Unknown")
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        await self._stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        """Bytes of an answer whose head gave a content length."""
        if data:
            await self._stream.send(data)

    async def send_chunk(self, data: bytes) -> None:
        """One chunk of a chunked answer."""
        if data:
            await self._stream.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end_chunks(self) -> None:
        """The end of a chunked answer."""
        await self._stream.send(b"0\r\n\r\n")

    async def wait_hung_up(self) -> None:
        """Return when the peer closed its side; bytes that come meanwhile are kept for the next request."""
        while await self._fill():
            pass

    async def _fill(self) -> bool:
        try:
            self._buffer += await self._stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return False
        return True

    async def _until(self, separator: bytes) -> bytes:
        while (end := self._buffer.find(separator)) < 0:
            if len(self._buffer) > MAX_HEAD_BYTES or not await self._fill():
                raise anyio.IncompleteRead
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(separator)]
        return found

    async def _exactly(self, size_bytes: int) -> bytes:
        while len(self._buffer) < size_bytes:
            if not await self._fill():
                raise anyio.IncompleteRead
        found = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return found
