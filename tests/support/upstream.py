"""A scripted provider on loopback: a real HTTP server that answers what the test queued and records what it was asked.

Owns the listener and its connections, for the length of one `async with`. It never reaches beyond 127.0.0.1, and
decides nothing by itself, but for the images endpoints, which answer a small picture when no answer is queued.

    POST …/responses                       the next `Reply` of `queue`
    POST …/images/generations, …/edits     the next `Reply` of `images`, else a small PNG
    anything                               the `Reply` of `routes[(method, path suffix)]`, again and again
    else                                   400, and the request is kept in `unscripted`
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import anyio
import orjson
from anyio.abc import SocketAttribute, SocketStream

from tests.support.bell import Bell
from tests.support.http_wire import HttpRequest, HttpWire
from tests.support.pictures import BLUE, GREEN, png, transparent_png
from tests.support.replies import Gate, ReceivedRequest, Reply, Streamed, image_reply, sse, text_turn
from tests.support.response_events import (
    USAGE,
    Event,
    completed,
    created,
    failed,
    function_call,
    image_call,
    incomplete,
    item_added,
    item_done,
    message,
    reasoning,
    text_delta,
)

__all__ = [
    "USAGE", "Event", "Gate", "ReceivedRequest", "Reply", "ScriptedUpstream", "Streamed", "completed", "created",
    "failed", "function_call", "image_call", "image_reply", "incomplete", "item_added", "item_done", "message",
    "reasoning", "sse", "text_delta", "text_turn",
]  # fmt: skip

GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)
"""How a connection says that its client went away."""


class ScriptedUpstream:
    """The server. Queue answers before the request comes; a queue is consumed from its front."""

    def __init__(self) -> None:
        self.queue: list[Reply] = []
        self.images: list[Reply] = []
        self.routes: dict[tuple[str, str], Reply] = {}
        self.requests: list[ReceivedRequest] = []
        self.unscripted: list[ReceivedRequest] = []
        self.connections = 0
        """Connections accepted so far."""
        self._bell = Bell()
        self._exit = AsyncExitStack()
        self._port = 0

    @property
    def base_url(self) -> str:
        """What stands as `base_url` in a provider's table."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        self._port = await self._exit.enter_async_context(self._listening())
        return self

    async def __aexit__(self, *exc_info: Any) -> bool | None:
        return await self._exit.__aexit__(*exc_info)

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[int]:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, self._serve)
            yield listener.extra(SocketAttribute.local_port)
            tasks.cancel_scope.cancel()

    def posts(self, suffix: str = "/responses") -> list[ReceivedRequest]:
        """POST requests so far whose path ends so, in order."""
        return [request for request in self.requests if request.method == "POST" and request.path.endswith(suffix)]

    async def wait_posts(
        self, count: int, suffix: str = "/responses", *, timeout_s: float = 10
    ) -> list[ReceivedRequest]:
        """Wait for so many POST requests and return them. Raises AssertionError with what came instead."""
        await self._bell.until(
            lambda: len(self.posts(suffix)) >= count,
            timeout_s,
            lambda: f"{count} POST …{suffix}; came: {[f'{one.method} {one.path}' for one in self.requests]}",
        )
        return self.posts(suffix)

    async def _serve(self, stream: SocketStream) -> None:
        self.connections += 1
        wire = HttpWire(stream)
        async with stream:
            try:
                while (request := await wire.read_request()) is not None:
                    received = _received(request)
                    self.requests.append(received)
                    self._bell.ring()
                    whole = await _answer(wire, received, self._choose(received))
                    if not whole or request.headers.get("connection", "").lower() == "close":
                        return
            except GONE:
                return  # the client went away in the middle of something; what it sent until then is recorded

    def _choose(self, request: ReceivedRequest) -> Reply:
        path = request.path
        if request.method == "POST" and path.endswith("/responses") and self.queue:
            return self.queue.pop(0)
        if request.method == "POST" and path.endswith(("/images/generations", "/images/edits")):
            return self.images.pop(0) if self.images else _default_picture(request)
        for (method, suffix), reply in self.routes.items():
            if request.method == method and path.endswith(suffix):
                return reply
        self.unscripted.append(request)
        text = f"The test queued no answer for {request.method} {path}."
        return Reply(status=400, body={"error": {"message": text, "type": "unscripted"}})


def _received(request: HttpRequest) -> ReceivedRequest:
    target = urlsplit(request.target)
    try:
        body = orjson.loads(request.raw)
    except orjson.JSONDecodeError:
        body = None
    return ReceivedRequest(
        method=request.method,
        path=target.path,
        query=dict(parse_qsl(target.query, keep_blank_values=True)),
        headers=request.headers,
        body=body,
        raw=request.raw,
    )


def _default_picture(request: ReceivedRequest) -> Reply:
    """A green square for a new picture, a blue one for an edit; transparent when the request asks for that."""
    colour = BLUE if request.path.endswith("/edits") else GREEN
    if isinstance(request.body, dict):
        transparent = request.body.get("background") == "transparent"
    else:
        transparent = re.search(rb'name="background"\r\n(?:[^\r\n]+\r\n)*\r\ntransparent\r\n', request.raw) is not None
    if transparent:
        return image_reply(transparent_png(colour=colour), background="transparent")
    return image_reply(png(colour=colour))


async def _answer(wire: HttpWire, request: ReceivedRequest, reply: Reply) -> bool:
    """Send the answer; False when the connection is to be closed (it was cut, or the client hung up).

    The end of the answer is sent without a watch: a client may close the moment it has it, which is no hanging up."""
    if not await _begin_unless_hung_up(wire, request, reply) or reply.cut:
        return False
    if reply.events is None:
        await _send_whole(wire, reply)
    else:
        await wire.end_chunks()
    return True


async def _begin_unless_hung_up(wire: HttpWire, request: ReceivedRequest, reply: Reply) -> bool:
    """Wait where the script says so and stream the events; False when the client hung up meanwhile."""

    async def watch() -> None:
        await wire.wait_hung_up()
        request.hung_up.set()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        try:
            await _begin(wire, request, reply)
        except GONE:
            request.hung_up.set()
        tasks.cancel_scope.cancel()
    return not request.hung_up.is_set()


async def _begin(wire: HttpWire, request: ReceivedRequest, reply: Reply) -> None:
    if reply.hold is not None:
        await reply.hold.hold()
    if reply.events is not None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked", **reply.headers}
        await wire.send_head(reply.status, headers)
        await _stream(wire, reply.events(request) if callable(reply.events) else reply.events)


async def _stream(wire: HttpWire, events: Sequence[Streamed]) -> None:
    for event in events:
        match event:
            case Gate():
                await event.hold()
            case dict():
                await wire.send_chunk(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)))
            case str():
                await wire.send_chunk(event.encode())
            case bytes():
                await wire.send_chunk(event)


async def _send_whole(wire: HttpWire, reply: Reply) -> None:
    match reply.body:
        case None:
            data, content_type = b"", "text/plain"
        case bytes():
            data, content_type = reply.body, "application/octet-stream"
        case str():
            data, content_type = reply.body.encode(), "text/plain; charset=utf-8"
        case _:
            data, content_type = orjson.dumps(reply.body), "application/json"
    length = str(len(data))
    await wire.send_head(reply.status, {"content-type": content_type, "content-length": length, **reply.headers})
    await wire.send(data)
