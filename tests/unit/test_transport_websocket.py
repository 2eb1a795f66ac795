"""The websocket listener: its address, its plain HTTP answers, who may connect, and how it ends."""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode

from app_server.errors import ConfigurationError
from app_server.transport.address import (
    ListenAddress,
    control_socket,
    is_loopback,
    listen_addresses,
    listen_banner,
    parse_listen,
)
from app_server.transport.base import MessageStream, StreamClosed
from app_server.transport.http import HttpReply, HttpRequest, ListenPolicy, Routed, Upgrade, Visitor, plan_answer
from app_server.transport.websocket import WebsocketStream, serve_websocket, text_message

UPGRADE = {"connection": "keep-alive, Upgrade", "upgrade": "WebSocket"}
NOT_WEBSOCKET = HttpReply(status=400, body=b"This address speaks websocket; connect to it with a websocket client.\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("stdio://", ListenAddress(scheme="stdio")),
        ("ws://127.0.0.1:0", ListenAddress(scheme="ws", host="127.0.0.1", port=0)),
        ("ws://localhost:8080/", ListenAddress(scheme="ws", host="localhost", port=8080)),
        ("ws://[::1]:0", ListenAddress(scheme="ws", host="::1", port=0)),
        ("ws://0.0.0.0:65535", ListenAddress(scheme="ws", host="0.0.0.0", port=65535)),
        ("unix://", ListenAddress(scheme="unix")),
        ("unix:///run/a b.sock", ListenAddress(scheme="unix", path=Path("/run/a b.sock"))),
    ],
)
def test_a_listen_address_is_read_and_written_back(text: str, address: ListenAddress) -> None:
    assert parse_listen(text) == address
    assert str(address) == text.removesuffix("/") if address.scheme == "ws" else text


@pytest.mark.parametrize(
    "text",
    [
        "", "stdio", "stdio://x", "ws://", "ws://127.0.0.1", "ws://:80", "ws://127.0.0.1:port", "ws://127.0.0.1:65536",
        "ws://127.0.0.1:0/path", "ws://127.0.0.1:0?x", "ws://127.0.0.1:0#x", "ws://me@127.0.0.1:0", "ws://[::1:0",
        "wss://127.0.0.1:0", "http://127.0.0.1:0", "127.0.0.1:80", "unix:", "unix:/run/x", "unix:///run/\0",
    ],
)  # fmt: skip
def test_any_other_listen_address_is_refused_with_the_known_forms(text: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        parse_listen(text)
    assert error.value.message == (
        f'The listen address "{text}" is not known; write stdio://, unix://, unix://PATH or ws://HOST:PORT, '
        "for example ws://127.0.0.1:0."
    )


def test_a_relative_socket_path_counts_from_the_working_folder() -> None:
    assert parse_listen("unix://run/a.sock") == ListenAddress(scheme="unix", path=Path.cwd() / "run" / "a.sock")


def test_several_addresses_are_kept_in_order_and_once() -> None:
    two = ("ws://127.0.0.1:0", "unix:///run/a.sock")
    assert listen_addresses([*two, two[0]]) == tuple(map(parse_listen, two))
    assert listen_addresses([]) == listen_addresses(["stdio://", "stdio://"]) == (ListenAddress(scheme="stdio"),)


@pytest.mark.parametrize("others", [["ws://127.0.0.1:0"], ["unix://", "ws://127.0.0.1:0"]])
def test_stdio_stands_alone(others: list[str]) -> None:
    with pytest.raises(ConfigurationError) as error:
        listen_addresses([*others, "stdio://"])
    assert error.value.message == (
        "--listen stdio:// serves one client and stands alone; leave it out, or leave the other addresses out."
    )


def test_the_default_socket_is_where_terminal_clients_look() -> None:
    assert control_socket(Path("/h")) == Path("/h/app-server-control/app-server-control.sock")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("example.com", False), ("", False),
    ],
)  # fmt: skip
def test_only_loopback_addresses_count_as_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_banner_names_the_websocket_and_the_probe() -> None:
    assert listen_banner(ListenAddress(scheme="ws", host="::1", port=7)) == (
        "listening on ws://[::1]:7 (ready: http://[::1]:7/readyz)"
    )
    assert listen_banner(ListenAddress(scheme="unix", path=Path("/run/a"))) == "listening on unix:///run/a"


async def route(_request: HttpRequest) -> HttpReply:
    return HttpReply()


async def inner_route(_request: HttpRequest) -> HttpReply:
    return HttpReply()


class FakeGate:
    """Lets in who brings the token t, as ann, until `revoke`."""

    def __init__(self) -> None:
        self.inside: list[Callable[[], None]] = []

    async def admit(self, headers: Mapping[str, str]) -> Visitor | str:
        return ANN if headers.get("authorization") == "Bearer t" else "Send the token as a bearer."

    @contextmanager
    def watching(self, visitor: Visitor, revoked: Callable[[], None]) -> Iterator[None]:
        assert visitor == ANN
        self.inside.append(revoked)
        try:
            yield
        finally:
            self.inside.remove(revoked)

    def revoke(self) -> None:
        for revoked in self.inside:
            revoked()


ANN = Visitor(principal="ann", key=b"k")
REFUSED = HttpReply(status=401, headers={"WWW-Authenticate": "Bearer"}, body=b"Send the token as a bearer.\n")
NOT_GET = HttpReply(status=405, headers={"Allow": "GET"})


@pytest.mark.parametrize(
    ("method", "target", "headers", "answer"),
    [
        ("GET", "/healthz", {}, HttpReply(status=200)),
        ("GET", "/readyz", {}, HttpReply(status=200)),
        ("HEAD", "/readyz?x=1", {}, HttpReply(status=200)),
        ("POST", "/healthz", {}, NOT_GET),
        ("GET", "/nope", {}, NOT_WEBSOCKET),
        ("GET", "/", {}, NOT_WEBSOCKET),
        ("GET", "/", UPGRADE, Upgrade()),
        ("GET", "/any/path?x", UPGRADE, Upgrade()),
        ("POST", "/", UPGRADE, NOT_GET),
        ("GET", "/", {"upgrade": "websocket"}, NOT_WEBSOCKET),
        ("GET", "/", {"connection": "upgrade", "upgrade": "h2c"}, NOT_WEBSOCKET),
        *(
            (method, path, {**headers, "origin": "http://127.0.0.1"}, HttpReply(status=403))
            for method, path, headers in [
                ("GET", "/healthz", {}), ("GET", "/readyz", {}), ("POST", "/healthz", {}),
                ("GET", "/nope", {}), ("GET", "/", UPGRADE), ("GET", "/pictures/1", {}),
            ]
        ),
        ("GET", "/", {**UPGRADE, "origin": ""}, HttpReply(status=403)),
        ("GET", "/", {**UPGRADE, "origin": "http://good, http://bad"}, HttpReply(status=403)),
        ("GET", "/", {**UPGRADE, "origin": "http://good"}, Upgrade()),
        (
            "GET", "/pictures/1?size=2", {},
            Routed(route=route, request=HttpRequest(path="/pictures/1", query="size=2", headers={})),
        ),
        (
            "GET", "/pictures/small/1", {},
            Routed(route=inner_route, request=HttpRequest(path="/pictures/small/1", query="", headers={})),
        ),
        ("POST", "/pictures/1", {}, NOT_GET),
        (
            "GET", "/signed/1?sig=x", {},
            Routed(route=route, request=HttpRequest(path="/signed/1", query="sig=x", headers={})),
        ),
        ("GET", "/signed/1", UPGRADE, Upgrade()),
        ("GET", "/signed/1", {"origin": "http://bad"}, HttpReply(status=403)),
    ],
)  # fmt: skip
@pytest.mark.anyio
async def test_every_request_gets_its_answer(
    method: str, target: str, headers: dict[str, str], answer: Upgrade | Routed | HttpReply
) -> None:
    policy = ListenPolicy(
        routes={"/pictures/": route, "/pictures/small/": inner_route},
        ready=lambda: True,
        allowed_origins=frozenset({"http://good"}),
        signed_routes={"/signed/": route},
    )
    planned = await plan_answer(policy, method, target, headers)
    if isinstance(planned, Routed):
        planned = replace(planned, request=replace(planned.request, headers={}))
    assert planned == answer


@pytest.mark.parametrize(
    ("target", "headers", "answer"),
    [
        ("/healthz", {}, HttpReply(status=200)),
        ("/readyz", {}, HttpReply(status=503)),
        ("/", UPGRADE, REFUSED),
        ("/pictures/1", {}, REFUSED),
        ("/nope", {}, REFUSED),
        ("/", {**UPGRADE, "authorization": "Bearer wrong"}, REFUSED),
        ("/", {**UPGRADE, "authorization": "Bearer t"}, Upgrade(visitor=ANN)),
        ("/signed/1", {}, Routed(route=route, request=HttpRequest(path="/signed/1", query="", headers={}))),
        ("/signed/1", UPGRADE, REFUSED),
        ("/", {**UPGRADE, "authorization": "Bearer t", "origin": "null"}, HttpReply(status=403)),
    ],
)
@pytest.mark.anyio
async def test_a_login_is_asked_for_everything_but_the_probes_and_signed_routes(
    target: str, headers: dict[str, str], answer: Upgrade | Routed | HttpReply
) -> None:
    policy = ListenPolicy(
        routes={"/pictures/": route}, ready=lambda: False, gate=FakeGate(), signed_routes={"/signed/": route}
    )
    assert await plan_answer(policy, "GET", target, headers) == answer


async def echo(stream: MessageStream) -> None:
    try:
        while True:
            await stream.send([await stream.receive()])
    except StreamClosed:
        pass


@asynccontextmanager
async def listening(
    on_connection: Callable[[MessageStream], object] = echo, **options: object
) -> AsyncIterator[ListenAddress]:
    settings = {"routes": {}, "ready": lambda: True, "close_timeout_s": 0.2, **options}
    with anyio.fail_after(20):
        async with serve_websocket("127.0.0.1", 0, on_connection, **settings) as address:  # type: ignore[arg-type] # options vary
            yield address


async def raw(address: ListenAddress, request: str) -> tuple[int, dict[str, str], bytes]:
    """Send a request as it stands; status, headers and body until the server hangs up."""
    async with await anyio.connect_tcp(address.host, address.port) as stream:
        await stream.send(request.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        answer = b"".join([chunk async for chunk in stream])
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(status.split()[1]), headers, body


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("request_text", "status", "body"),
    [
        ("GET /readyz HTTP/1.1\nHost: x", 200, b""),
        ("GET /healthz HTTP/1.1\nHost: x", 200, b""),
        ("HEAD /healthz HTTP/1.1\nHost: x", 200, b""),
        ("GET /healthz HTTP/1.1\nHost: x\nOrigin: http://x", 403, b""),
        ("GET /nope HTTP/1.1\nHost: x", 400, NOT_WEBSOCKET.body),
        ("POST /healthz HTTP/1.1\nHost: x\nContent-Length: 0", 405, b""),
    ],
)
async def test_plain_http_is_answered_and_the_connection_closed(request_text: str, status: int, body: bytes) -> None:
    async with listening() as address:
        got, headers, got_body = await raw(address, request_text)
    assert (got, got_body, headers["content-length"]) == (status, body, str(len(body)))


@pytest.mark.anyio
async def test_readyz_says_503_until_the_server_is_ready() -> None:
    ready = False
    async with listening(ready=lambda: ready) as address:
        before = await raw(address, "GET /readyz HTTP/1.1\nHost: x")
        ready = True
        after = await raw(address, "GET /readyz HTTP/1.1\nHost: x")
    assert (before[0], after[0]) == (503, 200)


@pytest.mark.anyio
async def test_a_route_answers_with_its_bytes_and_headers() -> None:
    async def picture(request: HttpRequest) -> HttpReply:
        seen = {"path": request.path, "query": request.query, "host": request.headers["host"]}
        return HttpReply(headers={"Content-Type": "image/png"}, body=json.dumps(seen).encode() + b"\x89" * 300_000)

    async with listening(routes={"/pictures/": picture}) as address:
        status, headers, body = await raw(address, "GET /pictures/a?b=c HTTP/1.1\nHost: x")
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body == b'{"path": "/pictures/a", "query": "b=c", "host": "x"}' + b"\x89" * 300_000


async def ask(client: ClientConnection, text: str) -> str:
    await client.send(text)
    return str(await client.recv())


@pytest.mark.anyio
async def test_any_path_upgrades_and_binary_messages_are_dropped() -> None:
    async with listening() as address, connect(f"{address}/any/path") as client:
        await client.send(b"binary")
        assert await ask(client, "text ä") == "text ä"
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.anyio
async def test_an_origin_is_refused_on_the_upgrade_unless_it_is_allowed() -> None:
    async with listening(allowed_origins=frozenset({"http://good"})) as address:
        with pytest.raises(InvalidStatus) as refused:
            await connect(str(address), origin="http://bad")  # type: ignore[arg-type] # a NewType of str
        async with connect(str(address), origin="http://good") as client:  # type: ignore[arg-type] # a NewType of str
            assert await ask(client, "x") == "x"
    assert refused.value.response.status_code == 403


@pytest.mark.anyio
async def test_a_wrong_token_is_told_why() -> None:
    async with listening(gate=FakeGate()) as address:
        with pytest.raises(InvalidStatus) as refused:
            await connect(str(address))
        async with connect(str(address), additional_headers={"Authorization": "Bearer t"}) as client:
            assert await ask(client, "x") == "x"
    assert (refused.value.response.status_code, refused.value.response.body) == (401, REFUSED.body)


@pytest.mark.anyio
async def test_a_stream_carries_the_name_of_its_login_and_ends_when_that_is_revoked() -> None:
    gate, names, cancelled = FakeGate(), [], anyio.Event()

    async def on_connection(stream: MessageStream) -> None:
        assert isinstance(stream, WebsocketStream)
        names.append(stream.principal)
        gate.revoke()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with listening(on_connection, gate=gate) as address:
        async with connect(str(address), additional_headers={"Authorization": "Bearer t"}) as client:
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
        await cancelled.wait()
    assert (names, gate.inside) == (["ann"], [])
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "the login of this connection was revoked")


@pytest.mark.anyio
async def test_the_compression_that_terminal_clients_offer_is_ignored() -> None:
    async with listening() as address:
        offer = {"x-codex-app-server-compression": "zstd-stream-v1"}
        async with connect(str(address), additional_headers=offer) as client:
            assert await ask(client, "plain") == "plain"
            assert client.response is not None
            assert "x-codex-app-server-compression" not in client.response.headers


@pytest.mark.anyio
async def test_a_text_message_that_is_not_utf8_closes_its_connection_only() -> None:
    async with listening() as address, connect(str(address)) as good, connect(str(address)) as bad:
        await bad.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await bad.recv()
        assert await ask(good, "x") == "x"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007


@pytest.mark.anyio
async def test_other_machines_are_not_let_in_without_a_login() -> None:
    with pytest.raises(ConfigurationError) as error:
        async with serve_websocket("0.0.0.0", 0, echo, routes={}, ready=lambda: True):
            pass
    assert error.value.message == (
        "Listening on 0.0.0.0 would let other machines in without a login; listen on 127.0.0.1, or ask for a token "
        "with --ws-auth capability-token --ws-token-file FILE."
    )
    async with serve_websocket(
        "0.0.0.0", 0, echo, routes={}, ready=lambda: True, gate=FakeGate(), close_timeout_s=0.2
    ) as address:
        assert address.port > 0


@pytest.mark.anyio
async def test_a_port_in_use_is_a_configuration_error() -> None:
    async with listening() as address:
        with pytest.raises(ConfigurationError) as error:
            async with serve_websocket("127.0.0.1", address.port, echo, routes={}, ready=lambda: True):
                pass
    assert error.value.message == (
        f"The address {address} cannot be listened on (address already in use); "
        "choose another, or port 0 for any free one."
    )


@pytest.mark.anyio
async def test_when_the_listener_ends_streams_end_and_stuck_callbacks_are_cancelled() -> None:
    begun: set[str] = set()
    ends: list[str] = []
    both = anyio.Event()

    async def on_connection(stream: MessageStream) -> None:
        kind = (await stream.receive()).decode()
        begun.add(kind)
        if len(begun) == 2:
            both.set()
        try:
            if kind == "stuck":
                await anyio.sleep_forever()
            await stream.receive()
        except StreamClosed:
            ends.append(f"{kind} closed")
        except anyio.get_cancelled_exc_class():
            ends.append(f"{kind} cancelled")
            raise

    async with listening(on_connection) as address:
        good, stuck = await connect(str(address)), await connect(str(address))
        await good.send("good")
        await stuck.send("stuck")
        await both.wait()
    assert ends == ["good closed", "stuck cancelled"]
    for client in (good, stuck):
        with pytest.raises(ConnectionClosed):
            await client.recv()
        await client.close()


@pytest.mark.anyio
async def test_closing_is_bounded_although_the_peer_reads_nothing() -> None:
    blocked, closed = anyio.Event(), anyio.Event()

    async def flood(stream: MessageStream) -> None:
        with anyio.move_on_after(0.1):  # fills every buffer: send blocks, and only the deadline gets it out
            while True:
                await stream.send([b"x" * 1_000_000])
        blocked.set()
        await stream.aclose()
        closed.set()

    async with listening(flood) as address, await anyio.connect_tcp(address.host, address.port) as client:
        await client.send(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await blocked.wait()
        await closed.wait()


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 127, 65535, 65536, 70_000])
def test_a_message_is_framed_as_the_library_frames_it(size_bytes: int) -> None:
    body = b"x" * size_bytes
    assert b"".join(text_message(body)) == LibraryFrame(Opcode.TEXT, body).serialize(mask=False)
