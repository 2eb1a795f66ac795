"""A passing piece of something (text, progress): encoded once for all who are quick, merged for those who are not.

Pieces of one item that wait for a slow reader become one longer piece, so the text stays whole and its weight small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from app_server.protocol.jsonrpc import encode_notification

MERGED_CHARS = 16 * 1024
"""A merged piece is not longer: clients that read lines of 64 KiB must take it."""
_OVERHEAD_BYTES = 256
_JOIN_EVERY = 64
"""So many texts become one: each is an object of its own, with more bytes than a word has."""


class Delta:
    """One piece, shared by all connections that get it."""

    __slots__ = ("_frame", "_now_ms", "encoded_at_ms", "method", "params")

    def __init__(self, method: str, params: Mapping[str, Any], now_ms: Callable[[], int]) -> None:
        self.method, self.params, self._now_ms = method, params, now_ms
        self._frame: bytes | None = None
        self.encoded_at_ms = 0
        """Of `frame`."""

    @property
    def text(self) -> str | None:
        """What can be joined with the next piece of the same place; None when it stands for itself."""
        text = self.params.get("delta")
        return text if isinstance(text, str) else None

    def follows(self, other: Delta) -> bool:
        """Whether it belongs to the same item and part."""
        ours, theirs = self.params.get, other.params.get
        return (
            self.method == other.method
            and ours("itemId") == theirs("itemId")
            and ours("summaryIndex") == theirs("summaryIndex")
            and ours("contentIndex") == theirs("contentIndex")
        )

    def frame(self) -> bytes:
        """The notification, encoded once."""
        if self._frame is None:
            self.encoded_at_ms = self._now_ms()
            self._frame = encode_notification(self.method, self.params, self.encoded_at_ms)
        return self._frame

    def merged(self, texts: list[str]) -> bytes:
        """The notification with these texts in place of its own."""
        return encode_notification(self.method, {**self.params, "delta": "".join(texts)}, self._now_ms())

    def lag_notice(self) -> bytes:
        """What a client is told once when pieces are left out."""
        message = (
            "This client reads too slowly: pieces of running text are left out from here on; "
            "each finished item has its whole text."
        )
        params = {"threadId": self.params.get("threadId"), "message": message}
        return encode_notification("warning", params, self._now_ms())


class Merged:
    """Pieces of one place that wait together. `size_bytes` is what they count in the queue."""

    __slots__ = ("_chars", "_first", "_texts", "size_bytes")

    def __init__(self, first: Delta, text: str) -> None:
        self._first, self._texts, self._chars = first, [text], len(text)
        self.size_bytes = _OVERHEAD_BYTES + len(text)

    def takes(self, delta: Delta, text: str) -> bool:
        """Whether this piece may join."""
        return self._chars + len(text) <= MERGED_CHARS and delta.follows(self._first)

    def add(self, text: str) -> int:
        """Join a piece; returns by how much the queue grows."""
        self._texts.append(text)
        if len(self._texts) == _JOIN_EVERY:
            self._texts = ["".join(self._texts)]
        self._chars += len(text)
        self.size_bytes += len(text)
        return len(text)

    def frame(self) -> bytes:
        return self._first.merged(self._texts)
