"""Two streams joined in memory, for tests and for embedding the server in another program.

Both ends live in one event loop. Each direction holds at most `BUFFER_BYTES` of unread frames (one larger frame passes
alone), so a slow reader stops the sender just as a full pipe does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import anyio
import anyio.lowlevel

from app_server.transport.base import MAX_FRAME_BYTES, FrameTooLarge, MessageStream, StreamClosed

BUFFER_BYTES = 8 * 1024 * 1024


class _Lane:
    """One direction: a byte-bounded queue with one reader and one writer."""

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = limit_bytes
        self._frames: deque[bytes | FrameTooLarge] = deque()
        self._queued_bytes = 0
        self._changed = anyio.Event()
        self._written = True
        """False once the writing end was closed: what is queued is still read."""
        self._read = True
        """False once the reading end was closed: nothing is read or written any more."""

    async def get(self) -> bytes:
        await anyio.lowlevel.checkpoint()
        while self._read and self._written and not self._frames:
            await self._changed.wait()
        if not self._read or not self._frames:
            raise StreamClosed
        frame = self._frames.popleft()
        if isinstance(frame, FrameTooLarge):
            raise frame
        self._queued_bytes -= len(frame)
        self._notify()
        return frame

    async def put(self, frame: bytes) -> None:
        while self._open and self._queued_bytes and self._queued_bytes + len(frame) > BUFFER_BYTES:
            await self._changed.wait()
        if not self._open:
            raise StreamClosed
        if self._limit_bytes is not None and len(frame) > self._limit_bytes:
            self._frames.append(FrameTooLarge(len(frame), self._limit_bytes))
        else:
            self._frames.append(frame)
            self._queued_bytes += len(frame)
        self._notify()

    def close_writing(self) -> None:
        self._written = False
        self._notify()

    def close_reading(self) -> None:
        self._read = False
        self._frames.clear()
        self._notify()

    @property
    def _open(self) -> bool:
        return self._read and self._written

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class MemoryStream:
    """One end of a pair."""

    def __init__(self, inbound: _Lane, outbound: _Lane) -> None:
        self._inbound, self._outbound = inbound, outbound

    @property
    def transport(self) -> str:
        return "memory"

    async def receive(self) -> bytes:
        return await self._inbound.get()

    async def send(self, frames: Sequence[bytes]) -> None:
        await anyio.lowlevel.checkpoint()
        for frame in frames:
            await self._outbound.put(frame)

    async def aclose(self) -> None:
        self._inbound.close_reading()
        self._outbound.close_writing()


def memory_pair(*, max_frame_bytes: int = MAX_FRAME_BYTES) -> tuple[MessageStream, MessageStream]:
    """The client's end and the server's end. The frame limit counts for what the server's end receives."""
    to_server, to_client = _Lane(max_frame_bytes), _Lane(None)
    return MemoryStream(to_client, to_server), MemoryStream(to_server, to_client)
