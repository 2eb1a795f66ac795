"""A proxy before a PostgreSQL server that cuts one connection at a chosen moment, as a failing network does.

| what is lost | the server | the client |
|---|---|---|
| `request` | never sees it | loses the connection |
| `answer` | has done it | loses the connection |
| `late` | sees it when the test says `deliver` | has lost the connection long before |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

Loss = Literal["request", "answer", "late"]


class CuttingProxy:
    """Passes everything on until `lose` names something that a client sends."""

    def __init__(self, port: int) -> None:
        self.refuses = False
        """Whether new connections are turned away."""
        self.losses = 0
        self._server_port = port
        self._what: bytes | None = None
        self._loss: Loss = "answer"
        self._held: tuple[bytes, asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.port = 0

    def lose(self, loss: Loss, what: bytes) -> None:
        """Once, when a client sends this."""
        self._loss, self._what = loss, what

    async def deliver(self) -> bytes:
        """Let the server have what is late; returns what it answers, up to where it ends the connection."""
        assert self._held is not None, "nothing is late"
        data, reader, writer = self._held
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    async def serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        if self.refuses:
            back.close()
            return
        server, forth = await asyncio.open_connection("127.0.0.1", self._server_port)
        backward = asyncio.create_task(self._pass(server, back))
        try:
            while data := await client.read(1 << 20):
                if self._what is not None and self._what in data:
                    self._what = None
                    backward.cancel()
                    await asyncio.wait([backward])
                    await self._cut(data, server, forth)
                    return
                forth.write(data)
        finally:
            backward.cancel()
            back.transport.abort()
            if self._held is None or self._held[2] is not forth:
                forth.close()

    async def _cut(self, data: bytes, server: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
        self.losses += 1
        if self._loss == "late":
            self._held = data, server, forth
        elif self._loss == "answer":
            forth.write(data)
            await server.read(1)  # it answers when it has committed

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 20):
            sink.write(data)
        sink.close()


@asynccontextmanager
async def cutting_proxy(port: int) -> AsyncIterator[CuttingProxy]:
    """A proxy to the server at this port of 127.0.0.1."""
    proxy = CuttingProxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
