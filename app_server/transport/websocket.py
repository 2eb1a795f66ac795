"""The websocket listener: one JSON document per text message, and the few plain HTTP answers beside it.

    request ──▶ plan_answer (pure): what is refused, answered, routed or upgraded, and why
                  Origin not allowed ─▶ 403, on everything       not GET ─▶ 405 (HEAD is fine for the probes)
                  /healthz, /readyz  ─▶ 200, or 503 until ready   a signed route ─▶ its answer     not authorized ─▶ 401
                  upgrade, any path  ─▶ 101                       a route ─▶ its answer     else ─▶ 400

It knows no method and no picture: routes are callbacks handed in. `bootstrap` calls `serve_websocket`. The `websockets`
library is imported when a listener starts, not before.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import anyio

from app_server.errors import ConfigurationError
from app_server.transport.base import MAX_FRAME_BYTES, MessageStream, StreamClosed

if TYPE_CHECKING:
    from websockets.asyncio.connection import Connection
    from websockets.asyncio.server import ServerConnection
    from websockets.http11 import Request, Response

OPEN_TIMEOUT_S = 10.0
"""A connection has to send its whole request, and to take a plain HTTP answer, within this time."""
CLOSE_TIMEOUT_S = 3.0
"""A closing handshake, and the end of all connections when the listener stops, take no longer; then they are cut."""

Authorize = Callable[[Mapping[str, str]], str | None]
"""Looks at the request's headers (names in lower case); None lets the client in, a text is the reason of the 401."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A GET request for a route. `path` is as sent, without the query; header names are in lower case."""

    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A route's whole answer; the connection is closed after it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


HttpRoute = Callable[[HttpRequest], Awaitable[HttpReply]]
HttpRoutes = Mapping[str, HttpRoute]
"""Path prefix → callback; the longest prefix that fits wins. A route answers authorized GET requests only; a signed one
answers all, and checks the signature in the address itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to serve: `stdio`, or a websocket on host and port (port 0: any free one)."""

    scheme: Literal["stdio", "ws"]
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """`host:port` as it stands in a URL; empty for stdio."""
        if self.scheme == "stdio":
            return ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Read the value of `--listen`. Raises ConfigurationError with the forms that exist."""
    if text == "stdio://":
        return ListenAddress(scheme="stdio")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    else:
        if parts.scheme != "ws" or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            host = None
    if host is None or port is None:
        raise ConfigurationError(
            f'The listen address "{text}" is not known; write stdio:// or ws://HOST:PORT, for example ws://127.0.0.1:0.'
        )
    return ListenAddress(scheme="ws", host=host, port=port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`; a name other than localhost counts as no."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_banner(address: ListenAddress) -> str:
    """What a person (or a script that waits for the port) reads on stderr."""
    return f"listening on {address} (ready: http://{address.authority}/readyz)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Open a websocket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Ask a route."""

    route: HttpRoute
    request: HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenPolicy:
    """Who may connect, and what is answered beside the websocket."""

    routes: HttpRoutes
    ready: Callable[[], bool]
    allowed_origins: frozenset[str] = frozenset()
    authorize: Authorize | None = None
    signed_routes: HttpRoutes = field(default_factory=dict)


def plan_answer(
    policy: ListenPolicy, method: str, target: str, headers: Mapping[str, str]
) -> Upgrade | Routed | HttpReply:
    """What a request gets. `headers` have lower-case names, repeated ones joined by commas."""
    path, _, query = target.partition("?")
    origin = headers.get("origin")
    if origin is not None and origin not in policy.allowed_origins:
        return HttpReply(status=403)
    if path in ("/healthz", "/readyz") and method in ("GET", "HEAD"):
        return HttpReply(status=200 if path == "/healthz" or policy.ready() else 503)
    if method != "GET":
        return HttpReply(status=405, headers={"Allow": "GET"})
    asked = HttpRequest(path=path, query=query, headers=headers)
    upgrade = _wants_upgrade(headers)
    if not upgrade and (signed := _route(policy.signed_routes, path)) is not None:
        return Routed(route=signed, request=asked)
    if policy.authorize is not None and (reason := policy.authorize(headers)) is not None:
        return HttpReply(status=401, headers={"WWW-Authenticate": "Bearer"}, body=f"{reason}\n".encode())
    if upgrade:
        return Upgrade()
    if (route := _route(policy.routes, path)) is not None:
        return Routed(route=route, request=asked)
    return HttpReply(status=400, body=b"This address speaks websocket; connect to it with a websocket client.\n")


def _route(routes: HttpRoutes, path: str) -> HttpRoute | None:
    prefix = max((prefix for prefix in routes if path.startswith(prefix)), key=len, default=None)
    return None if prefix is None else routes[prefix]


def _wants_upgrade(headers: Mapping[str, str]) -> bool:
    connection = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return "upgrade" in connection and headers.get("upgrade", "").lower() == "websocket"


class WebsocketStream:
    """A MessageStream over one open websocket. Binary messages are dropped, as the reference server does."""

    def __init__(self, connection: Connection, *, close_timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        from websockets.exceptions import ConnectionClosed

        self._connection, self._closed, self._close_timeout_s = connection, ConnectionClosed, close_timeout_s

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
        try:
            for frame in frames:
                await self._connection.send(frame, text=True)
        except self._closed:
            raise StreamClosed from None

    async def aclose(self) -> None:
        """Ends within the close timeout, also when the peer neither reads nor answers."""
        with anyio.move_on_after(self._close_timeout_s, shield=True):
            await self._connection.close()
        self.cut()

    def cut(self) -> None:
        """Drop the connection without a word."""
        self._connection.transport.abort()


@asynccontextmanager
async def serve_websocket(
    host: str,
    port: int,
    on_connection: Callable[[MessageStream], Awaitable[None]],
    *,
    routes: HttpRoutes,
    ready: Callable[[], bool],
    signed_routes: HttpRoutes | None = None,
    allowed_origins: frozenset[str] = frozenset(),
    authorize: Authorize | None = None,
    max_frame_bytes: int = MAX_FRAME_BYTES,
    close_timeout_s: float = CLOSE_TIMEOUT_S,
) -> AsyncIterator[ListenAddress]:
    """Listen while the block runs, and yield the bound address.

    on_connection: runs once per websocket; when it returns, the websocket is closed. When the block ends, every stream
        ends with StreamClosed and the callbacks have `close_timeout_s` to finish before they are cancelled.
    authorize: asked for upgrades and routes, not for the probes and the signed routes. Needed to listen beyond this
        machine.

    Raises ConfigurationError when the address cannot be used.
    """
    if authorize is None and not is_loopback(host):
        raise ConfigurationError(
            f"Listening on {host} would let other machines in without a login; listen on 127.0.0.1 or set up a token."
        )
    from websockets.asyncio.server import serve

    policy = ListenPolicy(
        routes=routes,
        ready=ready,
        allowed_origins=allowed_origins,
        authorize=authorize,
        signed_routes=signed_routes or {},
    )
    live: dict[WebsocketStream, anyio.CancelScope] = {}

    async def handle(connection: ServerConnection) -> None:
        stream = WebsocketStream(connection, close_timeout_s=close_timeout_s)
        with anyio.CancelScope() as scope:
            live[stream] = scope
            try:
                await on_connection(stream)
            finally:
                await stream.aclose()
                del live[stream]

    with _refusing(ListenAddress(scheme="ws", host=host, port=port)):
        server = await serve(
            handle,
            "127.0.0.1" if host == "localhost" else host,
            port,
            process_request=partial(_answer, policy),
            compression=None,
            max_size=max_frame_bytes,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=close_timeout_s,
        )
    try:
        yield ListenAddress(scheme="ws", host=host, port=server.sockets[0].getsockname()[1])
    finally:
        server.close()
        with anyio.move_on_after(close_timeout_s, shield=True):
            await server.wait_closed()
        for stream, scope in tuple(live.items()):
            scope.cancel()
            stream.cut()
        with anyio.move_on_after(close_timeout_s, shield=True):
            await server.wait_closed()


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


async def _answer(policy: ListenPolicy, _connection: ServerConnection, request: Request) -> Response | None:
    """The library's hook: None goes on with the upgrade."""
    method = getattr(request, "method", "GET")  # older releases let nothing but GET come here
    answer = plan_answer(policy, method, request.path, _plain_headers(request.headers.raw_items()))
    if isinstance(answer, Routed):
        answer = await answer.route(answer.request)
    return _response(answer) if isinstance(answer, HttpReply) else None


def _plain_headers(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in items:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _response(reply: HttpReply) -> Response:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    headers = Headers({"Connection": "close", "Content-Length": str(len(reply.body))})
    if reply.body and not any(name.lower() == "content-type" for name in reply.headers):
        headers["Content-Type"] = "text/plain; charset=utf-8"
    headers.update(reply.headers)
    return Response(reply.status, HTTPStatus(reply.status).phrase, headers, reply.body)
