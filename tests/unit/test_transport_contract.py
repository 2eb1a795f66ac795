"""The contract of MessageStream, run on every transport: what goes in at one end comes out at the other."""

import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from anyio.lowlevel import checkpoint
from websockets.asyncio.client import connect

from app_server.transport.base import FrameTooLarge, MessageStream, StreamClosed
from app_server.transport.memory import memory_pair
from app_server.transport.stdio import StdioStream
from app_server.transport.websocket import WebsocketStream, serve_websocket

pytestmark = pytest.mark.anyio

ALL = ["memory", "stdio", "stdio-threads", "websocket"]
SKIPPING = ["memory", "stdio", "stdio-threads"]
"""Those that skip a frame over the limit and go on; a websocket is closed with code 1009 instead (RFC 6455)."""
MIB = 1024 * 1024
Pair = tuple[MessageStream, MessageStream]


def pair(kind: str, *, max_frame_bytes: int = 64 * MIB) -> AbstractAsyncContextManager[Pair]:
    """The client's end and the server's end."""
    match kind:
        case "websocket":
            return websocket_pair(max_frame_bytes)
        case "memory":
            return closing(*memory_pair(max_frame_bytes=max_frame_bytes))
        case _:
            to_server, to_client = os.pipe(), os.pipe()
            watch = kind == "stdio"
            return closing(
                StdioStream(to_client[0], to_server[1], watch=watch),
                StdioStream(to_server[0], to_client[1], max_frame_bytes=max_frame_bytes, watch=watch),
            )


@asynccontextmanager
async def closing(client: MessageStream, server: MessageStream) -> AsyncIterator[Pair]:
    with anyio.fail_after(20):
        yield client, server
        await client.aclose()
        await server.aclose()


@asynccontextmanager
async def websocket_pair(max_frame_bytes: int) -> AsyncIterator[Pair]:
    accepted: list[MessageStream] = []
    arrived, over = anyio.Event(), anyio.Event()

    async def on_connection(stream: MessageStream) -> None:
        accepted.append(stream)
        arrived.set()
        await over.wait()

    with anyio.fail_after(20):
        async with serve_websocket(
            "127.0.0.1", 0, on_connection, routes={}, ready=lambda: True, max_frame_bytes=max_frame_bytes
        ) as address:
            client = WebsocketStream(await connect(str(address), max_size=None, compression=None))
            await arrived.wait()
            yield client, accepted[0]
            over.set()
            await client.aclose()


async def receive_all(stream: MessageStream, count: int) -> list[bytes]:
    return [await stream.receive() for _ in range(count)]


@pytest.mark.parametrize("kind", ALL)
async def test_a_stream_names_its_transport(kind: str) -> None:
    async with pair(kind) as (_, server):
        assert server.transport == kind.removesuffix("-threads")


@pytest.mark.parametrize("kind", ALL)
async def test_frames_arrive_in_order_one_by_one_and_in_batches(kind: str) -> None:
    async with pair(kind) as (client, server):
        await client.send([b"1"])
        await client.send([b"2", "drei ä".encode(), b"4"])
        await client.send([])
        await client.send([b"5"])
        assert await receive_all(server, 5) == [b"1", b"2", "drei ä".encode(), b"4", b"5"]
        await server.send([b"a", b"b"])
        assert await receive_all(client, 2) == [b"a", b"b"]


@pytest.mark.parametrize("kind", ALL)
async def test_a_frame_of_five_megabytes_passes_both_ways(kind: str) -> None:
    big = b"x" * (5 * MIB)
    async with pair(kind) as (sender, receiver):
        for source, target in ((sender, receiver), (receiver, sender)):
            async with anyio.create_task_group() as tg:
                tg.start_soon(source.send, [b"before", big, b"after"])
                assert await receive_all(target, 3) == [b"before", big, b"after"]


@pytest.mark.parametrize("kind", ALL)
async def test_both_ends_may_send_and_receive_at_the_same_time(kind: str) -> None:
    frames = [b"%d:" % number + b"x" * 5000 for number in range(2000)]

    async def send(stream: MessageStream) -> None:
        for start in range(0, len(frames), 50):
            await stream.send(frames[start : start + 50])

    async def check(stream: MessageStream) -> None:
        assert await receive_all(stream, len(frames)) == frames

    async with pair(kind) as (client, server), anyio.create_task_group() as tg:
        for stream in (client, server):
            tg.start_soon(send, stream)
            tg.start_soon(check, stream)


@pytest.mark.parametrize("kind", SKIPPING)
async def test_a_frame_over_the_limit_is_skipped_and_the_stream_goes_on(kind: str) -> None:
    async with pair(kind, max_frame_bytes=1000) as (client, server), anyio.create_task_group() as tg:
        tg.start_soon(client.send, [b"a" * 1000, b"b" * 1001, b"c" * (3 * MIB), b"d"])
        assert await server.receive() == b"a" * 1000
        with pytest.raises(FrameTooLarge) as slightly:
            await server.receive()
        with pytest.raises(FrameTooLarge) as far:
            await server.receive()
        assert await server.receive() == b"d"
        assert [(error.value.size_bytes, error.value.limit_bytes) for error in (slightly, far)] == [
            (1001, 1000),
            (3 * MIB, 1000),
        ]


async def test_a_websocket_message_over_the_limit_closes_that_connection() -> None:
    async with pair("websocket", max_frame_bytes=1000) as (client, server):
        await client.send([b"a" * 1001])
        with pytest.raises(StreamClosed):
            await server.receive()
        with pytest.raises(StreamClosed):
            await client.receive()


@pytest.mark.parametrize("kind", SKIPPING)
async def test_a_frame_that_is_not_utf8_is_delivered_as_it_is(kind: str) -> None:
    async with pair(kind) as (client, server):
        await client.send([b"\xff\xfe{", b"next"])
        assert await receive_all(server, 2) == [b"\xff\xfe{", b"next"]


@pytest.mark.parametrize("kind", ALL)
async def test_after_the_peer_closed_what_it_sent_is_read_and_then_the_stream_ends(kind: str) -> None:
    async with pair(kind) as (client, server):
        await client.send([b"1", b"2"])
        async with anyio.create_task_group() as tg:
            tg.start_soon(client.aclose)
            assert await receive_all(server, 2) == [b"1", b"2"]
            for _ in range(2):
                with pytest.raises(StreamClosed):
                    await server.receive()


@pytest.mark.parametrize("kind", ALL)
async def test_sending_to_a_peer_that_is_gone_says_so(kind: str) -> None:
    async def send_on(stream: MessageStream) -> None:
        while True:
            await stream.send([b"x" * 1000])
            await checkpoint()

    async with pair(kind) as (client, server), anyio.create_task_group() as tg:
        tg.start_soon(client.aclose)
        with pytest.raises(StreamClosed):
            await send_on(server)


@pytest.mark.parametrize("kind", ALL)
async def test_closing_ends_a_blocked_receive_and_may_be_repeated(kind: str) -> None:
    async with pair(kind) as (client, server), anyio.create_task_group() as tg:
        started, ended = anyio.Event(), anyio.Event()

        async def read() -> None:
            started.set()
            with pytest.raises(StreamClosed):
                await server.receive()
            ended.set()

        async def answer_the_close() -> None:  # over websocket the closing handshake needs the peer
            with pytest.raises(StreamClosed):
                await client.receive()

        tg.start_soon(read)
        tg.start_soon(answer_the_close)
        await started.wait()
        await checkpoint()
        await server.aclose()
        await server.aclose()
        await ended.wait()
        for use in (server.receive(), server.send([b"x"])):
            with pytest.raises(StreamClosed):
                await use


@pytest.mark.parametrize("kind", ALL)
async def test_a_cancelled_receive_loses_no_frame(kind: str) -> None:
    received = []
    async with pair(kind) as (client, server):
        for number in range(50):
            with anyio.CancelScope() as scope:
                scope.cancel()
                received.append(await server.receive())  # it may still return a frame that is already there
            await client.send([b"%d" % number])
        received += await receive_all(server, 50 - len(received))
    assert received == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("kind", ["stdio", "stdio-threads"])
async def test_a_cancelled_send_leaves_whole_frames_in_order(kind: str) -> None:
    first, second = b"1" * MIB, b"2" * MIB
    async with pair(kind) as (client, server):
        async with anyio.create_task_group() as tg:
            tg.start_soon(client.send, [first])
            await anyio.wait_all_tasks_blocked()
            tg.cancel_scope.cancel()
        async with anyio.create_task_group() as tg:
            tg.start_soon(client.send, [second])
            assert await receive_all(server, 2) == [first, second]


@pytest.mark.parametrize("kind", ALL)
async def test_many_frames_without_a_wait_let_other_tasks_run(kind: str) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with pair(kind) as (client, server):
        await client.send([b"x"] * 1000)
        await server.receive()
        async with anyio.create_task_group() as tg:
            tg.start_soon(other)
            await receive_all(server, 999)
            tg.cancel_scope.cancel()
    assert turns >= 10 or kind == "websocket"  # the library answers at once while its own queue of 16 lasts


async def test_a_memory_sender_waits_while_eight_mebibytes_are_unread() -> None:
    async with pair("memory") as (client, server), anyio.create_task_group() as tg:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(20):
                await client.send([b"x" * MIB])
                sent += 1

        tg.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert sent == 8
        await receive_all(server, 20)
    assert sent == 20


async def test_closing_ends_a_blocked_memory_send() -> None:
    async with pair("memory") as (client, server), anyio.create_task_group() as tg:

        async def send() -> None:
            with pytest.raises(StreamClosed):
                await client.send([b"x" * MIB] * 20)

        tg.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        await server.aclose()
