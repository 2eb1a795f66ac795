"""The websocket listener: one JSON document per text message, and the few plain HTTP answers beside it (`http.py`).

    serve_websocket   on a host and a port          accept   the same on any server of the library (`unix.py` uses it)

A connection lives until its peer, its callback, the listener or the gate ends it; the gate does when what let the
visitor in was revoked. It knows no method and no picture. `commands/serve.py` calls it. The `websockets` library is
imported when a listener starts, not before.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import anyio

from app_server.errors import ConfigurationError
from app_server.transport.address import ListenAddress, is_loopback
from app_server.transport.base import MAX_FRAME_BYTES, MessageStream, StreamClosed
from app_server.transport.http import (
    Gate,
    HttpReply,
    HttpRoutes,
    ListenPolicy,
    Routed,
    Upgrade,
    Visitor,
    plain_headers,
    plan_answer,
)

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import Server, ServerConnection
    from websockets.http11 import Request, Response

OPEN_TIMEOUT_S = 10.0
"""A connection has to send its whole request, and to take a plain HTTP answer, within this time."""
CLOSE_TIMEOUT_S = 3.0
"""A closing handshake, and the end of all connections when the listener stops, take no longer; then they are cut."""
NORMAL: Final = (1000, "")
REVOKED: Final = (1008, "the login of this connection was revoked")
"""Close code (RFC 6455 §7.4.1: policy violation) and reason."""

RESTART: Final = (1012, "service restart")
"""What clients are told by a server that has drained: come back, another one may be there already."""
_TRACE: Final = ("traceparent", "tracestate")

Farewell = Callable[[], tuple[int, str] | None]
OnConnection = Callable[[MessageStream], Awaitable[None]]


class WebsocketStream:
    """A MessageStream over one open websocket. Binary messages are dropped, as the reference server does."""

    def __init__(
        self,
        connection: Connection,
        *,
        close_timeout_s: float = CLOSE_TIMEOUT_S,
        principal: str | None = None,
        trace: Mapping[str, str] | None = None,
    ) -> None:
        from websockets.exceptions import ConnectionClosed
        from websockets.protocol import SERVER

        self._connection, self._closed, self._close_timeout_s = connection, ConnectionClosed, close_timeout_s
        self._server_side = SERVER
        self.farewell = NORMAL
        """Close code and reason that `aclose` gives."""
        self.principal = principal
        """The name that the login at the listener gave; None where there was none."""
        self.trace = trace
        """The headers in which the peer told where its own trace stands (W3C Trace Context)."""

    @property
    def transport(self) -> str:
        return "websocket"

    async def receive(self) -> bytes:
        """A message over the limit, or one that is not UTF-8, ends the connection (RFC 6455 codes 1009 and 1007)."""
        try:
            while not isinstance(message := await self._connection.recv(), str):
                self._connection.logger.debug("a binary message of %d bytes was dropped", len(message))
        except self._closed:
            raise StreamClosed from None
        return message.encode()

    async def send(self, frames: Sequence[bytes]) -> None:
        """All frames in one write: the library makes one for each. A client has to mask its own: left to it."""
        try:
            if self._connection.protocol.side is not self._server_side:
                for frame in frames:
                    await self._connection.send(frame, text=True)
                return
            async with self._connection.send_context():
                self._connection.transport.write(b"".join([part for frame in frames for part in text_message(frame)]))
        except self._closed:
            raise StreamClosed from None

    async def aclose(self) -> None:
        """Ends within the close timeout, also when the peer neither reads nor answers."""
        with anyio.move_on_after(self._close_timeout_s, shield=True):
            await self._connection.close(*self.farewell)
        self.cut()

    def cut(self) -> None:
        """Drop the connection without a word."""
        self._connection.transport.abort()


def _trace(request: Request | None) -> Mapping[str, str] | None:
    if request is None or "traceparent" not in request.headers:
        return None
    return {name: value for name, value in plain_headers(request.headers.raw_items()).items() if name in _TRACE}


def text_message(text: bytes) -> tuple[bytes, bytes]:
    """Head and body of a whole text message of a server, not masked (RFC 6455 §5.2)."""
    size_bytes = len(text)
    if size_bytes < 126:
        return bytes((0x81, size_bytes)), text
    if size_bytes < 1 << 16:
        return b"\x81\x7e" + size_bytes.to_bytes(2, "big"), text
    return b"\x81\x7f" + size_bytes.to_bytes(8, "big"), text


class _Reception:
    """The library's callbacks: the answer to a request, and the life of an upgraded connection."""

    def __init__(self, policy: ListenPolicy, on_connection: OnConnection, close_timeout_s: float) -> None:
        self._policy, self._on_connection, self._close_timeout_s = policy, on_connection, close_timeout_s
        self._admitted: WeakKeyDictionary[ServerConnection, Visitor] = WeakKeyDictionary()
        self._live: dict[WebsocketStream, anyio.CancelScope] = {}

    async def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """What the request gets; None goes on with the upgrade."""
        method = getattr(request, "method", "GET")  # older releases let nothing but GET come here
        headers = plain_headers(request.headers.raw_items())
        answer = await plan_answer(self._policy, method, request.path, headers)
        if isinstance(answer, Upgrade):
            self._admitted[connection] = answer.visitor
            return None
        return _response(await answer.route(answer.request) if isinstance(answer, Routed) else answer)

    async def handle(self, connection: ServerConnection) -> None:
        """Hand an open websocket to its callback; close it when that returns or the visitor's login is revoked."""
        visitor, gate = self._admitted[connection], self._policy.gate
        stream = WebsocketStream(
            connection,
            close_timeout_s=self._close_timeout_s,
            principal=visitor.principal,
            trace=_trace(connection.request),
        )
        with anyio.CancelScope() as scope:

            def revoked() -> None:
                stream.farewell = REVOKED
                scope.cancel()

            self._live[stream] = scope
            try:
                with gate.watching(visitor, revoked) if gate is not None else nullcontext():
                    await self._on_connection(stream)
            finally:
                await stream.aclose()
                del self._live[stream]

    async def close_all(self, farewell: tuple[int, str]) -> None:
        """Close every connection with this code and reason; bounded by the close timeout."""
        async with anyio.create_task_group() as tasks:
            for stream in tuple(self._live):
                stream.farewell = farewell
                tasks.start_soon(stream.aclose)

    def cut(self) -> None:
        """Cancel every callback and drop its connection."""
        for stream, scope in tuple(self._live.items()):
            scope.cancel()
            stream.cut()


@asynccontextmanager
async def accept(
    open_server: Callable[..., Awaitable[Server]],
    on_connection: OnConnection,
    policy: ListenPolicy,
    *,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    close_timeout_s: float = CLOSE_TIMEOUT_S,
    farewell: Farewell = lambda: None,
) -> AsyncIterator[Server]:
    """Take connections while the block runs. `open_server` is the library's `serve` or `unix_serve` with its place.

    on_connection: runs once per websocket; when it returns, the websocket is closed. When the block ends, every stream
        ends with StreamClosed and the callbacks have `close_timeout_s` to finish before they are cancelled.
    farewell: asked then for what peers are told; None: that the server goes away (1001).
    """
    from app_server.transport.websocket_connection import BoundedConnection

    reception = _Reception(policy, on_connection, close_timeout_s)
    settings: dict[str, Any] = {
        "create_connection": BoundedConnection,
        "process_request": reception.answer,
        "compression": None,
        "max_size": max_frame_bytes,
        "open_timeout": open_timeout_s,
        "close_timeout": close_timeout_s,
    }
    server = await open_server(reception.handle, **settings)
    try:
        yield server
    finally:
        if (said := farewell()) is not None:
            with anyio.CancelScope(shield=True):
                await reception.close_all(said)
        server.close()
        with anyio.move_on_after(close_timeout_s, shield=True):
            await server.wait_closed()
        reception.cut()
        with anyio.move_on_after(close_timeout_s, shield=True):
            await server.wait_closed()


@asynccontextmanager
async def serve_websocket(
    host: str,
    port: int,
    on_connection: OnConnection,
    *,
    routes: HttpRoutes,
    ready: Callable[[], bool],
    signed_routes: HttpRoutes | None = None,
    allowed_origins: frozenset[str] = frozenset(),
    gate: Gate | None = None,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    close_timeout_s: float = CLOSE_TIMEOUT_S,
    farewell: Farewell = lambda: None,
) -> AsyncIterator[ListenAddress]:
    """Listen on a host and a port while the block runs (see `accept`), and yield the bound address.

    gate: asked for upgrades and routes, not for the probes and the signed routes. Needed to listen beyond this machine.

    Raises ConfigurationError when the address cannot be used.
    """
    if gate is None and not is_loopback(host):
        raise ConfigurationError(
            f"Listening on {host} would let other machines in without a login; listen on 127.0.0.1, or ask for a "
            "token with --ws-auth capability-token --ws-token-file FILE."
        )
    from websockets.asyncio.server import serve

    policy = ListenPolicy(
        routes=routes, ready=ready, allowed_origins=allowed_origins, gate=gate, signed_routes=signed_routes or {}
    )

    async def open_server(handler: Callable[[ServerConnection], Awaitable[None]], **settings: Any) -> Server:
        with _refusing(ListenAddress(scheme="ws", host=host, port=port)):
            return await serve(handler, "127.0.0.1" if host == "localhost" else host, port, **settings)

    async with accept(
        open_server,
        on_connection,
        policy,
        max_frame_bytes=max_frame_bytes,
        open_timeout_s=open_timeout_s,
        close_timeout_s=close_timeout_s,
        farewell=farewell,
    ) as server:
        yield ListenAddress(scheme="ws", host=host, port=server.sockets[0].getsockname()[1])


@contextmanager
def _refusing(address: ListenAddress) -> Iterator[None]:
    """Say what is wrong with an address that cannot be bound."""
    try:
        yield
    except OSError as error:  # asyncio puts the address into strerror; a failed look-up has a negative errno
        number = error.errno or 0
        cause = os.strerror(number) if number > 0 else str(error.strerror)
        raise ConfigurationError(
            f"The address {address} cannot be listened on ({cause.lower()}); "
            "choose another, or port 0 for any free one."
        ) from None


def _response(reply: HttpReply) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = Headers({"Connection": "close", "Content-Length": str(len(reply.body))})
    if reply.body and not any(name.lower() == "content-type" for name in reply.headers):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    headers.update(reply.headers)
    return Response(reply.status, HTTPStatus(reply.status).phrase, headers, reply.body)
