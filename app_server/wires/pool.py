"""The connections of the process's HTTP client: those that are idle lie on a stack, and a request takes the newest.

httpcore's own pool looks at every connection and every request whenever a request begins or ends, asks the system about
each idle one, and counts all connections, not the idle ones, when it decides that too many are kept: from two dozen
requests at a time on it closes nearly every connection after its request. Here a request costs the same however many
others there are. What a connection does is httpcore's. `net.py` puts it into its client, and is the only caller.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterable, AsyncIterator
from importlib.util import find_spec
from typing import Any

import anyio
import httpcore

from app_server.wires.stream import WireBackend

_Place = tuple[bytes, bytes, int]
"""Scheme, host, port."""
if find_spec("sniffio") is None:
    # httpcore asks for it half a dozen times in a request, and each time the whole path was searched for what is not
    # there: a tenth of a turn. So the answer is remembered, in the way that the import system has for it.
    sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]  # None: this import fails at once


class StackPool(httpcore.AsyncConnectionPool):
    """A pool without a limit of connections, for HTTP/1.1. Used from one event loop."""

    def __init__(self, max_idle: int, expiry_s: float, **kwargs: Any) -> None:
        """max_idle: of one place. `kwargs`: what `httpcore.AsyncConnectionPool` makes connections with."""
        super().__init__(keepalive_expiry=expiry_s, **kwargs)
        self._max_idle, self._expiry_s = max_idle, expiry_s
        self._alive: set[httpcore.AsyncConnectionInterface] = set()
        self._idle: defaultdict[_Place, deque[tuple[float, httpcore.AsyncConnectionInterface]]] = defaultdict(deque)
        """Since when, and which; the newest is the last."""

    @property
    def connections(self) -> list[httpcore.AsyncConnectionInterface]:
        return list(self._alive)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        origin = request.url.origin
        place = (origin.scheme, origin.host, origin.port)
        connection = await self._taken(place, origin)
        try:
            response = await connection.handle_async_request(request)
        except BaseException:
            await self._given_back(place, connection)
            raise
        assert isinstance(response.stream, AsyncIterable)
        return httpcore.Response(
            status=response.status,
            headers=response.headers,
            content=_Body(response.stream, self, place, connection),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        self._idle.clear()
        alive, self._alive = self._alive, set()
        for connection in alive:
            await _close(connection)

    async def _taken(self, place: _Place, origin: httpcore.Origin) -> httpcore.AsyncConnectionInterface:
        """An idle connection that is still good, else a new one."""
        idle = self._idle[place]
        while idle:
            _, connection = idle.pop()
            if not connection.has_expired():
                return connection
            await self._dropped(connection)
        connection = self.create_connection(origin)
        self._alive.add(connection)
        return connection

    async def _given_back(self, place: _Place, connection: httpcore.AsyncConnectionInterface) -> None:
        """A request is over, one way or another: keep its connection if it can be used again."""
        if not connection.is_available() or connection not in self._alive:
            await self._dropped(connection)
            return
        now_s, idle = time.monotonic(), self._idle[place]
        idle.append((now_s, connection))
        while len(idle) > self._max_idle or now_s - idle[0][0] > self._expiry_s:
            await self._dropped(idle.popleft()[1])

    async def _dropped(self, connection: httpcore.AsyncConnectionInterface) -> None:
        self._alive.discard(connection)
        await _close(connection)


class _Body:
    """The body of an answer; its end, or its close, gives the connection back."""

    def __init__(
        self,
        stream: AsyncIterable[bytes],
        pool: StackPool,
        place: _Place,
        connection: httpcore.AsyncConnectionInterface,
    ) -> None:
        self._stream, self._pool, self._place, self._connection = stream, pool, place, connection
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()  # type: ignore[attr-defined]  # httpcore's own streams have it
        finally:
            await self._pool._given_back(self._place, self._connection)


async def _close(connection: httpcore.AsyncConnectionInterface) -> None:
    """Also while the task is being cancelled."""
    with anyio.CancelScope(shield=True):
        await connection.aclose()


def quicken(transport: object, ssl_context: ssl.SSLContext, max_idle: int, expiry_s: float) -> None:
    """Let a transport of httpx take its connections from a stack, and these read as `stream.py` does.

    The pool of a proxy stays as it is, but for how it reads. httpx has no public way to name a pool or how it connects.
    Where a release of it is built otherwise, nothing happens but that requests cost more; a test tells.
    """
    pool = getattr(transport, "_pool", None)
    if type(pool) is httpcore.AsyncConnectionPool:
        stack = StackPool(max_idle, expiry_s, ssl_context=ssl_context, network_backend=WireBackend())
        transport._pool = stack  # type: ignore[attr-defined]  # looked at above: an object may have any attribute
    elif pool is not None and hasattr(pool, "_network_backend"):
        pool._network_backend = WireBackend()
