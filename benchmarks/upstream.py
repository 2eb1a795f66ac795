"""The fake provider, a process of its own on loopback: `python -m benchmarks.upstream`.

Answers as the directive in a request says, and keeps when each request came and when its answer was written. Its
parent reads the port from the first line of stdout, and for every line on stdin gets a line of JSON: what was asked
since the last one. The end of stdin ends the process, so it outlives nobody.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import orjson
from anyio.abc import SocketAttribute, SocketStream

from benchmarks import answers
from benchmarks.directive import Directive, of_request, parsed
from tests.support.http_wire import HttpRequest, HttpWire

GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, anyio.IncompleteRead)
"""How a connection says that its client went away."""


@dataclass(slots=True, kw_only=True)
class Seen:
    """One request: when it was whole, when its answer was written, by the monotonic clock of the machine."""

    path: str
    body_bytes: int
    asked_ns: int
    answered_ns: int = 0


@dataclass(slots=True, kw_only=True)
class Diary:
    """What happened since the parent asked last."""

    connections: int = 0
    requests: list[Seen] = field(default_factory=list)


class FakeProvider:
    """Serves connections; `report` empties the diary."""

    def __init__(self) -> None:
        self._diary = Diary()
        self._answers = 0

    def report(self) -> bytes:
        """The diary as JSON."""
        diary, self._diary = self._diary, Diary()
        return orjson.dumps(asdict(diary))

    async def serve(self, stream: SocketStream) -> None:
        """One connection, kept open between requests."""
        self._diary.connections += 1
        wire = HttpWire(stream)
        async with stream:
            try:
                while (request := await wire.read_request()) is not None:
                    seen = Seen(path=request.target, body_bytes=len(request.raw), asked_ns=time.monotonic_ns())
                    self._diary.requests.append(seen)
                    await self._answer(wire, request)
                    seen.answered_ns = time.monotonic_ns()
            except GONE:
                return

    async def _answer(self, wire: HttpWire, request: HttpRequest) -> None:
        path = request.target.partition("?")[0]
        body: Any = orjson.loads(request.raw) if request.raw[:1] == b"{" else {}
        if path.endswith("/responses"):
            await self._respond(wire, of_request(body.get("input") or []))
        elif path.endswith(("/images/generations", "/images/edits")):
            await _whole(wire, 200, answers.picture_reply(parsed(str(body.get("prompt"))).picture_bytes))
        else:
            await _whole(wire, 404, b'{"error":{"message":"This provider answers requests for text and pictures."}}')

    async def _respond(self, wire: HttpWire, directive: Directive) -> None:
        self._answers += 1
        response_id = f"resp_{self._answers}"
        await wire.send_head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"})
        if directive.picture_bytes:
            await wire.send(answers.picture_call(response_id, directive.picture_bytes))
        else:
            await wire.send(answers.text_begin(response_id))
            text = await _stream(wire, response_id, directive)
            await wire.send(answers.text_end(response_id, text))
        await wire.end_chunks()


async def _stream(wire: HttpWire, response_id: str, directive: Directive) -> str:
    """Send the deltas at their pace, or as fast as they are taken; returns the whole text."""
    texts: list[str] = []
    batch = bytearray()
    due = anyio.current_time()
    for piece in answers.deltas(response_id, directive, texts):
        batch += piece
        if directive.pace_us or len(batch) > answers.BATCH_BYTES:
            await wire.send(bytes(batch))
            batch.clear()
        if directive.pace_us:
            due += directive.pace_us / 1e6
            await anyio.sleep_until(due)
    await wire.send(bytes(batch))
    return "".join(texts)


async def _whole(wire: HttpWire, status: int, body: bytes) -> None:
    await wire.send_head(status, {"content-type": "application/json", "content-length": str(len(body))})
    await wire.send(body)


async def main() -> None:
    """Listen, tell the port, answer the parent until it goes."""
    provider = FakeProvider()
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, provider.serve)
        _say(b"%d" % listener.extra(SocketAttribute.local_port))
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            _say(provider.report())
        tasks.cancel_scope.cancel()


def _say(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    anyio.run(main)
