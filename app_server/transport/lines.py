"""Lines of a stream of bytes, each at most so long. Pure; `stdio` reads with it, and `commands/serve` before an end."""

from __future__ import annotations

from app_server.transport.base import FrameTooLarge


class LineSplitter:
    """Chunks in, frames out, in linear time; a line over the limit is dropped as it comes, so memory stays bounded."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._parts: list[bytes] = []
        self._size_bytes = 0

    def feed(self, chunk: bytes) -> list[bytes | FrameTooLarge]:
        """The frames that this chunk completes, without their line ends."""
        if not self._parts and chunk.endswith(b"\n") and b"\r" not in chunk and len(chunk) <= self._limit_bytes:
            return [*chunk[:-1].split(b"\n")]  # whole lines: nearly every chunk of a client that asks and waits
        first, *lines = chunk.split(b"\n")
        self._hold(first)
        if not lines:
            return []
        rest = lines.pop()
        frames: list[bytes | FrameTooLarge] = [self._complete()]
        frames += [self._checked(line, len(line)) for line in lines]
        self._hold(rest)
        return frames

    def finish(self) -> list[bytes | FrameTooLarge]:
        """The last line, if the input ended without a newline."""
        return [self._complete()] if self._size_bytes else []

    def _hold(self, part: bytes) -> None:
        if not part:
            return
        self._size_bytes += len(part)
        if self._size_bytes > self._limit_bytes + 1:  # one more, which may be the carriage return of the line end
            self._parts = [part[-1:]]
        else:
            self._parts.append(part)

    def _complete(self) -> bytes | FrameTooLarge:
        line, size_bytes = b"".join(self._parts), self._size_bytes
        self._parts, self._size_bytes = [], 0
        return self._checked(line, size_bytes)

    def _checked(self, line: bytes, size_bytes: int) -> bytes | FrameTooLarge:
        """`line` is the whole line, or the last byte of one whose length alone was kept."""
        if line.endswith(b"\r"):
            line, size_bytes = line[:-1], size_bytes - 1
        return line if size_bytes <= self._limit_bytes else FrameTooLarge(size_bytes, self._limit_bytes)
