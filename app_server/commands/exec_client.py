"""A client in the server's own process: requests, replies and notifications over a stream, without a child or a pipe.

Owns the reading side of one connection. Knows the envelope, no method, and never prints. A request of the server is
refused: nobody is there to ask. `commands/exec.py` uses it.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import anyio
import orjson

from app_server.commands.demo_client import NO_ANSWERS, Notification, RequestRefused, ServerGone
from app_server.transport.base import MessageStream, StreamClosed

_GONE: Final = "The server closed the connection in the middle of its work; its log has the cause."


@dataclass(slots=True)
class _Reply:
    came: anyio.Event = field(default_factory=anyio.Event)
    frame: Mapping[str, Any] | None = None


class InProcessClient:
    """One connection; `read` has to run as a task beside everything else."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self._ids = itertools.count(1)
        self._waiting: dict[int, _Reply] = {}
        self._notifications: deque[Notification] = deque()
        self._changed = anyio.Event()
        self._closed = False

    async def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its result. Raises RequestRefused, ServerGone."""
        request_id = next(self._ids)
        reply = self._waiting[request_id] = _Reply()
        try:
            await self.send({"method": method, "id": request_id, "params": params})
            await reply.came.wait()
        finally:
            del self._waiting[request_id]
        if reply.frame is None:
            raise ServerGone(_GONE)
        if "error" in reply.frame:
            raise RequestRefused(reply.frame["error"]["message"])
        return dict(reply.frame.get("result") or {})

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame as it is; a frame without an id is a notification. Raises ServerGone."""
        try:
            await self._stream.send([orjson.dumps(frame)])
        except StreamClosed:
            raise ServerGone(_GONE) from None

    async def next_notification(self) -> Notification:
        """The next one, in the order in which the server sent them. Raises ServerGone after the last one."""
        while not self._notifications:
            if self._closed:
                raise ServerGone(_GONE)
            await self._changed.wait()
        return self._notifications.popleft()

    async def read(self) -> None:
        """Take frames until the stream ends."""
        try:
            while True:
                await self._take(orjson.loads(await self._stream.receive()))
        except (StreamClosed, ServerGone):
            pass
        finally:
            self._closed = True
            for reply in self._waiting.values():
                reply.came.set()
            self._wake()

    async def _take(self, frame: Mapping[str, Any]) -> None:
        match frame:
            case {"method": str(), "id": refused}:
                await self.send({"id": refused, "error": NO_ANSWERS})
            case {"method": str(method)}:
                self._notifications.append((method, frame.get("params") or {}))
                self._wake()
            case {"id": int(request_id)} if reply := self._waiting.get(request_id):
                reply.frame = frame
                reply.came.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
