"""Chunks of an event stream are joined as they come, whatever the cuts; anything else passes untouched."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import h11
import pytest
from anyio.abc import SocketAttribute, SocketStream

from app_server.net import Net
from app_server.wires.chunks import MAX_HEAD_BYTES, MAX_SIZE_LINE_BYTES, ChunkJoiner
from tests.support.http_wire import HttpWire

EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
)
CHUNKS = b'6\r\ndata: \r\n4;name="x"\r\nHi\r\n\r\n00A \r\n0123456789\r\n'
BODY = b"data: Hi\r\n0123456789"
END = b"0\r\nserver-timing: none\r\n\r\n"


def joined(*pieces: bytes) -> list[bytes]:
    """What is handed on for each read, after a request."""
    joiner = ChunkJoiner()
    joiner.request_sent()
    return [joiner.feed(piece) for piece in pieces]


def read_by_h11(pieces: Iterable[bytes]) -> tuple[list[bytes], bool]:
    """The body in the pieces that the HTTP library sees, and whether it came to its end. Raises RemoteProtocolError."""
    connection = h11.Connection(our_role=h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    body: list[bytes] = []
    for piece in pieces:
        connection.receive_data(piece) if piece else None
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.EndOfMessage):
                return body, True
            if isinstance(event, h11.Data):
                body.append(bytes(event.data))
    return body, False


def test_all_that_one_read_brought_is_one_chunk() -> None:
    assert joined(EVENT_STREAM, CHUNKS, END) == [EVENT_STREAM, b"14\r\n" + BODY + b"\r\n", END]


@pytest.mark.parametrize("size", range(1, 60))
def test_any_cuts_give_the_same_body_at_once(size: int) -> None:
    stream = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + EVENT_STREAM + CHUNKS + END
    pieces = joined(*(stream[at : at + size] for at in range(0, len(stream), size)))
    body, whole = read_by_h11(pieces)
    assert (b"".join(body), whole) == (BODY, True)


def test_a_part_of_a_chunk_is_handed_on_without_waiting_for_the_rest() -> None:
    assert joined(EVENT_STREAM, b"5\r\nab", b"cde", b"\r", b"\n3\r\nfgh\r\n") == [
        EVENT_STREAM, b"2\r\nab\r\n", b"3\r\ncde\r\n", b"", b"3\r\nfgh\r\n",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 12\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * MAX_HEAD_BYTES + EVENT_STREAM[15:],
        b"not HTTP at all\r\n\r\n",
    ],
)
def test_every_other_answer_passes_as_it_is(head: bytes) -> None:
    assert joined(head[:-1], head[-1:] + CHUNKS, CHUNKS, END) == [head[:-1], head[-1:] + CHUNKS, CHUNKS, END]


def test_the_next_answer_of_a_connection_is_looked_at_anew() -> None:
    joiner = ChunkJoiner()
    joiner.request_sent()
    first = [joiner.feed(b"HTTP/1.1 204 No Content\r\n\r\n"), joiner.feed(CHUNKS)]
    joiner.request_sent()
    second = joiner.feed(EVENT_STREAM + CHUNKS)
    assert [*first, second] == [b"HTTP/1.1 204 No Content\r\n\r\n", CHUNKS, EVENT_STREAM + b"14\r\n" + BODY + b"\r\n"]


@pytest.mark.parametrize(
    "broken",
    [
        b"xyz\r\nabc\r\n",
        b"-3\r\nabc\r\n",
        b"1_0\r\nabc\r\n",
        b"\r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"1" * (MAX_SIZE_LINE_BYTES + 1),
    ],
)
def test_what_is_no_chunk_is_a_protocol_error_behind_what_came_before(broken: bytes) -> None:
    pieces = joined(EVENT_STREAM, b"2\r\nHi\r\n" + broken)
    assert b"\r\nHi" in pieces[1]
    with pytest.raises(h11.RemoteProtocolError):
        read_by_h11(pieces)


@pytest.mark.anyio
@pytest.mark.parametrize("proxied", [False, True])
async def test_the_client_reads_an_event_stream_in_few_pieces_and_uses_its_connection_again(
    proxied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the guard of the one way into httpx that is not public: see `quicken`."""
    answered: list[str] = []
    connections = 0

    async def serve(stream: SocketStream) -> None:
        nonlocal connections
        connections += 1
        wire = HttpWire(stream)
        async with stream:
            while (request := await wire.read_request()) is not None:
                answered.append(request.target)
                await wire.send(EVENT_STREAM + b"2\r\nHi\r\n" * 1000 + b"0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        place = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, f"http://{place}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.setenv(name, "" if proxied else "*")
        url = "http://model.example/v1" if proxied else f"http://{place}/v1"
        net = Net()
        pieces = [await _pieces(net, url) for _ in range(2)]
        await net.aclose()
        tasks.cancel_scope.cancel()
    assert answered == ["http://model.example/v1" if proxied else "/v1"] * 2
    assert [b"".join(one) for one in pieces] == [b"Hi" * 1000] * 2
    assert (connections, max(map(len, pieces)) < 10) == (1, True)


async def _pieces(net: Net, url: str) -> list[bytes]:
    async with net.client().stream("GET", url) as response:
        return [piece async for piece in response.aiter_bytes()]
