"""One app-server as a child process, driven over stdio: requests, replies, notifications, and an orderly end.

Owns the child, its pipes and the tasks that read them. Knows the framing (one JSON object per line), no method of the
protocol, and never prints. A request of the server is refused: nobody is there to ask. `commands/demo.py` calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
from asyncio import StreamReader
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self

from app_server.errors import AppServerError

LINE_LIMIT_BYTES: Final = 64 * 1024 * 1024
STDERR_KEPT_BYTES: Final = 64 * 1024
STEP_S: Final = 5.0  # for each step of the end: closed stdin, terminate, kill

Notification = tuple[str, Mapping[str, Any]]  # method and params
NO_ANSWERS: Final = {"code": -32601, "message": "This client answers no requests."}


class ServerGone(AppServerError):
    """The child ended or cannot be understood. `stderr` is the end of what it wrote there."""

    def __init__(self, message: str, *, stderr: str = "") -> None:
        super().__init__(message)
        self.stderr = stderr


class RequestRefused(AppServerError):
    """The server answered a request with an error; the message is the server's."""


class StdioServer:
    """A running child; hold it in `contextlib.aclosing`, so that it ends in every outcome."""

    def __init__(self, process: Process, step_s: float) -> None:
        assert process.stdin is not None  # all three pipes were asked for
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._stdin, self._step_s = process, process.stdin, step_s
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Mapping[str, Any] | None]] = {}
        self._notifications: asyncio.Queue[Notification | None] = asyncio.Queue()
        self._stderr = bytearray()
        self._fault: str | None = None
        self._silent = False  # set once stdout has ended: nothing will be answered any more
        readers = (self._read_stdout(process.stdout), self._read_stderr(process.stderr))
        self._tasks = tuple(asyncio.create_task(reader) for reader in readers)

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], step_s: float = STEP_S) -> Self:
        """Start the child in a session of its own, so that a Ctrl-C in the terminal is ours to pass on."""
        launch = functools.partial(asyncio.create_subprocess_exec, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            process = await launch(*command, env=env, limit=LINE_LIMIT_BYTES, start_new_session=True)
        except OSError as error:
            raise ServerGone(f"The server cannot be started: {command[0]}: {error.strerror}.") from error
        return cls(process, step_s)

    @property
    def stderr(self) -> str:
        """The end of what the child has written there; whole once it is closed."""
        return self._stderr.decode(errors="replace").strip()

    async def request(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request and wait for its result. Raises RequestRefused, ServerGone."""
        if self._silent:
            raise await self._gone()
        request_id = next(self._ids)
        reply = self._waiting[request_id] = asyncio.get_running_loop().create_future()
        try:
            await self.send({"method": method, "id": request_id, "params": params})
            frame = await reply
        finally:
            del self._waiting[request_id]
        if frame is None:
            raise await self._gone()
        if "error" in frame:
            raise RequestRefused(frame["error"]["message"])
        return dict(frame.get("result") or {})

    async def send(self, frame: Mapping[str, Any]) -> None:
        """Send one frame as it is; a frame without an id is a notification."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the end of stdout tells it, with the cause
            self._stdin.write(json.dumps(frame).encode() + b"\n")
            await self._stdin.drain()

    async def next_notification(self) -> Notification:
        """The next notification, in the order in which the server sent them. Raises ServerGone after the last one."""
        notification = await self._notifications.get()
        if notification is None:
            raise await self._gone()
        return notification

    async def aclose(self) -> None:
        """End the child: close its stdin, then terminate, then kill, each step bounded. May be called twice."""
        self._stdin.close()
        for harder in (None, self._process.terminate, self._process.kill):
            if harder is not None and self._process.returncode is None:
                harder()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), self._step_s)
                break
        for task in (await asyncio.wait(self._tasks, timeout=self._step_s))[1]:  # a grandchild may hold the pipes
            task.cancel()

    async def _read_stdout(self, stdout: StreamReader) -> None:
        try:
            while line := await stdout.readline():
                await self._take(json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError):
            self._fault = "The server wrote a line that is not JSON."
        except ValueError:
            self._fault = f"The server wrote a line longer than {LINE_LIMIT_BYTES} bytes."
        finally:
            self._silent = True
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_result(None)
            self._notifications.put_nowait(None)

    async def _take(self, frame: Mapping[str, Any]) -> None:
        match frame:
            case {"method": str(), "id": refused}:
                await self.send({"id": refused, "error": NO_ANSWERS})
            case {"method": str(method)}:
                self._notifications.put_nowait((method, frame.get("params") or {}))
            case {"id": int(request_id)} if (reply := self._waiting.get(request_id)) and not reply.done():
                reply.set_result(frame)

    async def _read_stderr(self, stderr: StreamReader) -> None:
        while chunk := await stderr.read(8192):
            self._stderr += chunk
            del self._stderr[:-STDERR_KEPT_BYTES]

    async def _gone(self) -> ServerGone:
        await self.aclose()
        ended = f"The server ended early, with exit status {self._process.returncode}."
        return ServerGone(self._fault or ended, stderr=self.stderr)
