"""Makes the many small chunks of an event stream one large chunk, before the HTTP library looks at them.

A model's answer is an HTTP chunk for each word, and reading a chunk takes h11 several times what all of our own work on
the word takes. So what one read of the socket brought is handed on as one chunk, at once: nothing waits for more.

    socket ─► ChunkJoiner.feed ─┬─► h11, httpcore, httpx
                               └─► tap: who reads the body may take it here, once what came before was read

Only chunked answers of the type `text/event-stream` are touched; anything else passes as it is. Called by
`stream.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MAX_HEAD_BYTES: Final = 64 * 1024
"""A longer head is h11's to refuse."""
MAX_SIZE_LINE_BYTES: Final = 4096
_BROKEN: Final = b"\r\n"
"""Where a chunk should begin: what no parser takes."""
_EVENT_STREAM: Final = re.compile(rb"\r\ncontent-type:[ \t]*text/event-stream[ \t]*[;\r]", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r", re.IGNORECASE)


_ENCODED: Final = re.compile(rb"\r\ncontent-encoding:", re.IGNORECASE)

Tap = Callable[[bytes], bool]
"""Takes a part of a body. False: it is handed on as well, as is all that follows. Must not raise."""


class ChunkJoiner:
    """The bytes of one connection, as they come. Pure."""

    __slots__ = ("_handed_bytes", "_head", "_held", "_in_chunks", "_left_bytes", "_plain", "_tap")

    def __init__(self) -> None:
        self._plain = False
        """Whether the body is chunks of plain text: then it may be tapped."""
        self._handed_bytes = 0
        """Of the body, with what was taken."""
        self._tap: Tap | None = None
        self._head: bytes | None = None  # what came of an answer's head; None: nothing is looked at
        self._in_chunks = False
        self._left_bytes = -1  # of the chunk that the last read cut; 0: its line end; -1: a size line comes
        self._held = b""  # the beginning of such a line

    def request_sent(self) -> None:
        """What comes next is the head of an answer."""
        self._head, self._in_chunks, self._left_bytes, self._held = b"", False, -1, b""
        self._plain, self._handed_bytes, self._tap = False, 0, None

    def tap(self, tap: Tap | None, seen_bytes: int) -> bool:
        """Let `tap` have the body from here on. False, and it has not, unless its reader has seen all that came.

        seen_bytes: of the body, taken or read.
        """
        good = self._plain and self._in_chunks and seen_bytes == self._handed_bytes
        self._tap = tap if good else None
        return good

    def feed(self, data: bytes) -> bytes:
        """What to hand on of a read; may be empty while the size of a chunk is not known yet."""
        passed = b""
        while data and (head := self._head) is not None:
            seen = head + data
            end = seen.find(b"\r\n\r\n") + 4
            if end < 4:
                self._head = seen if len(seen) <= MAX_HEAD_BYTES else None
                return passed + data
            new = end - len(head)
            passed, data = passed + data[:new], data[new:]
            only_informs = seen.startswith(b"HTTP/1.1 1")  # the answer's own head follows
            self._head = b"" if only_informs else None
            self._in_chunks = bool(_EVENT_STREAM.search(seen, 0, end) and _CHUNKED.search(seen, 0, end))
            self._plain = self._in_chunks and not _ENCODED.search(seen, 0, end)
        return passed + (self._joined(data) if self._in_chunks else data)

    def _joined(self, data: bytes) -> bytes:
        """The contents of all chunks in `data` as one chunk; the end of the answer, or what is no chunk, ends that."""
        data, at, left = self._held + data, 0, self._left_bytes
        parts: list[bytes] = []
        while True:
            if left < 0:
                line_end = data.find(b"\r\n", at)
                if line_end < 0:
                    break
                left = _chunk_size(data[at:line_end])
                if left <= 0:  # the last one: it and the trailers are handed on as they are
                    return self._leave(parts, data[at:] if left == 0 else _BROKEN)
                at = line_end + 2
            part = data[at : at + left]
            if part:
                parts.append(part)
                at, left = at + len(part), left - len(part)
            if left or len(data) - at < 2:
                break
            if data[at : at + 2] != b"\r\n":
                return self._leave(parts, _BROKEN)
            at, left = at + 2, -1
        self._left_bytes, self._held = left, data[at:]
        return self._leave(parts, _BROKEN) if len(self._held) > MAX_SIZE_LINE_BYTES else self._as_chunk(parts)

    def _leave(self, parts: list[bytes], rest: bytes) -> bytes:
        """Hand on what was read and the rest as it is; nothing more is joined."""
        self._in_chunks = False
        return self._as_chunk(parts) + rest

    def _as_chunk(self, parts: list[bytes]) -> bytes:
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if not body:
            return b""
        self._handed_bytes += len(body)
        if self._tap is not None:
            if self._tap(body):
                return b""
            self._tap = None
        return b"%x\r\n%b\r\n" % (len(body), body)


def _chunk_size(line: bytes) -> int:
    """The size that a size line names, -1 where it names none. Extensions are of no interest."""
    digits = line.partition(b";")[0].rstrip(b" \t")
    try:
        return int(digits, 16) if digits.isalnum() else -1
    except ValueError:
        return -1
