"""A client of the protocol that costs little: requests, replies, notifications with the time of their arrival.

One thread, no event loop: it reads when it waits. Knows the envelope and the handshake; `turns` knows turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from benchmarks.channels import Channel, Gone

HELLO: Final[Mapping[str, Any]] = {
    "clientInfo": {"name": "benchmarks", "title": None, "version": "1"},
    "capabilities": {"experimentalApi": True},
}
LIMIT_S: Final = 120.0
"""How long any single thing may take."""


class Refused(Exception):
    """A request was answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A notification, when the read that brought it returned, and how long its message was."""

    at_ns: int
    method: str
    params: Mapping[str, Any]
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer to a request."""

    at_ns: int
    message: Mapping[str, Any]

    def result(self, method: str) -> Any:
        """Raises Refused."""
        if "error" in self.message:
            raise Refused(f"{method} was refused: {self.message['error'].get('message')}")
        return self.message.get("result")


class Client:
    """One connection."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.notes: list[Note] = []
        """Every notification since the last `forget`, in order."""
        self.replies: dict[int, Reply] = {}
        """Answers that nobody has taken, by the id of their request."""
        self._last_id = 0

    def post(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Send a request; `reply` waits for its answer."""
        (request_id,) = self.post_all([(method, params or {})])
        return request_id

    def post_all(self, requests: list[tuple[str, Mapping[str, Any]]]) -> list[int]:
        """Send several requests in one write."""
        first = self._last_id + 1
        self._last_id += len(requests)
        ids = list(range(first, self._last_id + 1))
        self.channel.write(
            [
                orjson.dumps({"id": request_id, "method": method, "params": params})
                for request_id, (method, params) in zip(ids, requests, strict=True)
            ]
        )
        return ids

    def notify(self, method: str) -> None:
        """Send a notification without params."""
        self.channel.write([orjson.dumps({"method": method})])

    def reply(self, request_id: int, limit_s: float = LIMIT_S) -> Reply:
        """The answer to a request. Raises Gone when none comes in time."""
        self.until(lambda: request_id in self.replies, limit_s)
        return self.replies.pop(request_id)

    def request(self, method: str, params: Mapping[str, Any] | None = None) -> Any:
        """Send, wait, return the result. Raises Refused, Gone."""
        return self.reply(self.post(method, params)).result(method)

    def timed_ms(self, method: str, params: Mapping[str, Any] | None = None) -> float:
        """How long a request takes. Raises Refused, Gone."""
        began_ns = time.monotonic_ns()
        reply = self.reply(self.post(method, params))
        reply.result(method)
        return (reply.at_ns - began_ns) / 1e6

    def initialize(self) -> Reply:
        """The whole handshake; returns the answer to `initialize`."""
        reply = self.reply(self.post("initialize", HELLO))
        reply.result("initialize")
        self.notify("initialized")
        return reply

    def until(self, ready: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Read until it holds. Raises Gone when it does not in time."""
        end = time.monotonic() + limit_s
        while not ready():
            if (left_s := end - time.monotonic()) <= 0:
                raise Gone(f"The server did not answer within {limit_s:g} s.")
            self.read(left_s)

    def read(self, timeout_s: float) -> None:
        """Take in what comes."""
        messages = self.channel.read(timeout_s)
        at_ns = time.monotonic_ns()
        for raw in messages:
            if raw[:1] != b"{":
                continue  # a profiler that started the server says so on the same pipe
            message = orjson.loads(raw)
            method = message.get("method")
            if method is None:
                self.replies[message["id"]] = Reply(at_ns=at_ns, message=message)
            elif "id" in message:
                error = {"code": -32601, "message": "The benchmark answers no requests."}
                self.channel.write([orjson.dumps({"id": message["id"], "error": error})])
            else:
                params = message.get("params") or {}
                self.notes.append(Note(at_ns=at_ns, method=method, params=params, size_bytes=len(raw)))

    def forget(self) -> None:
        """Drop the notifications and replies so far."""
        self.notes.clear()
        self.replies.clear()
