"""The body of one answer on its way to events: bytes in, events out, and text that nobody has to wait for at once.

    chunk of the reader ─┬─► decode ─┬─► text, while nothing waits before it ─► `on_text`
    tap of the connection┘           └─► all else, in order ─► `events` of the reader

While the reader waits for more and all before is done, the connection hands the body over here itself, in the round of
the loop that read it: text goes on at once, and the reader is woken only for what needs it. `responses_api.py` makes
one for each answer. Nothing here waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

from app_server.providers.base import ProviderEvent, TextDelta, UpstreamError
from app_server.providers.responses_errors import disconnected
from app_server.providers.responses_events import ResponseReader
from app_server.sse import SseDecoder, SseTooLarge

TAPPED_BYTES: Final = 16 * 1024
"""More at once is no calm stream: that is left to the reader, between whose reads others have their turn."""


@runtime_checkable
class TappedStream(Protocol):
    """A connection that hands over a body as it comes; `wires.stream.WireStream` has this shape."""

    def tap(self, tap: Callable[[bytes], bool] | None, seen_bytes: int) -> bool: ...


class Intake:
    """The state of one answer's body."""

    def __init__(
        self,
        reader: ResponseReader,
        decoder: SseDecoder,
        room_bytes: int,
        on_text: Callable[[str, str], None] | None,
        stream: Any,
    ) -> None:
        """`room_bytes`: the largest body. `stream`: the connection, where there is one that can be tapped."""
        self._reader, self._decoder, self._on_text = reader, decoder, on_text
        self._stream = stream if on_text is not None and isinstance(stream, TappedStream) else None
        self.room_bytes = room_bytes
        """Negative: the body was too long."""
        self.heard = False
        """Whether there was any event."""
        self._seen_bytes = self._ahead_bytes = 0
        """Of the body; and what of it was decoded before the reader got it."""
        self._waiting: deque[bytes | ProviderEvent | UpstreamError] = deque()
        """Payloads, and what was made of them already."""

    def tap(self) -> None:
        """The reader is going to wait, and has done all that came before."""
        if self._stream is not None and not self._ahead_bytes:
            self._stream.tap(self._taken, self._seen_bytes)

    def untap(self) -> None:
        """The reader is back, or gone."""
        if self._stream is not None:
            self._stream.tap(None, self._seen_bytes)

    def take(self, chunk: bytes) -> None:
        """A chunk came to the reader. Raises UpstreamError when it cannot be taken."""
        known = min(self._ahead_bytes, len(chunk))
        self._ahead_bytes -= known
        if known < len(chunk):
            self._waiting.extend(self._decode(chunk[known:] if known else chunk))

    def next(self) -> ProviderEvent | None:
        """The next event, None when there is no more for now. Raises what went wrong, in its place."""
        while self._waiting:
            came = self._waiting.popleft()  # one by one: a large one is not held while its event is at work
            if isinstance(came, UpstreamError):
                raise came
            event = self._reader.read(came) if isinstance(came, bytes) else came
            if event is not None:
                self.heard = True
                return event
        return None

    def _decode(self, data: bytes) -> list[bytes]:
        self._seen_bytes += len(data)
        self.room_bytes -= len(data)
        try:
            return self._decoder.feed(data)
        except SseTooLarge as error:
            raise disconnected(f"{error}, which is more than this server takes", stream_retry=False) from error

    def _taken(self, data: bytes) -> bool:
        """The tap: text goes on at once; the reader gets the rest, and is woken for it by the bytes themselves."""
        if len(data) > TAPPED_BYTES:
            return False
        try:
            for payload in self._decode(data):
                self._sort(payload)
        except UpstreamError as error:  # raised where the reader is: here is the loop itself
            self._waiting.append(error)
        if self._waiting or self.room_bytes < 0:
            self._ahead_bytes = len(data)
            return False
        return True

    def _sort(self, payload: bytes) -> None:
        if self._waiting:
            self._waiting.append(payload)
            return
        event = self._reader.read(payload)
        if type(event) is TextDelta and self._on_text is not None:
            self.heard = True
            self._on_text(event.item_id, event.delta)
        elif event is not None:
            self._waiting.append(event)
