"""A client of the protocol for tests, over any message stream: requests, replies, waits, and a check of every frame.

Owns the reading side of one connection. Everything that arrives is kept in `incoming` in order and checked against
the reference's schema; the `async with` fails at its end when a frame was wrong. It knows the envelope and the
handshake, and no method beyond `initialize`.

    async with anyio.create_task_group() as tasks, RpcClient(stream, tasks) as client:   # over memory
    async with stdio_client([sys.executable, "-m", "app_server"], env=…) as client:      # a real child process
    async with ws_client("ws://127.0.0.1:4500") as client:
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import anyio
import orjson
from anyio.abc import TaskGroup

from app_server.transport.base import MessageStream, StreamClosed
from tests.support.bell import Bell
from tests.support.schema import frame_errors
from tests.support.streams import ChildStream, WebsocketStream, spawned, websocket

Frame = dict[str, Any]
Handler = Callable[[Frame], Any | Awaitable[Any]]
"""Params of a server's request → the result, at once or awaited; raising RpcFailure answers with an error."""
StreamT = TypeVar("StreamT", bound=MessageStream)
DEFAULT_TIMEOUT_S = 10.0


class RpcFailure(Exception):
    """A request was answered with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{code} {message}")
        self.code, self.message, self.data = code, message, data


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRequest:
    """A request of the server that waits for `client.reply`."""

    id: int | str
    method: str
    params: Frame


class RpcClient(Generic[StreamT]):
    """One connection. Use it as `async with`; its reader and its handlers run in the given task group."""

    def __init__(self, stream: StreamT, tasks: TaskGroup, *, name: str = "tests") -> None:
        self.stream, self.name = stream, name
        self.incoming: list[Frame] = []
        self.schema_errors: list[str] = []
        self.handlers: dict[str, Handler] = {}
        """Server request method → what answers it; a request without a handler waits for `reply`."""
        self.closed = anyio.Event()
        """Set when the server's side has ended."""
        self._tasks = tasks
        self._bell = Bell()
        self._taken: set[int] = set()
        self._asked: dict[int | str, str] = {}
        self._replies: dict[int | str, Frame] = {}
        self._last_id = 0

    async def __aenter__(self) -> Self:
        self._tasks.start_soon(self._read)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stream.aclose()
        with anyio.fail_after(DEFAULT_TIMEOUT_S):
            await self.closed.wait()
        if exc is None:
            assert self.schema_errors == []

    # sending

    async def initialize(self, experimental: bool = True, **capabilities: Any) -> Frame:
        """The whole handshake; returns the reply of `initialize`."""
        result: Frame = await self.request(
            "initialize",
            {
                "clientInfo": {"name": self.name, "title": None, "version": "1.0.0"},
                "capabilities": {"experimentalApi": experimental, **capabilities},
            },
        )
        await self.notify("initialized")
        return result

    async def request(
        self, method: str, params: Mapping[str, Any] | None = None, *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> Any:
        """Send a request and return its result; `params=None` leaves the member out. Raises RpcFailure."""
        return await self.result(await self.post(method, params), timeout_s=timeout_s)

    async def post(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request and return its id at once; `result` waits for the reply."""
        self._last_id += 1
        self._asked[self._last_id] = method
        await self._send({"method": method, "id": self._last_id, **({} if params is None else {"params": params})})
        return self._last_id

    async def result(self, request_id: int | str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Any:
        """The result of a request that was sent before. Raises RpcFailure, or AssertionError when no reply comes."""
        await self._until(
            lambda: request_id in self._replies,
            timeout_s,
            f"reply to {self._asked.get(request_id, 'request')} (id {request_id!r})",
        )
        reply = self._replies.pop(request_id)
        if "error" in reply:
            error = reply["error"]
            raise RpcFailure(error["code"], error["message"], error.get("data"))
        return reply["result"]

    async def notify(self, method: str, params: Mapping[str, Any] | None = None) -> None:
        """Send a notification."""
        await self._send({"method": method, **({} if params is None else {"params": params})})

    async def reply(self, request_id: int | str, result: Any) -> None:
        """Answer a request of the server; an RpcFailure as the result is sent as an error."""
        if isinstance(result, RpcFailure):
            error = {"code": result.code, "message": result.message}
            await self._send(
                {"id": request_id, "error": error if result.data is None else {**error, "data": result.data}}
            )
        else:
            await self._send({"id": request_id, "result": result})

    async def send_raw(self, frame: bytes) -> None:
        """Send bytes as they stand, as one frame."""
        await self.stream.send([frame])

    async def _send(self, frame: Mapping[str, Any]) -> None:
        await self.send_raw(orjson.dumps(dict(frame)))

    # what arrived

    def notifications(self, method: str) -> list[Frame]:
        """Params of every notification of this method so far, in order."""
        found = (frame for frame in self.incoming if frame.get("method") == method and "id" not in frame)
        return [frame.get("params") or {} for frame in found]

    def order(self, *, without: Sequence[str] = ()) -> list[str]:
        """Method names of all notifications so far, in order; `without` leaves some out."""
        names = (frame["method"] for frame in self.incoming if "method" in frame and "id" not in frame)
        return [name for name in names if name not in without]

    def skip(self) -> None:
        """Forget, for the waits to come, what arrived until now."""
        self._taken.update(range(len(self.incoming)))

    async def wait_for(self, method: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, **match: Any) -> Frame:
        """Params of the first notification of this method that fits and that no wait returned before.

        `match` compares members of the params; a double underscore goes deeper: `item__type="imageGeneration"`."""
        frame = await self._take(method, False, match, timeout_s)
        return frame.get("params") or {}

    async def wait_for_request(
        self, method: str, *, timeout_s: float = DEFAULT_TIMEOUT_S, **match: Any
    ) -> ServerRequest:
        """The first request of the server of this method that fits and that no wait returned before."""
        frame = await self._take(method, True, match, timeout_s)
        return ServerRequest(id=frame["id"], method=method, params=frame.get("params") or {})

    async def wait_until(self, ready: Callable[[], bool], what: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Wait until `ready()` holds; it is asked after every frame that arrives."""
        await self._until(ready, timeout_s, what)

    async def wait_for_error(self, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> RpcFailure:
        """The next error reply with a null id: the answer to a frame whose id could not be read."""

        def find() -> int | None:
            fresh = (at for at in range(len(self.incoming)) if at not in self._taken)
            return next((at for at in fresh if self.incoming[at].get("id", 0) is None), None)

        await self._until(lambda: find() is not None, timeout_s, "error reply with a null id")
        at = find()
        assert at is not None
        self._taken.add(at)
        error = self.incoming[at]["error"]
        return RpcFailure(error["code"], error["message"], error.get("data"))

    async def _take(self, method: str, is_request: bool, match: Mapping[str, Any], timeout_s: float) -> Frame:
        def find() -> int | None:
            for at, frame in enumerate(self.incoming):
                of_kind = frame.get("method") == method and ("id" in frame) == is_request
                if of_kind and at not in self._taken and _fits(frame.get("params"), match):
                    return at
            return None

        await self._until(lambda: find() is not None, timeout_s, f"{method} {dict(match) or ''}")
        at = find()
        assert at is not None
        self._taken.add(at)
        return self.incoming[at]

    async def _until(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        def describe() -> str:
            came = [frame.get("method", "error" if "error" in frame else "reply") for frame in self.incoming]
            return f"{what}; the server's side {'has ended' if self.closed.is_set() else 'is open'}; came: {came}"

        await self._bell.until(lambda: ready() or self.closed.is_set(), timeout_s, describe)
        assert ready(), describe()

    # reading

    async def _read(self) -> None:
        try:
            while True:
                await self._arrived(await self.stream.receive())
        except StreamClosed:
            pass
        finally:
            self.closed.set()
            self._bell.ring()

    async def _arrived(self, raw: bytes) -> None:
        try:
            frame = orjson.loads(raw)
        except orjson.JSONDecodeError:
            frame = None
        if not isinstance(frame, dict):
            self.schema_errors.append(f"a frame is no JSON object: {raw[:200]!r}")
            return
        is_reply = "method" not in frame
        self.schema_errors += frame_errors(frame, self._asked.get(frame.get("id", "")) if is_reply else None)
        self.incoming.append(frame)
        if is_reply and frame.get("id") is not None:
            self._replies[frame["id"]] = frame
        if not is_reply and "id" in frame and frame["method"] in self.handlers:
            self._tasks.start_soon(self._handle, frame, self.handlers[frame["method"]])
        self._bell.ring()

    async def _handle(self, frame: Frame, handler: Handler) -> None:
        try:
            result = handler(frame.get("params") or {})
            if inspect.isawaitable(result):
                result = await result
        except RpcFailure as failure:
            result = failure
        await self.reply(frame["id"], result)


def _fits(params: Any, match: Mapping[str, Any]) -> bool:
    return all(_member(params, path) == value for path, value in match.items())


def _member(params: Any, path: str) -> Any:
    for name in path.split("__"):
        params = params.get(name) if isinstance(params, dict) else None
    return params


@asynccontextmanager
async def stdio_client(
    argv: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None, name: str = "tests"
) -> AsyncGenerator[RpcClient[ChildStream]]:
    """Spawn a server and speak with it over its pipes; `client.stream` has its exit status and its stderr."""
    async with (
        spawned(argv, env=env, cwd=cwd) as stream,
        anyio.create_task_group() as tasks,
        RpcClient(stream, tasks, name=name) as client,
    ):
        yield client


@asynccontextmanager
async def ws_client(
    url: str, headers: Mapping[str, str] | None = None, *, name: str = "tests"
) -> AsyncGenerator[RpcClient[WebsocketStream]]:
    """Connect to a server over a websocket."""
    async with (
        websocket(url, headers) as stream,
        anyio.create_task_group() as tasks,
        RpcClient(stream, tasks, name=name) as client,
    ):
        yield client
