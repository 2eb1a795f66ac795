"""A server that is hosted for several people: a websocket listener with named tokens, over a home or over replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from app_server.auth.listener import ListenerGate
from app_server.auth.listener_tokens import read_token_file
from app_server.bootstrap import App, Options
from app_server.clock import SystemClock
from app_server.pictures.links import PICTURE_ROUTE
from app_server.storage.base import StorageSource
from app_server.transport.websocket import serve_websocket
from tests.support.client import RpcClient
from tests.support.server import Home
from tests.support.streams import WebsocketStream, websocket

TOKENS = "ann a-token\nann another-of-ann\nbob b-token\n"


@dataclass
class Hosted:
    """A listener, and who comes to it."""

    app: App
    url: str
    stack: AsyncExitStack = field(repr=False)

    async def client(self, token: str, *, initialize: bool = True) -> RpcClient[WebsocketStream]:
        """A client with this token, until the server ends."""
        stream = await self.stack.enter_async_context(websocket(self.url, {"Authorization": f"Bearer {token}"}))
        tasks = await self.stack.enter_async_context(anyio.create_task_group())
        client = await self.stack.enter_async_context(RpcClient(stream, tasks))
        if initialize:
            await client.initialize()
        return client


@asynccontextmanager
async def hosting(
    home: Home, *, url: str | None = None, source: StorageSource | None = None, tokens: str = TOKENS
) -> AsyncIterator[Hosted]:
    """Serve this home at a port of its own; `url` or `source` is the storage."""
    options: Options = replace(home.options(), storage_url=url, source=source)
    gate = ListenerGate(lambda: read_token_file(tokens, "tokens"), SystemClock())
    async with (
        App(options).running() as app,
        serve_websocket(
            "127.0.0.1",
            0,
            app.serve,
            routes={},
            signed_routes={PICTURE_ROUTE: app.picture},
            ready=lambda: True,
            gate=gate,
        ) as bound,
        AsyncExitStack() as stack,
    ):
        app.http_base = f"http://{bound.authority}"
        yield Hosted(app=app, url=str(bound), stack=stack)
