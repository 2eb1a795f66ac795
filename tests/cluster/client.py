"""One client of a thread in a cluster run: asks, keeps what it saw, and comes back at another replica with `sinceSeq`.

What it keeps is judged when the run is over (`judgement.py`); nothing is judged here. `visitors.py` uses it.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import orjson
from anyio.abc import TaskGroup
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from app_server.transport.base import StreamClosed
from tests.cluster.replicas import Fleet, Replica
from tests.support.streams import WebsocketStream

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
PAUSE_S = 0.2
OPTED_OUT = (
    "account/rateLimits/updated",
    "account/updated",
    "configWarning",
    "deprecationNotice",
    "thread/closed",
    "thread/started",
    "thread/status/changed",
)
"""What is told to everybody, or of no interest: hundreds of clients would hear of every turn of all."""
LOST = (StreamClosed, OSError, TimeoutError, WebSocketException)
"""How a connection says that its replica is gone."""


class Refused(Exception):
    """A request was answered with an error."""

    def __init__(self, method: str, error: Mapping[str, Any]) -> None:
        self.code = str((error.get("data") or {}).get("code"))
        self.kind = f"{method}: {self.code}"
        super().__init__(f"{self.kind}: {error['message']}")


@dataclass(slots=True)
class Seen:
    """What one client saw of its thread, over all of its connections."""

    name: str
    thread_id: str = ""
    start_seq: int = 0
    """Behind which it follows the thread."""
    last_seq: int = 0
    rows: list[tuple[int, str]] = field(default_factory=list)
    """seq and method, in the order in which they came."""
    doubled: list[tuple[int, str]] = field(default_factory=list)
    items: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """Completed items by seq."""
    turns: dict[str, str] = field(default_factory=dict)
    """Turn → status, of the turns that it saw begin or end."""
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Turn → key, of replies to `turn/start`."""
    unknown: list[str] = field(default_factory=list)
    """Keys of turns that were asked for without an answer."""
    refused: Counter[str] = field(default_factory=Counter)
    connections: int = 0
    streamed: list[tuple[str, str]] = field(default_factory=list)
    """Of completed messages: the text that came piece by piece, and the whole."""
    pieces: dict[str, list[str]] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)

    def take(self, method: str, params: Mapping[str, Any]) -> None:
        """One notification."""
        if params.get("threadId") != self.thread_id:
            return
        item_id = params.get("itemId")
        if method == "item/agentMessage/delta" and isinstance(item_id, str):
            self.pieces.setdefault(item_id, []).append(params["delta"])
        elif method == "item/started":
            self.pieces.pop(params["item"]["id"], None)
        if (seq := params.get("seq")) is None:
            return
        if seq <= self.last_seq:
            self.doubled.append((seq, method))
            return
        self.rows.append((seq, method))
        self.last_seq = seq
        if method == "item/completed":
            item = params["item"]
            self.items[seq] = item
            if item["type"] == "agentMessage":
                self.streamed.append(("".join(self.pieces.pop(item["id"], [])), item["text"]))
        elif method in ("turn/started", "turn/completed"):
            self.turns[params["turn"]["id"]] = params["turn"]["status"]

    @property
    def running(self) -> list[str]:
        """Turns that it saw begin and not end."""
        return [turn_id for turn_id, status in self.turns.items() if status == "inProgress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How long a request took, and at which replica it was asked."""

    method: str
    thread_id: str
    owner: str
    """Of the lease rows, the replica that was asked."""
    sent_ms: int
    took_ms: float


class Connection:
    """One connection, initialized; its reader is a task of the group that was handed to `opened`."""

    def __init__(
        self, stream: WebsocketStream, replica: Replica, hear: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self.replica = replica
        self.gone = False
        self._stream, self._hear = stream, hear
        self._replies: dict[int, dict[str, Any]] = {}
        self._last_id = 0
        self._rung = anyio.Event()

    async def ask(self, method: str, params: Mapping[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """The result. Raises Refused, or one of LOST."""
        self._last_id += 1
        request_id = self._last_id
        await self._stream.send([orjson.dumps({"id": request_id, "method": method, "params": params})])
        with anyio.fail_after(timeout_s):
            while request_id not in self._replies and not self.gone:
                await self.heard()
        if request_id not in self._replies:
            raise StreamClosed
        reply = self._replies.pop(request_id)
        if "error" in reply:
            raise Refused(method, reply["error"])
        return reply["result"]

    async def initialize(self) -> None:
        capabilities = {"experimentalApi": True, "optOutNotificationMethods": list(OPTED_OUT)}
        hello = {"clientInfo": {"name": "cluster", "version": "1"}, "capabilities": capabilities}
        await self.ask("initialize", hello, CONNECT_TIMEOUT_S)
        await self._stream.send([b'{"method":"initialized"}'])

    async def heard(self) -> None:
        """Wait for the next message, or the end."""
        await self._rung.wait()

    def drop(self) -> None:
        """The connection is lost, as when a network goes."""
        self._stream.connection.transport.abort()

    async def read(self) -> None:
        """Until the connection ends."""
        try:
            while True:
                frame = orjson.loads(await self._stream.receive())
                if (method := frame.get("method")) is None:
                    self._replies[frame["id"]] = frame
                else:
                    self._hear(method, frame.get("params") or {})
                self._ring()
        except StreamClosed:
            self.gone = True
            self._ring()

    def _ring(self) -> None:
        rung, self._rung = self._rung, anyio.Event()
        rung.set()


async def opened(fleet: Fleet, seen: Seen, tasks: TaskGroup) -> Connection:
    """A connection to one of the replicas by chance; `drop` ends it. Raises one of LOST."""
    replica = await fleet.any_ready()
    with anyio.fail_after(CONNECT_TIMEOUT_S):
        stream = WebsocketStream(await connect(replica.url, max_size=None, proxy=None))
    connection = Connection(stream, replica, seen.take)
    tasks.start_soon(connection.read)
    try:
        await connection.initialize()
    except BaseException:
        connection.drop()
        raise
    seen.connections += 1
    return connection


async def resume(connection: Connection, seen: Seen, note: Callable[[Asked], None]) -> None:
    """Go on with the thread where the client was. Raises Refused, or one of LOST."""
    sent_ms, began_s = now_ms(), time.monotonic()
    params = {"threadId": seen.thread_id, "sinceSeq": seen.last_seq, "excludeTurns": True}
    await connection.ask("thread/resume", params)
    note(
        Asked(
            method="thread/resume",
            thread_id=seen.thread_id,
            owner=connection.replica.owner,
            sent_ms=sent_ms,
            took_ms=(time.monotonic() - began_s) * 1000,
        )
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def a_moment() -> None:
    await anyio.sleep(PAUSE_S * random.uniform(0.5, 1.5))
