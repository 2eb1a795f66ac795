"""A client for hours: it asks, waits for the ends of turns, and keeps nothing of what it heard.

The test client (`tests/support/client.py`) keeps and checks every frame: here that would be a leak. `load.py` uses it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import anyio
import orjson
from anyio.abc import TaskGroup

from app_server.transport.base import MessageStream, StreamClosed

ANSWER_TIMEOUT_S = 60.0


class Refused(Exception):
    """A request was answered with an error."""


class SoakClient:
    """One connection; use it as `async with`, inside of a task group that runs its reader."""

    def __init__(self, stream: MessageStream, tasks: TaskGroup) -> None:
        self._stream, self._tasks = stream, tasks
        self._replies: dict[int, dict[str, Any]] = {}
        self._rung = anyio.Event()
        self._last_id = 0
        self.gone = False
        self.heard: Counter[str] = Counter()
        """Notifications of this connection by method."""
        self.ended: dict[str, str] = {}
        """Turn → status, of turns whose end was heard and not taken yet."""
        self.seqs: dict[str, int] = {}
        """Thread → number of the last record that was shown."""

    async def __aenter__(self) -> Self:
        self._tasks.start_soon(self._read)
        hello = {"clientInfo": {"name": "soak", "version": "1"}, "capabilities": {"experimentalApi": True}}
        await self.ask("initialize", hello)
        await self._stream.send([b'{"method":"initialized"}'])
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stream.aclose()
        await self._until(lambda: self.gone)

    async def ask(self, method: str, params: Mapping[str, Any]) -> Any:
        """The result. Raises Refused, or StreamClosed when the server went away."""
        self._last_id += 1
        request_id = self._last_id
        await self._stream.send([orjson.dumps({"id": request_id, "method": method, "params": params})])
        await self._until(lambda: request_id in self._replies or self.gone)
        if request_id not in self._replies:
            raise StreamClosed
        reply = self._replies.pop(request_id)
        if "error" in reply:
            raise Refused(f"{method}: {reply['error']['message']}")
        return reply["result"]

    async def turn_end(self, turn_id: str) -> str:
        """The status with which the turn ended."""
        await self._until(lambda: turn_id in self.ended or self.gone)
        if turn_id not in self.ended:
            raise StreamClosed
        return self.ended.pop(turn_id)

    async def hears(self, method: str, count: int) -> None:
        """Wait until so many notifications of this method have come since the connection began."""
        await self._until(lambda: self.heard[method] >= count or self.gone)

    async def _until(self, ready: Any) -> None:
        with anyio.fail_after(ANSWER_TIMEOUT_S):
            while not ready():
                await self._rung.wait()

    async def _read(self) -> None:
        try:
            while True:
                self._take(orjson.loads(await self._stream.receive()))
                self._ring()
        except StreamClosed:
            self.gone = True
            self._ring()

    def _take(self, frame: dict[str, Any]) -> None:
        method, params = frame.get("method"), frame.get("params") or {}
        if method is None:
            self._replies[frame["id"]] = frame
            return
        self.heard[method] += 1
        if "seq" in params:
            self.seqs[params["threadId"]] = params["seq"]
        if method == "turn/completed":
            self.ended[params["turn"]["id"]] = params["turn"]["status"]
        elif method == "thread/deleted":
            self.seqs.pop(params["threadId"], None)

    def _ring(self) -> None:
        rung, self._rung = self._rung, anyio.Event()
        rung.set()
