"""What one HTTP exchange is made of: a form to send, a whole answer or a failure, a body read under a byte cap.

It opens no connection. `net.py` sends and reads with it; extensions know its types through their door.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from app_server.values import field, frozen

if TYPE_CHECKING:
    import httpx

TakeEvent = Callable[[bytes], Awaitable[bool]]
"""Gets the `data` of each server-sent event, in order; True: the next one is read, False: the stream is left."""


@frozen
class HttpAnswer:
    """A whole HTTP answer, read under a byte cap. Header names are in lower case; the body is decoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:  # a body may hold pictures or secrets
        return f"HttpAnswer(status={self.status}, {len(self.body)} bytes)"


class HttpFailure(Exception):
    """No usable HTTP answer: refused, cut, timed out or too large. The message is one sentence without secrets."""

    def __init__(self, message: str, *, timeout: bool = False, too_large: bool = False) -> None:
        super().__init__(message)
        self.timeout, self.too_large = timeout, too_large


@frozen
class FormFile:
    """A file in a form; the same name may stand several times, in order."""

    name: str
    filename: str
    mime: str
    data: bytes = field(repr=False)


@frozen
class Form:
    """A `multipart/form-data` body: the fields, then the files."""

    fields: Mapping[str, str] = field(repr=False)
    files: tuple[FormFile, ...] = ()


class Gunzip:
    """Decodes gzip in steps that never give more than asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)
        self._fed = False

    def decode(self, data: bytes, room_bytes: int) -> bytes:
        """At most `room_bytes` of text; the caller gives up when it gets them all."""
        parts: list[bytes] = []
        while data and room_bytes > 0:
            if self._member.eof:
                self._member = zlib.decompressobj(wbits=31)
            self._fed = True
            parts.append(self._member.decompress(data, room_bytes))
            room_bytes -= len(parts[-1])
            data = self._member.unused_data
        return b"".join(parts)

    @property
    def complete(self) -> bool:
        return self._member.eof or not self._fed


async def read_capped(response: httpx.Response, max_bytes: int, place: str) -> bytes:
    """The whole decoded body. Raises HttpFailure above the cap."""
    body = io.BytesIO()  # grows in place: a list of pieces would be held beside what they are joined to
    async for chunk in capped(response, max_bytes, place):
        body.write(chunk)
    return body.getvalue()


def too_large(max_bytes: int, place: str) -> HttpFailure:
    """The failure of an answer above its cap."""
    return HttpFailure(f"The answer of {place} is larger than the limit of {max_bytes} bytes.", too_large=True)


async def capped(response: httpx.Response, max_bytes: int, place: str) -> AsyncIterator[bytes]:
    """The decoded body piece by piece. Raises HttpFailure above the cap."""
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "", "gzip", "x-gzip"):
        raise HttpFailure(f"{place} sent its answer in the encoding {encoding[:40]}, which was not asked for.")
    gunzip = Gunzip() if "gzip" in encoding else None
    declared = response.headers.get("content-length", "")
    if gunzip is None and declared.isdecimal() and int(declared) > max_bytes:
        raise too_large(max_bytes, place)
    room_bytes = max_bytes + 1
    async for raw in _undecoded(response):
        chunk = gunzip.decode(raw, room_bytes) if gunzip else raw
        room_bytes -= len(chunk)
        if room_bytes <= 0:
            raise too_large(max_bytes, place)
        yield chunk
    if gunzip is not None and not gunzip.complete:
        raise HttpFailure(f"The connection to {place} was cut before the answer was complete; try again.")


def _undecoded(response: httpx.Response) -> AsyncIterable[bytes]:
    """The body as it comes. `aiter_raw` refuses a body that is already in memory, as a scripted transport's is."""
    import httpx

    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("The transport of an asynchronous client gave a synchronous body.")
    return stream
