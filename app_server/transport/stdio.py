"""JSON lines on a pair of descriptors: the process's own stdin and stdout, claimed so that nothing else writes there.

    os.read when readable ──▶ LineSplitter ─┬─▶ taker, in the same round of the loop
                                           └─▶ inbox ──▶ receive(): what has to wait, or nobody takes
    send() ──▶ os.write of what cannot block; the rest in a daemon thread that reports back

The descriptors stay blocking: their mode is shared with whoever holds the other copies. Where the loop cannot watch one
(Windows, a regular file) a daemon thread reads; daemon, because a read that nobody ends must not hold up the exit.
Reading stops while more than `UNREAD_LIMIT_BYTES` wait in the inbox. Bootstrap is the only caller of `claim_stdio`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from queue import SimpleQueue

from app_server.errors import ConfigurationError
from app_server.transport.base import MAX_FRAME_BYTES, FrameTooLarge, StreamClosed, Taker
from app_server.transport.lines import LineSplitter

CHUNK_BYTES = 64 * 1024
"""What a pipe holds. A larger buffer only costs: one of 1 MiB per read adds 25 µs to a round trip of 35."""
UNREAD_LIMIT_BYTES = 8 * 1024 * 1024
FRAME_OVERHEAD_BYTES = 64
"""Counted per frame beside its text, so that a flood of empty lines is bounded as well."""
DIRECT_WRITE_BYTES = 64 * 1024
"""Up to this size (a whole pipe on Linux) a batch is written from the loop; a larger one goes to the thread at once."""
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
"""Linux: a single write that does not wait, on a descriptor that does."""
_NOT_HERE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
FRAMES_PER_YIELD = 64
"""After so many frames without waiting, `receive` lets other tasks run."""


def claim_stdio() -> tuple[int, int]:
    """Take fds 0 and 1 for the wire and return private descriptors of them (read, write).

    Afterwards fd 0 is empty and fd 1 is stderr, for this process and its children: a stray print cannot tear the wire.
    Raises ConfigurationError when stdin or stdout is closed.
    """
    try:
        os.fstat(2)
    except OSError:
        _point(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        for fd in (0, 1):  # both before the first dup, which would take the number of a closed one
            os.fstat(fd)
        read_fd, write_fd = os.dup(0), os.dup(1)
    except OSError:
        raise ConfigurationError(
            "Standard input or output is closed; start the server with both connected, or use --listen ws://127.0.0.1:0."
        ) from None
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(read_fd, os.O_BINARY)
        msvcrt.setmode(write_fd, os.O_BINARY)
    _point(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    if isinstance(sys.stdout, TextIOWrapper):  # what a stray print wrote shows up at once, among the log lines
        sys.stdout.reconfigure(line_buffering=True)
    return read_fd, write_fd


def _point(source_fd: int, target_fd: int) -> None:
    """Make `target_fd` (inherited by children) what `source_fd` is, and let go of the latter."""
    if source_fd != target_fd:
        os.dup2(source_fd, target_fd)
        os.close(source_fd)


class StdioStream:
    """A MessageStream over two descriptors, which it owns from now on. Used from one event loop."""

    def __init__(
        self,
        read_fd: int,
        write_fd: int,
        *,
        received: bytes = b"",
        max_frame_bytes: int = MAX_FRAME_BYTES,
        watch: bool = True,
    ) -> None:
        """`received` was read before. `watch=False` reads and writes in threads, as where no pipe can be watched."""
        self._reader = _Reader(read_fd, max_frame_bytes, received, watch=watch)
        self._writer = _Writer(write_fd, watch=watch)

    @property
    def transport(self) -> str:
        return "stdio"

    async def receive(self) -> bytes:
        frame = await self._reader.next()
        if isinstance(frame, FrameTooLarge):
            raise frame
        return frame

    @property
    def ready(self) -> bool:
        return self._reader.ready

    def offer_to(self, taker: Taker) -> None:
        self._reader.taker = taker

    async def send(self, frames: Sequence[bytes]) -> None:
        if frames:
            await self._writer.write(b"\n".join((*frames, b"")))

    def send_now(self, frames: Sequence[bytes]) -> bool:
        return self._writer.write_now(b"\n".join((*frames, b"")))

    async def aclose(self) -> None:
        self._reader.close()
        self._writer.close()


class _Reader:
    """Fills an inbox. Where the loop can watch the descriptor it reads there; else a thread does each read for it.

    The thread reads one chunk, hands it over and waits to be let go, so both ways are bounded by the same rule.
    """

    def __init__(self, fd: int, limit_bytes: int, received: bytes, *, watch: bool) -> None:
        self._fd, self._splitter, self._watch = fd, LineSplitter(limit_bytes), watch
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._go = threading.Event()
        self._inbox: deque[bytes | FrameTooLarge] = deque()
        self._unread_bytes = 0
        self._paused = self._ended = self._closed = False
        self._arrived = asyncio.Event()
        self._frames_to_yield = FRAMES_PER_YIELD
        self.taker: Taker | None = None
        self._waited_for = False
        """Whether `next` waits, so that all before was served."""
        if received:
            self._take(received)

    @property
    def ready(self) -> bool:
        return bool(self._inbox)

    async def next(self) -> bytes | FrameTooLarge:
        if self._loop is None and not self._closed:
            self._start(asyncio.get_running_loop())
        self._frames_to_yield -= 1
        if self._frames_to_yield <= 0:
            self._frames_to_yield = FRAMES_PER_YIELD
            await asyncio.sleep(0)
        while not self._inbox:
            if self._ended or self._closed:
                raise StreamClosed
            self._frames_to_yield = FRAMES_PER_YIELD
            self._arrived.clear()
            self._waited_for = True
            try:
                await self._arrived.wait()
            finally:
                self._waited_for = False
        frame = self._inbox.popleft()
        if not self._inbox:
            self._unread_bytes = 0
            if self._paused:
                self._paused = False
                self._read_on()
        return frame

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._inbox.clear()
        self._arrived.set()
        if self._thread is not None:
            self._go.set()  # the thread closes the descriptor: that must not happen under a read
            return
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        try:
            if self._watch:
                loop.add_reader(self._fd, self._readable)
                return
        except (NotImplementedError, OSError):  # Windows' loop; a regular file, or a terminal where kqueue takes none
            self._watch = False
        self._thread = threading.Thread(target=self._run, args=(loop,), name="stdio-reader", daemon=True)
        self._thread.start()
        self._go.set()

    def _readable(self) -> None:
        try:
            chunk = _read(self._fd)
        except BlockingIOError:  # somebody made the pipe non-blocking, and it was empty after all
            return
        self._take(chunk)

    def _take(self, chunk: bytes) -> None:
        """A chunk came (empty: the end of input). Runs in the loop."""
        if self._closed:
            return
        frames = self._splitter.feed(chunk) if chunk else self._splitter.finish()
        if taken := self._offered(frames):
            frames, self._unread_bytes = frames[taken:], 0
        self._inbox.extend(frames)
        if frames or not taken:
            self._unread_bytes += FRAME_OVERHEAD_BYTES * len(frames) + len(chunk)
        self._ended = not chunk
        self._paused = bool(self._inbox) and self._unread_bytes > UNREAD_LIMIT_BYTES
        if self._watch and (self._ended or self._paused) and self._loop is not None:
            self._loop.remove_reader(self._fd)
        elif not self._watch and not self._paused:
            self._go.set()
        if frames or self._ended:
            self._arrived.set()

    def _offered(self, frames: Sequence[bytes | FrameTooLarge]) -> int:
        """How many frames were served at once: a few, and none before what came earlier is."""
        if self.taker is None or not frames or not self._waited_for or self._inbox:
            return 0
        return self.taker(frames[:FRAMES_PER_YIELD])

    def _read_on(self) -> None:
        if self._watch and self._loop is not None and not self._ended:
            self._loop.add_reader(self._fd, self._readable)
        self._go.set()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Body of the thread. It ends with the input, on `close`, or when the loop is gone."""
        chunk = b"\n"
        while chunk and not self._closed and self._go.wait() and not self._closed:
            self._go.clear()
            try:
                chunk = _read(self._fd)
            except BlockingIOError:
                select.select([self._fd], [], [])
                self._go.set()
                continue
            try:
                loop.call_soon_threadsafe(self._take, chunk)
            except RuntimeError:  # the loop was closed
                break
        os.close(self._fd)


def _read(fd: int) -> bytes:
    """What is there, or nothing at the end; a terminal that hung up, or a reset pipe, is an end as well."""
    try:
        return os.read(fd, CHUNK_BYTES)
    except BlockingIOError:
        raise
    except OSError:
        return b""


class _Writer:
    """Writes at once what cannot block, the rest in a thread; at most one batch is on its way at a time."""

    def __init__(self, fd: int, *, watch: bool) -> None:
        self._fd = fd
        self._poll = _writable_poll(fd) if watch else None
        self._never_waits = watch and _NOWAIT != 0 and stat.S_ISFIFO(os.fstat(fd).st_mode)
        """Whether the system writes what a pipe has room for, in one call: else it is asked before each PIPE_BUF."""
        self._jobs: SimpleQueue[tuple[memoryview, asyncio.Future[None]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._busy: asyncio.Future[None] | None = None
        self._closed = False

    async def write(self, data: bytes) -> None:
        while self._busy is not None and not self._busy.done():  # left behind by a cancelled `write`: it stays whole
            await asyncio.wait([self._busy])
        if self._closed:
            raise StreamClosed
        rest = memoryview(data)
        if len(data) <= DIRECT_WRITE_BYTES:
            rest = self._write_what_fits(rest)
        if rest:
            await asyncio.shield(self._hand_over(rest))
            if self._closed:
                raise StreamClosed

    def write_now(self, data: bytes) -> bool:
        """Write if nothing is on its way and nothing is wrong; what the peer has no room for follows by the thread."""
        if self._closed or self._poll is None or len(data) > DIRECT_WRITE_BYTES:
            return False
        if self._busy is not None and not self._busy.done():
            return False
        try:
            rest = self._write_what_fits(memoryview(data))
        except StreamClosed:
            return False  # the next `write` says so
        if rest:
            self._hand_over(rest)
        return True

    def close(self) -> None:
        if self._closed and self._fd < 0:
            return
        self._closed = True
        fd, self._fd = self._fd, -1
        if self._busy is not None and not self._busy.done():
            self._busy.set_result(None)  # a blocked `write` ends; its thread may not
        if self._thread is None:
            os.close(fd)
        else:
            self._jobs.put(None)

    def _write_what_fits(self, data: memoryview) -> memoryview:
        """Write while there is room. Returns the rest."""
        try:
            if self._never_waits:
                return data[os.pwritev(self._fd, [data], -1, _NOWAIT) :]
            while data and self._poll is not None and self._poll.poll(0):
                data = data[os.write(self._fd, data[: select.PIPE_BUF]) :]  # so much then never blocks
        except BlockingIOError:
            pass
        except OSError as error:
            if self._never_waits and error.errno in _NOT_HERE:  # an older kernel
                self._never_waits = False
                return self._write_what_fits(data)
            self._closed = True
            raise StreamClosed from None
        return data

    def _hand_over(self, data: memoryview) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._fd, loop), name="stdio-writer", daemon=True)
            self._thread.start()
        self._busy = loop.create_future()
        self._jobs.put((data, self._busy))
        return self._busy

    def _done(self, job: asyncio.Future[None], failed: bool) -> None:
        self._closed = self._closed or failed
        if not job.done():
            job.set_result(None)

    def _run(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """Body of the thread. It ends on `close` or when the loop is gone."""
        while (job := self._jobs.get()) is not None:
            data, done = job
            failed = False
            try:
                while data:
                    data = data[_write(fd, data) :]
            except OSError:
                failed = True
            try:
                loop.call_soon_threadsafe(self._done, done, failed)
            except RuntimeError:
                break
        with suppress(OSError):
            os.close(fd)


def _write(fd: int, data: memoryview) -> int:
    """Write some of it, waiting for room also where somebody made the pipe non-blocking."""
    try:
        return os.write(fd, data)
    except BlockingIOError:
        select.select([], [fd], [])
        return 0


def _writable_poll(fd: int) -> select.poll | None:
    """A poll for room on `fd`; None where pipes cannot be polled (Windows): there every write takes the thread."""
    if sys.platform == "win32":
        return None
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return poll
