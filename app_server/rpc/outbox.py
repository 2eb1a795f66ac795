"""The ordered, byte-bounded writer of one connection: frames go out in the order in which they were put.

Replies and durable notifications are never dropped. Deltas that wait for a slow reader are merged from
`MERGE_FROM_BYTES` on, and left out beyond `DELTA_LIMIT_BYTES`, with one notice: the completed item holds the whole
text. A reader that leaves `HARD_LIMIT_BYTES` waiting is cut off, so that one dead client
cannot take the server's memory; it may come back and resume the thread.
"""

from __future__ import annotations

from collections import deque

import anyio

from app_server.rpc.delta import Delta, Merged
from app_server.transport.base import MessageStream, QuickStream, StreamClosed

MERGE_FROM_BYTES = 64 * 1024
DELTA_LIMIT_BYTES = 32 * 1024 * 1024
HARD_LIMIT_BYTES = 256 * 1024 * 1024
ROOM_BYTES = 1024 * 1024
"""What a sender that slows down leaves waiting at most: far from where others would lose deltas."""
_BATCH_BYTES = 1024 * 1024
_FLUSH_TIMEOUT_S = 5.0


class Outbox:
    """`put` and `put_delta` never wait; `run` writes until `close`, owned by the connection's task group."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self._quick = stream if isinstance(stream, QuickStream) else None
        self._sending = False
        self._ahead_at_ms = -1
        """When a piece was last written without the writer."""
        self._frames: deque[bytes | Merged] = deque()
        self._lagging = False
        self._wake = anyio.Event()
        self._closing = False
        self._flushing: anyio.CancelScope | None = None
        self._less: anyio.Event | None = None
        """Set when less is queued; there while somebody waits for that."""
        self.queued_bytes = 0
        self._merged_bytes = 0
        """Of these, running text that waits merged: who is behind in that may still ask, for an interrupt above all."""
        self.dropped_deltas = 0

    def put(self, frame: bytes, *, flushed: bool = False) -> bool:
        """Queue a frame that must arrive. False when the connection is beyond its limit and has to be cut.

        `flushed`: the caller will `flush` before it waits for anything.
        """
        if self._closing:
            return True
        self._frames.append(frame)
        self.queued_bytes += len(frame)
        if not flushed:
            self._wake.set()
        return self.queued_bytes <= HARD_LIMIT_BYTES

    def flush(self) -> None:
        """Write now what needs no waiting; the writer does the rest."""
        if not self._frames:
            return
        if self._quick is not None and not self._sending and self.queued_bytes < MERGE_FROM_BYTES:
            batch = [frame for frame in self._frames if isinstance(frame, bytes)]
            if len(batch) == len(self._frames) and self._quick.send_now(batch):
                self._frames.clear()
                self.queued_bytes = 0
                self._lagging = False
                return
        self._wake.set()

    def put_delta(self, delta: Delta) -> None:
        """Queue a piece that a slow reader gets merged with others, or misses."""
        if self.queued_bytes > DELTA_LIMIT_BYTES:
            self.dropped_deltas += 1
            if not self._lagging:
                self._lagging = True
                self.put(delta.lag_notice())
        elif self.queued_bytes < MERGE_FROM_BYTES or (text := delta.text) is None or self._closing:
            if not self._written_ahead(delta):
                self.put(delta.frame())
        else:
            last = self._frames[-1] if self._frames else None
            if isinstance(last, Merged) and last.takes(delta, text):
                more = last.add(text)
                self.queued_bytes += more
                self._merged_bytes += more
            else:
                merged = Merged(delta, text)
                self._frames.append(merged)
                self.queued_bytes += merged.size_bytes
                self._merged_bytes += merged.size_bytes
            self._wake.set()

    def _written_ahead(self, delta: Delta) -> bool:
        """Write a piece that comes alone here and now: a turn of the writer is a round of the loop later.

        One in a millisecond: pieces that come faster go as batches."""
        if self._quick is None or self.queued_bytes or self._closing:
            return False
        frame = delta.frame()
        if delta.encoded_at_ms == self._ahead_at_ms or not self._quick.send_now([frame]):
            return False
        self._ahead_at_ms = delta.encoded_at_ms
        return True

    async def room(self) -> None:
        """Wait while more than `ROOM_BYTES` are unread: for a sender that can slow down. Ends with the connection."""
        while self.queued_bytes > ROOM_BYTES and not self._closing:
            self._wake.set()
            self._less = self._less or anyio.Event()
            await self._less.wait()

    @property
    def takes_answers(self) -> bool:
        """Whether no more than `ROOM_BYTES` besides running text are unread; also where nobody will read any more."""
        return self.queued_bytes - self._merged_bytes <= ROOM_BYTES or self._closing

    async def answers_read(self) -> None:
        """Wait until the outbox takes answers."""
        while not self.takes_answers:
            self._wake.set()  # what the caller meant to flush is waited for here
            self._less = self._less or anyio.Event()
            await self._less.wait()

    def close(self) -> None:
        """Take no more frames; `run` returns after what is queued is written, or not read in time."""
        if self._flushing is not None and not self._closing:
            self._flushing.deadline = anyio.current_time() + _FLUSH_TIMEOUT_S
        self._closing = True
        self._wake.set()
        self._wake_waiting()

    async def run(self) -> None:
        """Write batches until closed and empty, or until the peer is gone."""
        with anyio.CancelScope() as self._flushing:  # bounded once closed, a send that hangs already included
            if self._closing:
                self._flushing.deadline = anyio.current_time() + _FLUSH_TIMEOUT_S
            await self._write_all()
        self._closing = True
        self._frames.clear()
        self.queued_bytes = self._merged_bytes = 0
        self._wake_waiting()

    async def _write_all(self) -> None:
        while True:
            if not self._frames:
                if self._closing:
                    return
                self._wake = anyio.Event()
                await self._wake.wait()
                continue
            batch, size, merged = self._take()
            self._sending = True
            try:
                await self._stream.send(batch)
            except StreamClosed:
                return
            self._sending = False
            del batch  # frames may be large, and the next one may be long in coming
            self.queued_bytes -= size
            self._merged_bytes -= merged
            self._wake_waiting()

    def _wake_waiting(self) -> None:
        waiting, self._less = self._less, None
        if waiting is not None:
            waiting.set()

    def _take(self) -> tuple[list[bytes], int, int]:
        """Frames for one write, what they count, and what of it is merged text."""
        batch: list[bytes] = []
        size = merged = 0
        while self._frames and size < _BATCH_BYTES:
            frame = self._frames.popleft()
            if isinstance(frame, Merged):
                batch.append(frame.frame())
                size += frame.size_bytes
                merged += frame.size_bytes
            else:
                batch.append(frame)
                size += len(frame)
        self._lagging = self._lagging and bool(self._frames)
        return batch, size, merged
