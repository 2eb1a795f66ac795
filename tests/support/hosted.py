"""A server that is hosted for several people: a websocket listener with named tokens, over a home or over replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio
from anyio.abc import TaskGroup, TaskStatus

from app_server.auth.listener import ListenerGate
from app_server.auth.listener_tokens import read_token_file
from app_server.bootstrap import App
from app_server.clock import SystemClock
from app_server.pictures.links import PICTURE_ROUTE
from app_server.storage.base import StorageSource
from app_server.transport.websocket import serve_websocket
from tests.support.client import RpcClient, ws_client
from tests.support.server import Home
from tests.support.streams import WebsocketStream

TOKENS = "ann a-token\nann another-of-ann\nbob b-token\n"


@dataclass
class Hosted:
    """A listener, and who comes to it."""

    app: App
    url: str
    tasks: TaskGroup = field(repr=False)
    over: anyio.Event = field(default_factory=anyio.Event, repr=False)

    async def client(self, token: str, *, initialize: bool = True) -> RpcClient[WebsocketStream]:
        """A client with this token, until the server ends."""
        client: RpcClient[WebsocketStream] = await self.tasks.start(self._client, token)
        if initialize:
            await client.initialize()
        return client

    async def _client(self, token: str, *, task_status: TaskStatus[RpcClient[WebsocketStream]]) -> None:
        async with ws_client(self.url, {"Authorization": f"Bearer {token}"}) as client:
            task_status.started(client)
            await self.over.wait()


@asynccontextmanager
async def hosting(
    home: Home, *, url: str | None = None, source: StorageSource | None = None, tokens: str = TOKENS
) -> AsyncIterator[Hosted]:
    """Serve this home at a port of its own; `url` or `source` is the storage."""
    gate = ListenerGate(lambda: read_token_file(tokens, "tokens"), SystemClock())
    async with (
        App(replace(home.options(), storage_url=url, source=source)).running() as app,
        serve_websocket(
            "127.0.0.1",
            0,
            app.serve,
            routes={},
            signed_routes={PICTURE_ROUTE: app.picture},
            ready=lambda: True,
            gate=gate,
        ) as bound,
        anyio.create_task_group() as tasks,
    ):
        app.http_base = f"http://{bound.authority}"
        hosted = Hosted(app=app, url=str(bound), tasks=tasks)
        yield hosted
        hosted.over.set()
