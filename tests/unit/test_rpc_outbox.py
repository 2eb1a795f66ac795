"""The way out of one connection: order, what a slow reader misses, where it is cut off, and the flush at the end."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import orjson
import pytest

from app_server.rpc import outbox as outbox_module
from app_server.rpc.delta import Delta
from app_server.rpc.outbox import DELTA_LIMIT_BYTES, HARD_LIMIT_BYTES, MERGE_FROM_BYTES, ROOM_BYTES, Outbox
from app_server.transport.base import StreamClosed, Taker

pytestmark = pytest.mark.anyio


class FakeStream:
    """A client that reads when `reading` is set and is gone once `gone` says so."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.reading = anyio.Event()
        self.entered = anyio.Event()
        self.gone = False

    @property
    def transport(self) -> str:
        return "memory"

    @property
    def frames(self) -> list[bytes]:
        return [frame for batch in self.batches for frame in batch]

    async def receive(self) -> bytes:
        raise StreamClosed

    async def send(self, frames: Sequence[bytes]) -> None:
        self.entered.set()
        await self.reading.wait()
        if self.gone:
            raise StreamClosed
        self.batches.append(list(frames))

    async def aclose(self) -> None:
        self.reading.set()


@asynccontextmanager
async def running(outbox: Outbox) -> AsyncIterator[anyio.Event]:
    """Run the outbox beside the block, which gets an event for its end; the block must see to that end."""
    ended = anyio.Event()

    async def run() -> None:
        await outbox.run()
        ended.set()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield ended


class Raw(Delta):
    """A delta whose frame is told."""

    def __init__(self, frame: bytes) -> None:
        super().__init__("x", {}, lambda: 0)
        self._frame = frame


async def test_frames_go_out_in_the_order_in_which_they_were_put() -> None:
    stream = FakeStream()
    stream.reading.set()
    outbox = Outbox(stream)
    wanted = [b"%d" % number for number in range(100)]
    async with running(outbox):
        for number, frame in enumerate(wanted):
            outbox.put_delta(Raw(frame)) if number % 3 else outbox.put(frame)
            if number % 10 == 0:
                await anyio.lowlevel.checkpoint()
        outbox.close()
    assert stream.frames == wanted
    assert (outbox.queued_bytes, outbox.dropped_deltas) == (0, 0)


async def test_what_is_queued_while_the_reader_is_busy_goes_as_one_bounded_batch() -> None:
    stream = FakeStream()
    outbox = Outbox(stream)
    half = b"x" * (512 * 1024)
    async with running(outbox):
        outbox.put(b"first")
        await stream.entered.wait()
        for frame in (half, half, b"third", b"fourth"):
            outbox.put(frame)
        stream.reading.set()
        outbox.close()
    assert [len(batch) for batch in stream.batches] == [1, 2, 2]


def piece(text: str, item: str = "i1") -> Delta:
    return Delta("item/agentMessage/delta", {"threadId": "t", "itemId": item, "delta": text}, lambda: 5)


async def queued_behind(first: bytes, *deltas: Delta) -> list[bytes]:
    """What a reader gets that was busy with `first` while the deltas came."""
    stream = FakeStream()
    outbox = Outbox(stream)
    async with running(outbox):
        outbox.put(first)
        await stream.entered.wait()
        for delta in deltas:
            outbox.put_delta(delta)
        outbox.put(b"completed")
        stream.reading.set()
        outbox.close()
    return stream.frames[1:]


async def test_pieces_that_wait_for_a_slow_reader_are_merged_into_the_same_text() -> None:
    waiting = b"x" * MERGE_FROM_BYTES
    frames = await queued_behind(waiting, piece("a"), piece("b"), piece("c", "i2"), piece("d"))
    shown = [orjson.loads(frame)["params"] for frame in frames[:-1]]
    assert [(params["itemId"], params["delta"]) for params in shown] == [("i1", "ab"), ("i2", "c"), ("i1", "d")]
    assert frames[-1] == b"completed"


async def test_a_merged_piece_stays_small_enough_for_a_client_that_reads_short_lines() -> None:
    text = "y" * 1000
    frames = await queued_behind(b"x" * MERGE_FROM_BYTES, *(piece(text) for _ in range(100)))
    pieces = [orjson.loads(frame)["params"]["delta"] for frame in frames[:-1]]
    assert "".join(pieces) == text * 100
    assert max(map(len, frames)) < 64 * 1024


async def test_far_behind_a_reader_misses_pieces_with_one_notice_and_nothing_else() -> None:
    frames = await queued_behind(b"x" * (DELTA_LIMIT_BYTES + 1), piece("a"), piece("b"))
    assert [orjson.loads(frame)["method"] for frame in frames[:-1]] == ["warning"]
    assert frames[-1] == b"completed"


async def test_beyond_the_hard_limit_put_says_that_the_connection_must_be_cut() -> None:
    outbox = Outbox(FakeStream())
    frame = b"x" * (HARD_LIMIT_BYTES // 4)
    assert [outbox.put(frame) for _ in range(5)] == [True, True, True, True, False]


async def test_closing_flushes_what_is_queued_and_takes_no_more() -> None:
    stream = FakeStream()
    stream.reading.set()
    outbox = Outbox(stream)
    outbox.put(b"before")
    outbox.close()
    assert outbox.put(b"after")
    async with running(outbox):
        pass
    assert stream.frames == [b"before"]


async def test_an_idle_outbox_ends_when_it_is_closed() -> None:
    outbox = Outbox(FakeStream())
    async with running(outbox):
        await anyio.lowlevel.checkpoint()
        outbox.close()


async def test_a_peer_that_is_gone_ends_the_outbox_and_frees_what_was_queued() -> None:
    stream = FakeStream()
    outbox = Outbox(stream)
    async with running(outbox) as ended:
        outbox.put(b"first")
        await stream.entered.wait()
        outbox.put(b"second")
        stream.gone = True
        stream.reading.set()
        await ended.wait()
    assert (stream.frames, outbox.queued_bytes) == ([], 0)
    assert outbox.put(b"third")
    assert outbox.queued_bytes == 0


@pytest.mark.parametrize("closed_first", [True, False])
async def test_a_reader_that_never_reads_cannot_hold_a_closed_outbox(
    monkeypatch: pytest.MonkeyPatch, closed_first: bool
) -> None:
    monkeypatch.setattr(outbox_module, "_FLUSH_TIMEOUT_S", 0.01)
    stream = FakeStream()
    outbox = Outbox(stream)
    outbox.put(b"never read")
    if closed_first:
        outbox.close()
    async with running(outbox) as ended:
        await stream.entered.wait()
        outbox.close()
        await ended.wait()
    assert (stream.frames, outbox.queued_bytes) == ([], 0)


async def test_what_was_written_is_let_go_while_nothing_else_comes() -> None:
    class Gone(FakeStream):
        async def send(self, frames: Sequence[bytes]) -> None:
            self.entered.set()

    frame = bytes(1_000_000)
    held = sys.getrefcount(frame)
    stream = Gone()
    outbox = Outbox(stream)
    async with running(outbox):
        outbox.put(frame)
        await stream.entered.wait()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        assert sys.getrefcount(frame) == held
        outbox.close()


class RoomyStream(FakeStream):
    """A client that can be written to at once while `room` says so."""

    def __init__(self, *, room: bool) -> None:
        super().__init__()
        self.room = room

    @property
    def ready(self) -> bool:
        return False

    def offer_to(self, taker: Taker) -> None:
        raise AssertionError("an outbox reads nothing")

    def send_now(self, frames: Sequence[bytes]) -> bool:
        if self.room:
            self.batches.append(list(frames))
        return self.room


async def test_what_needs_no_waiting_is_written_in_one_batch_when_it_is_flushed() -> None:
    stream = RoomyStream(room=True)
    outbox = Outbox(stream)
    async with running(outbox):
        outbox.put(b"a", flushed=True)
        outbox.put(b"b", flushed=True)
        before = list(stream.batches)
        outbox.flush()
        outbox.flush()
        assert (before, stream.batches, outbox.queued_bytes) == ([], [[b"a", b"b"]], 0)
        outbox.close()


async def test_what_is_flushed_without_room_is_written_by_the_writer_in_order() -> None:
    stream = RoomyStream(room=False)
    outbox = Outbox(stream)
    stream.reading.set()
    async with running(outbox) as ended:
        outbox.put(b"a", flushed=True)
        outbox.flush()
        outbox.put(b"b")
        outbox.close()
        await ended.wait()
    assert (stream.frames, outbox.queued_bytes) == ([b"a", b"b"], 0)


async def test_nothing_overtakes_what_the_writer_is_sending() -> None:
    stream = RoomyStream(room=True)
    outbox = Outbox(stream)
    async with running(outbox) as ended:
        outbox.put(b"first")
        await stream.entered.wait()
        outbox.put(b"second", flushed=True)
        outbox.flush()
        waiting = list(stream.batches)
        stream.reading.set()
        outbox.close()
        await ended.wait()
    assert (waiting, stream.frames) == ([], [b"first", b"second"])


class SetClock:
    """Tells the millisecond that the test says."""

    def __init__(self) -> None:
        self.now = 1

    def delta(self, text: str) -> Delta:
        return Delta("item/agentMessage/delta", {"itemId": "m", "delta": text}, lambda: self.now)


def texts(frames: Sequence[bytes]) -> list[str]:
    return [orjson.loads(frame)["params"]["delta"] for frame in frames]


async def test_a_piece_that_comes_alone_is_written_at_once_and_those_behind_it_as_a_batch() -> None:
    stream, clock = RoomyStream(room=True), SetClock()
    outbox = Outbox(stream)
    outbox.put_delta(clock.delta("a"))  # nobody runs the writer yet
    at_once = texts(stream.frames)
    for text in ("b", "c"):
        outbox.put_delta(clock.delta(text))
    clock.now = 2
    outbox.put_delta(clock.delta("d"))  # what waits comes first
    stream.reading.set()
    async with running(outbox) as ended:
        outbox.close()
        await ended.wait()
    assert (at_once, [texts(batch) for batch in stream.batches]) == (["a"], [["a"], ["b", "c", "d"]])


async def test_each_of_calm_pieces_is_written_at_once() -> None:
    stream, clock = RoomyStream(room=True), SetClock()
    outbox = Outbox(stream)
    for clock.now, text in enumerate("abc"):
        outbox.put_delta(clock.delta(text))
    assert ([texts(batch) for batch in stream.batches], outbox.queued_bytes) == ([["a"], ["b"], ["c"]], 0)


async def test_a_piece_without_room_waits_for_the_writer() -> None:
    stream, clock = RoomyStream(room=False), SetClock()
    outbox = Outbox(stream)
    outbox.put_delta(clock.delta("a"))
    stream.reading.set()
    async with running(outbox) as ended:
        outbox.close()
        await ended.wait()
    assert texts(stream.frames) == ["a"]


async def test_no_piece_overtakes_what_the_writer_is_sending() -> None:
    stream, clock = RoomyStream(room=True), SetClock()
    outbox = Outbox(stream)
    async with running(outbox) as ended:
        outbox.put_delta(clock.delta("a"))
        outbox.put_delta(clock.delta("b"))
        await stream.entered.wait()
        clock.now = 2
        outbox.put_delta(clock.delta("c"))
        stream.reading.set()
        outbox.close()
        await ended.wait()
    assert texts(stream.frames) == ["a", "b", "c"]


async def test_who_waits_for_room_need_not_have_flushed() -> None:
    stream = RoomyStream(room=True)
    stream.reading.set()
    outbox = Outbox(stream)
    async with running(outbox) as ended:
        outbox.put(b"x" * (2 * 1024 * 1024), flushed=True)
        with anyio.fail_after(5):
            await outbox.answers_read()
        outbox.close()
        await ended.wait()
    assert outbox.queued_bytes == 0


async def test_who_is_behind_in_running_text_alone_may_still_ask() -> None:
    stream = FakeStream()
    outbox = Outbox(stream)
    async with running(outbox) as ended:
        while outbox.queued_bytes < 4 * ROOM_BYTES:
            outbox.put_delta(Delta("d", {"itemId": "i", "delta": "x" * 4000}, lambda: 0))
        with anyio.fail_after(5):
            await outbox.answers_read()
        unread = outbox.queued_bytes
        stream.reading.set()
        outbox.close()
        await ended.wait()
    assert (unread >= 4 * ROOM_BYTES, outbox.queued_bytes) == (True, 0)
