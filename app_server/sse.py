"""Server-sent events, bytes in and payloads out: a pure decoder with a byte cap (WHATWG HTML, "Server-sent events").

It knows no HTTP and no JSON, and never waits. `providers/responses_api.py` and `net.py` feed it the chunks of one
response.
"""

from __future__ import annotations

from typing import Final

MAX_EVENT_BYTES: Final = 96 * 1024 * 1024
"""A hosted picture comes as base64 in one event: tens of megabytes are normal, more than this is not."""

_BOM: Final = b"\xef\xbb\xbf"


class SseTooLarge(Exception):
    """One event is larger than the cap; the decoder must not be fed any more."""

    def __init__(self, max_event_bytes: int) -> None:
        super().__init__(f"one event is larger than {max_event_bytes} bytes")
        self.max_event_bytes = max_event_bytes


class SseDecoder:
    """Decodes one stream. Time is linear in its bytes, however they are cut into chunks.

    Lines end with LF, CRLF or CR. Only `data` fields count: `event`, `id`, `retry` and comments are skipped, and an
    event that the end of the stream cuts off is not delivered.
    """

    __slots__ = ("_after_cr", "_at_start", "_data", "_data_bytes", "_max_bytes", "_tail", "_tail_bytes")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._data: list[bytes] = []  # data lines of the event that is being read
        self._data_bytes = 0
        self._tail: list[bytes] = []  # pieces of the unfinished line; joined once, when its end comes
        self._tail_bytes = 0
        self._after_cr = False  # the last chunk ended with CR: a LF that follows belongs to it
        self._at_start = True

    def feed(self, chunk: bytes) -> list[bytes]:
        """The `data` payloads of the events that this chunk finishes, lines joined by LF. Raises SseTooLarge."""
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_plain_line_ends(chunk)
        first, *rest = chunk.split(b"\n")
        if not rest:
            self._keep(first)
            return []
        last = rest.pop()
        if self._tail:
            self._tail.append(first)
            first = b"".join(self._tail)
            self._tail, self._tail_bytes = [], 0
        if self._at_start:
            first, self._at_start = first.removeprefix(_BOM), False
        events = self._take([first, *rest])
        self._keep(last)
        return events

    def _take(self, lines: list[bytes]) -> list[bytes]:
        """Read whole lines; the loop is the hot path of every streamed answer."""
        events: list[bytes] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    events.append(data[0] if len(data) == 1 else b"\n".join(data))
                    data.clear()
                    self._data_bytes = 0
                continue
            if line.startswith(b"data: "):
                value = line[6:]
            elif line.startswith(b"data:"):
                value = line[5:]
            elif line == b"data":
                value = b""
            else:
                continue
            data.append(value)
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._max_bytes:
                raise SseTooLarge(self._max_bytes)
        return events

    def _keep(self, piece: bytes) -> None:
        """Hold the unfinished line."""
        if piece:
            self._tail.append(piece)
            self._tail_bytes += len(piece)
            if self._data_bytes + self._tail_bytes > self._max_bytes:
                raise SseTooLarge(self._max_bytes)

    def _with_plain_line_ends(self, chunk: bytes) -> bytes:
        """CRLF and CR become LF, also where a chunk ends between the two."""
        if not chunk:
            return chunk
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            if not chunk:
                self._after_cr = False
                return chunk
        self._after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
