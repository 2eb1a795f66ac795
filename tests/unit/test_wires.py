"""Connections are used again however many requests run at a time; a body may be taken as it comes, in its turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from app_server.net import Net
from app_server.wires.chunks import ChunkJoiner
from app_server.wires.stream import WireStream
from tests.support.http_wire import HttpWire

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
HI = b"2\r\nHi\r\n"
END = b"0\r\n\r\n"


class Upstream:
    """Counts connections; answers a request when `answers` says so. `hangs_up`: behind each answer."""

    def __init__(self, *, hangs_up: bool = False) -> None:
        self.connections, self.asked, self.hangs_up = 0, 0, hangs_up
        self.answers = anyio.Event()
        self.more = anyio.Event()
        self.url = ""

    async def serve(self, stream: SocketStream) -> None:
        self.connections += 1
        wire = HttpWire(stream)
        async with stream:
            while await wire.read_request() is not None:
                self.asked += 1
                await self.answers.wait()
                await wire.send(HEAD + b"\r\n" + HI)
                await self.more.wait()
                await wire.send(HI + HI + END)
                if self.hangs_up:
                    return


@asynccontextmanager
async def running(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Net]:
    monkeypatch.setenv("no_proxy", "*")
    net = Net()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, upstream.serve)
        upstream.url = f"http://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/"
        with anyio.fail_after(10):
            yield net
        await net.aclose()
        tasks.cancel_scope.cancel()


async def ask(net: Net, url: str) -> bytes:
    async with net.client().stream("POST", url, content=b"?") as response:
        return b"".join([piece async for piece in response.aiter_bytes()])


@pytest.mark.anyio
async def test_fifty_requests_at_a_time_use_the_connections_of_the_fifty_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream = Upstream()
    upstream.more.set()
    async with running(upstream, monkeypatch) as net:
        seen = []
        for wanted in (50, 100):
            upstream.answers = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(ask, net, upstream.url)
                while upstream.asked < wanted:
                    await anyio.lowlevel.checkpoint()
                upstream.answers.set()
            seen.append(upstream.connections)
    assert seen == [50, 50]


@pytest.mark.anyio
async def test_a_connection_that_the_provider_closed_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream(hangs_up=True)
    upstream.more.set()
    upstream.answers.set()
    async with running(upstream, monkeypatch) as net:
        bodies = []
        for _ in range(3):
            bodies.append(await ask(net, upstream.url))
            await anyio.wait_all_tasks_blocked()
    assert (bodies, upstream.connections) == ([b"HiHiHi"] * 3, 3)


@pytest.mark.anyio
async def test_a_request_that_is_given_up_leaves_no_connection_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    upstream.answers.set()
    async with running(upstream, monkeypatch) as net:
        with anyio.move_on_after(0.05):
            await ask(net, upstream.url)
        upstream.more.set()
        assert (await ask(net, upstream.url), upstream.connections) == (b"HiHiHi", 2)


@pytest.mark.anyio
async def test_silence_ends_a_read_of_a_tapped_body_too(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    upstream.answers.set()
    taken: list[bytes] = []

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    async with running(upstream, monkeypatch) as net:
        request = net.client().build_request("POST", upstream.url, content=b"?", timeout=httpx.Timeout(0.2))
        response = await net.client().send(request, stream=True)
        pieces = response.aiter_bytes()
        stream = response.extensions["network_stream"]
        assert isinstance(stream, WireStream)
        assert (await anext(pieces), stream.tap(take, 0), stream.tap(take, 2)) == (b"Hi", False, True)
        with pytest.raises(httpx.ReadTimeout):
            await anext(pieces)
        await response.aclose()
    assert taken == []


def tapped(head: bytes, seen_bytes: int) -> tuple[list[bytes], list[bytes], bool]:
    """What is handed on of each read, what the tap took, and whether it was let; it takes no `NO`."""
    joiner, taken = ChunkJoiner(), list[bytes]()

    def take(data: bytes) -> bool:
        taken.append(data)
        return data != b"NO"

    joiner.request_sent()
    handed = [joiner.feed(head + b"\r\n" + HI)[len(head) + 2 :]]
    let = joiner.tap(take, seen_bytes)
    handed += [joiner.feed(data) for data in (b"4\r\nab", b"cd\r\n", b"2\r\nNO\r\n", HI, END)]
    return handed, taken, let


def test_a_tap_takes_the_body_until_it_takes_no_more_and_the_end_is_handed_on() -> None:
    assert tapped(HEAD, 2) == ([HI, b"", b"", b"2\r\nNO\r\n", HI, END], [b"ab", b"cd", b"NO"], True)


@pytest.mark.parametrize(
    ("head", "seen_bytes"),
    [
        (HEAD, 0),
        (HEAD + b"Content-Encoding: gzip\r\n", 2),
    ],
)
def test_nothing_is_tapped_before_all_was_read_or_of_what_is_encoded(head: bytes, seen_bytes: int) -> None:
    untouched = [HI, b"2\r\nab\r\n", b"2\r\ncd\r\n", b"2\r\nNO\r\n", HI, END]
    assert tapped(head, seen_bytes) == (untouched, [], False)
