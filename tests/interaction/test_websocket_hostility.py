"""Hostile websockets at a real listener: each costs its sender the connection, and nobody else anything.

What the listener answers to plain HTTP, a wrong token and an `Origin` is in `tests/unit/test_transport_websocket.py`,
rights and revoking in `test_listeners.py`. Here are floods, halves and sizes. Where memory counts, the server is a
child process and the figures are the kernel's.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app_server.auth.listener import ListenerGate
from app_server.auth.listener_tokens import read_token_file
from app_server.clock import SystemClock
from app_server.transport.address import ListenAddress
from app_server.transport.websocket import serve_websocket
from tests.interaction.conversation import Client, run_turn, start_thread
from tests.support.client import ws_client
from tests.support.server import make_home, running
from tests.support.streams import INHERITED
from tests.support.upstream import ScriptedUpstream, item_added, item_done, sse, text_delta

pytestmark = pytest.mark.anyio
NOWHERE = "http://127.0.0.1:9/v1"
MIB = 1024 * 1024
DELTA = "item/agentMessage/delta"
ONLY_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory and files are read from /proc")
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)


@asynccontextmanager
async def listening(folder: Path, **options: object) -> AsyncIterator[ListenAddress]:
    """A server in this process at a port of its own."""
    settings = {"routes": {}, "ready": lambda: True, "close_timeout_s": 0.2, **options}
    with anyio.fail_after(60):
        async with (
            running(make_home(folder, NOWHERE)) as app,
            serve_websocket("127.0.0.1", 0, app.serve, **settings) as bound,  # type: ignore[arg-type] # options vary
        ):
            yield bound


class Child:
    """A server in a process of its own: where it listens, and what the kernel says of it."""

    def __init__(self, url: str, pid: int) -> None:
        self.url, self._pid = url, pid

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", int(self.url.rpartition(":")[2])

    @property
    def memory_bytes(self) -> int:
        status = Path(f"/proc/{self._pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024

    @property
    def files(self) -> int:
        return len(os.listdir(f"/proc/{self._pid}/fd"))


@asynccontextmanager
async def child(folder: Path) -> AsyncIterator[Child]:
    home = make_home(folder, NOWHERE)
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    argv = [sys.executable, "-m", "app_server", "--listen", "ws://127.0.0.1:0"]
    env = {**inherited, "APP_SERVER_HOME": str(home.home), "HOME": str(folder)}
    with anyio.fail_after(60):
        async with await anyio.open_process(argv, cwd=home.cwd, env=env, stdout=None) as process:
            try:
                assert process.stderr is not None
                said = b""
                while b"readyz" not in said:
                    said += await process.stderr.receive()
                yield Child(said.decode().split("listening on ")[1].split()[0], process.pid)
            finally:
                process.terminate()


async def served(client: Client) -> None:
    """One round trip."""
    await client.request("thread/loaded/list", {})


@contextmanager
def hung_up_on(stream: ByteStream) -> Iterator[None]:
    """The block writes or reads until the server has closed the connection; that must happen."""
    with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)), anyio.fail_after(20):
        yield


def frame(opcode: int, payload: bytes, *, fin: bool = True, size_bytes: int | None = None) -> bytes:
    """A masked frame (with a mask that changes nothing); `size_bytes` is what its head says."""
    size = len(payload) if size_bytes is None else size_bytes
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack("!BH", 0xFE, size)
    else:
        head += struct.pack("!BQ", 0xFF, size)
    return head + bytes(4) + payload


TEXT, BINARY, PING = 1, 2, 9


@asynccontextmanager
async def raw(host: str, port: int) -> AsyncIterator[ByteStream]:
    """An upgraded connection without a client behind it."""
    async with await anyio.connect_tcp(host, port) as stream:
        await stream.send(UPGRADE + b"\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += await stream.receive()
        assert head.startswith(b"HTTP/1.1 101 ")
        yield stream


# -- the handshake


@pytest.mark.parametrize("sent", [b"", b"GET / HT", UPGRADE, UPGRADE + b"X-Half: "])
async def test_a_socket_that_does_not_finish_its_request_is_closed_in_time(tmp_path: Path, sent: bytes) -> None:
    async with listening(tmp_path, open_timeout_s=0.5) as bound, ws_client(str(bound)) as other:
        await other.initialize()
        async with await anyio.connect_tcp(bound.host, bound.port) as stream:
            if sent:
                await stream.send(sent)
            with hung_up_on(stream):
                while True:
                    await stream.receive()
        await served(other)


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        pytest.param(b"GET /", b"a" * 4096, id="a path without end"),
        pytest.param(UPGRADE + b"X-Long: ", b"a" * 4096, id="a header without end"),
        pytest.param(UPGRADE, b"X-Another: 1\r\n" * 100, id="headers without end"),
    ],
)
async def test_a_request_without_end_is_refused_and_its_connection_closed_in_time(
    tmp_path: Path, begin: bytes, more: bytes
) -> None:
    async with listening(tmp_path, open_timeout_s=0.5) as bound, ws_client(str(bound)) as other:
        await other.initialize()
        async with await anyio.connect_tcp(bound.host, bound.port) as stream:
            await stream.send(begin + more * 3)
            answer = await stream.receive()
            with hung_up_on(stream):
                while True:
                    await stream.send(more)
        await served(other)
    assert answer.startswith(b"HTTP/1.1 4")


@ONLY_LINUX
async def test_a_thousand_connections_that_are_dropped_leave_no_file_and_no_memory(tmp_path: Path) -> None:
    async with child(tmp_path) as server, ws_client(server.url) as client:
        await client.initialize()
        await served(client)
        files = server.files
        await drop_many(server.address, 50)  # what is loaded at the first use is loaded
        await drained(client, lambda: server.files <= files)
        memory_bytes = server.memory_bytes
        await drop_many(server.address, 250)
        await drained(client, lambda: server.files <= files)
        assert server.memory_bytes - memory_bytes < 12 * MIB


async def test_dropped_connections_leave_no_task(tmp_path: Path) -> None:
    async with listening(tmp_path) as bound, ws_client(str(bound)) as client:
        await client.initialize()
        await start_thread(client, modelProvider="offline")
        tasks = len(asyncio.all_tasks())
        await drop_many((bound.host, bound.port), 10)
        await drained(client, lambda: len(asyncio.all_tasks()) <= tasks)


async def drop_many(address: tuple[str, int], rounds: int) -> None:
    """Four connections a round: dropped at once, in the header, as a websocket, and as a client."""
    for _ in range(rounds):
        for sent in (b"", UPGRADE):
            async with await anyio.connect_tcp(*address) as stream:
                if sent:
                    await stream.send(sent)
        async with raw(*address) as stream:
            stream.extra(SocketAttribute.raw_socket).setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # the end of the block is a reset, not a farewell
        async with raw(*address) as stream:
            hello = b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"a","version":"1"}}}'
            await stream.send(frame(TEXT, hello))
            await stream.receive()


async def drained(client: Client, done: Callable[[], bool]) -> None:
    """Wait, at the pace of a client that goes on, until the server has let go of what was dropped."""
    with anyio.fail_after(20):
        while not done():
            await served(client)


# -- frames


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(TEXT, b"a", size_bytes=1 << 30), id="a frame that says it is large"),
        pytest.param(frame(TEXT, b"a" * (MIB + 1)), id="a message over the limit"),
        pytest.param(
            frame(TEXT, b"a" * (MIB // 2), fin=False) + frame(0, b"a" * (MIB // 2), fin=False) + frame(0, b"a"),
            id="fragments over the limit",
        ),
    ],
)
async def test_a_message_over_the_limit_ends_its_connection_with_1009_and_no_other(tmp_path: Path, sent: bytes) -> None:
    async with listening(tmp_path, max_frame_bytes=MIB) as bound, ws_client(str(bound)) as other:
        await other.initialize()
        async with raw(bound.host, bound.port) as stream:
            await stream.send(sent)
            answer = await stream.receive()
        await served(other)
    assert (answer[0], struct.unpack("!H", answer[2:4])[0]) == (0x88, 1009)


async def test_fragments_without_end_end_their_connection_and_no_other(tmp_path: Path) -> None:
    async with listening(tmp_path) as bound, ws_client(str(bound)) as other:
        await other.initialize()
        async with raw(bound.host, bound.port) as stream:
            await stream.send(frame(TEXT, b"", fin=False))
            with hung_up_on(stream):
                for _ in range(100_000):
                    await stream.send(frame(0, b"", fin=False) * 100)
        await served(other)


async def test_a_flood_of_binary_messages_is_dropped_and_the_connection_lives(tmp_path: Path) -> None:
    async with listening(tmp_path) as bound, ws_client(str(bound)) as client:
        await client.initialize()
        for _ in range(1000):
            await client.stream.connection.send(b'{"id":1,"method":"thread/loaded/list"}')
        await served(client)
        replies = [one for one in client.incoming if "method" not in one]
    assert len(replies) == 2


@ONLY_LINUX
async def test_a_flood_of_pings_whose_answers_nobody_reads_is_held_back_and_each_is_answered_in_the_end(
    tmp_path: Path,
) -> None:
    pings, at_a_time = 200_000, 1000
    sent = 0

    async def flood(stream: ByteStream) -> None:
        nonlocal sent
        for _ in range(pings // at_a_time):
            await stream.send(frame(PING, b"x" * 100) * at_a_time)
            sent += at_a_time

    async with child(tmp_path) as server, ws_client(server.url) as other, raw(*server.address) as stream:
        await other.initialize()
        await served(other)
        memory_bytes = server.memory_bytes
        stream.extra(SocketAttribute.raw_socket).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(flood, stream)
            seen, quiet = -1, 0
            while quiet < 30 and sent < pings:  # others are served all the while
                quiet, seen = (quiet + 1 if sent == seen else 0), sent
                await served(other)
            assert sent < pings
            assert server.memory_bytes - memory_bytes < 12 * MIB
            unread_bytes = pings * 102
            while unread_bytes > 0:
                unread_bytes -= len(await stream.receive())
        await served(other)
    assert (sent, unread_bytes) == (pings, 0)


# -- readers


async def test_a_client_that_never_reads_costs_the_others_nothing_and_gets_what_must_arrive(tmp_path: Path) -> None:
    pieces = ["y" * 2000] * 3000
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        serve_websocket("127.0.0.1", 0, app.serve, routes={}, ready=lambda: True) as bound,
        ws_client(str(bound)) as reader,
        raw(bound.host, bound.port) as sleeper,
    ):
        await reader.initialize(optOutNotificationMethods=[DELTA])
        thread_id = await start_thread(reader)
        hello = b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"a","version":"1"}}}'
        resume = b'{"id":2,"method":"thread/resume","params":{"threadId":"%s"}}' % thread_id.encode()
        await sleeper.send(frame(TEXT, hello) + frame(TEXT, resume))
        await until(sleeper, b'"id":2')
        whole = "".join(pieces)
        item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
        done = item_done({**item, "content": [{"type": "output_text", "text": whole}]})
        up.queue.append(sse("r1", item_added(item), *(text_delta("m1", piece) for piece in pieces), done))
        turn = await run_turn(reader, thread_id)
        got = await until(sleeper, b'"turn/completed"')
    assert turn["status"] == "completed"
    assert whole.encode() in got
    assert 0 < got.count(DELTA.encode()) < len(pieces)


async def until(stream: ByteStream, mark: bytes) -> bytes:
    """Read until this was read."""
    got = bytearray()
    while mark not in got[-400_000:]:
        got += await stream.receive()
    return bytes(got)


async def test_a_revoked_token_ends_a_connection_that_never_reads(tmp_path: Path) -> None:
    tokens = "ann one\nbob two\n"
    gate = ListenerGate(lambda: read_token_file(tokens, "f"), SystemClock())
    async with (
        listening(tmp_path, gate=gate) as bound,
        ws_client(str(bound), {"Authorization": "Bearer two"}) as bob,
        connect(str(bound), additional_headers={"Authorization": "Bearer one"}, max_queue=1) as ann,
    ):
        await bob.initialize()
        for number in range(2000):
            await ann.send(f'{{"id":{number},"method":"nobody/knows/{"x" * 500}"}}')
        tokens = "bob two\n"
        await gate.refresh()
        with pytest.raises(ConnectionClosed):
            async for _ in forever(ann.recv):
                pass
        await served(bob)


async def forever(step: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    while True:
        await step()
        yield
