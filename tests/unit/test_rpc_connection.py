"""One client over one stream: the handshake rules, requests in flight, requests that we sent, and the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
import orjson
import pytest
from anyio.abc import TaskGroup

from app_server.clock import SystemClock
from app_server.errors import InvalidRequest, RpcError
from app_server.protocol.jsonrpc import Request, encode_result
from app_server.rpc import connection as connection_module
from app_server.rpc.connection import Connection, Core
from app_server.rpc.hub import Hub
from app_server.rpc.session import Session
from app_server.transport.base import MessageStream, StreamClosed
from app_server.transport.memory import memory_pair

pytestmark = pytest.mark.anyio
Frame = dict[str, Any]


class FakeServer:
    """A composition root whose methods are: echo, hold (answers when released), after (sends behind its reply)."""

    def __init__(self) -> None:
        self.hub: Hub[None] = Hub(SystemClock())
        self.release = anyio.Event()
        self.ready: list[Connection[None]] = []
        self.broken = False
        self.warm = anyio.Event()
        self.warm.set()
        self.begun: list[int | str] = []

    def initialize(self, session: Session, params: Any) -> Mapping[str, Any]:
        if params == "bad":
            raise InvalidRequest("No.", data_code="invalidParams")
        session.initialized = True
        return {"welcome": True}

    async def core(self) -> Core[None]:
        await self.warm.wait()
        if self.broken:
            raise InvalidRequest("Not today.", data_code="configuration")
        return Core(services=None, dispatcher=self)

    async def client_ready(self, connection: Connection[None]) -> None:
        self.ready.append(connection)

    def begin(self, ctx: Any, request: Request) -> tuple[bytes, bool] | Coroutine[Any, Any, tuple[bytes, bool]]:
        self.begun.append(request.id)
        return self.answer(ctx, request) if request.method != "quick" else (encode_result(request.id, "at once"), True)

    async def answer(self, ctx: Any, request: Request) -> tuple[bytes, bool]:
        ctx.after_reply(lambda: ctx.connection.send(b'{"behind":true}'))
        if request.method == "hold":
            await self.release.wait()
        return encode_result(request.id, request.method), request.method == "after"


class Client:
    """The other end, in plain frames."""

    def __init__(self, stream: MessageStream, tasks: TaskGroup) -> None:
        self.stream, self.tasks = stream, tasks
        self.connection: Connection[None] | None = None
        self.ended = anyio.Event()

    async def say(self, *frames: Frame | bytes) -> None:
        await self.stream.send([frame if isinstance(frame, bytes) else orjson.dumps(frame) for frame in frames])

    async def hear(self) -> Any:
        return orjson.loads(await self.stream.receive())

    async def ask(self, *frames: Frame | bytes) -> list[Any]:
        """Say these frames and hear as many answers."""
        await self.say(*frames)
        return [await self.hear() for _ in frames]

    async def shake_hands(self) -> None:
        assert await self.ask({"id": 0, "method": "initialize"}) == [{"id": 0, "result": {"welcome": True}}]


@asynccontextmanager
async def connected(server: FakeServer, **limits: int) -> AsyncIterator[Client]:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            ours, theirs = memory_pair(**limits)
            client = Client(ours, tasks)
            client.connection = Connection(theirs, server)

            async def run(connection: Connection[None]) -> None:
                await connection.run()
                client.ended.set()

            tasks.start_soon(run, client.connection)
            yield client
            await ours.aclose()
            await client.ended.wait()


def error(request_id: int | str | None, message: str, code: str, wire_code: int = -32600, **data: Any) -> Frame:
    return {"error": {"code": wire_code, "message": message, "data": {"code": code, **data}}, "id": request_id}


async def test_nothing_is_served_before_initialize_and_initialize_only_once() -> None:
    server = FakeServer()
    async with connected(server) as client:
        answers = await client.ask(
            {"id": 1, "method": "echo"},
            {"id": 2, "method": "initialize", "params": "bad"},
            {"id": 3, "method": "echo"},
            {"id": 4, "method": "initialize"},
            {"id": 5, "method": "initialize"},
            {"id": "6", "method": "echo"},
        )
    assert answers == [
        error(1, "Not initialized", "notInitialized"),
        error(2, "No.", "invalidParams"),
        error(3, "Not initialized", "notInitialized"),
        {"id": 4, "result": {"welcome": True}},
        error(5, "Already initialized", "alreadyInitialized"),
        {"id": "6", "result": "echo"},
    ]
    assert server.ready == [client.connection]


async def test_unreadable_frames_are_answered_and_end_nothing_and_silent_ones_are_skipped() -> None:
    async with connected(FakeServer(), max_frame_bytes=100) as client:
        await client.shake_hands()
        await client.say(b"", b"  ", {"method": "initialized"}, {"method": "no/such"}, {"id": 9, "result": 1})
        answers = await client.ask(b"{", b"[]", {"id": "x"}, b"x" * 101, {"id": 1, "method": "echo"})
    assert [(frame.get("id"), frame.get("error", {}).get("code")) for frame in answers] == [
        (None, -32700),
        (None, -32600),
        ("x", -32600),
        (None, -32600),
        (1, None),
    ]
    assert answers[3]["error"]["data"] == {"code": "frameTooLarge"}


async def test_a_slow_request_does_not_hold_up_the_next_one() -> None:
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        await client.say({"id": 1, "method": "hold"}, {"id": 2, "method": "echo"})
        assert await client.hear() == {"id": 2, "result": "echo"}
        server.release.set()
        assert await client.hear() == {"id": 1, "result": "hold"}


async def test_requests_are_begun_in_their_order_also_while_the_server_warms_up() -> None:
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        server.warm = anyio.Event()
        await client.say(*({"id": number, "method": "echo"} for number in range(1, 4)))
        await anyio.wait_all_tasks_blocked()
        server.warm.set()
        await client.say(*({"id": number, "method": "echo"} for number in range(4, 7)))
        for _ in range(6):
            await client.hear()
    assert server.begun == [1, 2, 3, 4, 5, 6]


async def test_what_a_handler_sends_after_its_reply_comes_behind_it_and_not_after_a_bad_one() -> None:
    async with connected(FakeServer()) as client:
        await client.shake_hands()
        await client.say({"id": 1, "method": "after"}, {"id": 2, "method": "bad"})
        heard = [await client.hear() for _ in range(3)]
    assert [frame for frame in heard if frame.get("id") != 2] == [{"id": 1, "result": "after"}, {"behind": True}]


async def test_a_server_that_cannot_start_up_answers_with_the_cause() -> None:
    server = FakeServer()
    server.broken = True
    async with connected(server) as client:
        await client.shake_hands()
        assert await client.ask({"id": 1, "method": "echo"}) == [error(1, "Not today.", "configuration")]


async def test_too_many_requests_in_flight_are_refused_until_some_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection_module, "MAX_IN_FLIGHT", 2)
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        await client.say(*({"id": number, "method": "hold"} for number in (1, 2, 3)))
        assert await client.hear() == error(
            3,
            "Server overloaded: 2 requests are unanswered; retry when some are.",
            "overloaded",
            -32001,
            server_overloaded=True,
        )
        server.release.set()
        assert {(await client.hear())["id"] for _ in range(2)} == {1, 2}
        assert await client.ask({"id": 4, "method": "echo"}) == [{"id": 4, "result": "echo"}]


async def asked(client: Client, then: Callable[[int], Any]) -> list[Any]:
    """Let the server ask the client; `then` makes the client's answer from the id. Returns the result or the error."""
    got: list[Any] = []
    done = anyio.Event()

    async def ask() -> None:
        assert client.connection is not None
        try:
            got.append(await client.connection.request("item/tool/call", {"x": 1}))
        except RpcError as failure:
            got.append((failure.message, failure.data_code))
        done.set()

    client.tasks.start_soon(ask)
    request = await client.hear()
    assert request == {"id": request["id"], "method": "item/tool/call", "params": {"x": 1}}
    await client.say({"id": 999, "result": "for nobody"}, then(request["id"]))
    await done.wait()
    return got


async def test_our_own_requests_get_the_clients_answer_or_its_error() -> None:
    async with connected(FakeServer()) as client:
        await client.shake_hands()
        results = [
            await asked(client, lambda n: {"id": n, "result": {"ok": 1}}),
            await asked(client, lambda n: {"id": n, "error": {"code": 5, "message": "I will not."}}),
            await asked(client, lambda n: {"id": n, "error": "odd"}),
            await asked(client, lambda n: {"id": n, "error": {}}),
        ]
    assert results == [
        [{"ok": 1}],
        [("I will not.", "clientError")],
        [("odd", "clientError")],
        [("The client refused.", "clientError")],
    ]


async def test_a_client_that_goes_away_fails_the_requests_that_wait_for_it() -> None:
    got: list[str] = []
    done = anyio.Event()

    async def ask(connection: Connection[None]) -> None:
        with pytest.raises(RpcError) as failure:
            await connection.request("item/tool/call", {})
        got.append(failure.value.message)
        done.set()

    async with connected(FakeServer()) as client:
        await client.shake_hands()
        assert client.connection is not None
        client.tasks.start_soon(ask, client.connection)
        await client.hear()
        await client.stream.aclose()
        await done.wait()
    assert got == ["The client disconnected before it answered."]


async def test_the_end_of_input_lets_what_is_in_flight_finish_and_takes_the_client_off_the_hub() -> None:
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        assert client.connection is not None
        server.hub.subscribe("t", client.connection)
        await client.say({"id": 1, "method": "hold"}, {"id": 2, "method": "echo"})
        await client.hear()
        await client.stream.aclose()
        server.release.set()
        await client.ended.wait()
        assert server.hub.wanted_forms("t", 1, 1) == frozenset()


async def test_the_hub_knows_whether_anybody_waits_for_an_answer() -> None:
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        asked = [server.hub.is_asked()]
        await client.say({"id": 1, "method": "hold"}, {"id": 2, "method": "echo"})
        await client.hear()
        asked.append(server.hub.is_asked())
        server.release.set()
        await client.hear()
        await anyio.wait_all_tasks_blocked()
        assert [*asked, server.hub.is_asked()] == [False, True, False]


async def test_a_client_that_never_reads_is_cut_off_at_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_server.rpc.outbox.HARD_LIMIT_BYTES", 100)
    monkeypatch.setattr("app_server.rpc.outbox._FLUSH_TIMEOUT_S", 0.01)
    monkeypatch.setattr("app_server.transport.memory.BUFFER_BYTES", 50)
    async with connected(FakeServer()) as client:
        await client.shake_hands()
        assert client.connection is not None
        for _ in range(4):
            client.connection.send(b"x" * 40)
        await client.ended.wait()
        assert client.connection is not None
        with pytest.raises(StreamClosed):
            await client.say({"id": 1, "method": "echo"})


async def test_what_needs_no_waiting_is_answered_while_the_rest_waits() -> None:
    server = FakeServer()
    async with connected(server) as client:
        await client.shake_hands()
        await client.say({"id": 1, "method": "hold"}, {"id": 2, "method": "quick"}, {"id": 3, "method": "quick"})
        first = [await client.hear(), await client.hear()]
        server.release.set()
        assert first == [{"id": 2, "result": "at once"}, {"id": 3, "result": "at once"}]
        assert await client.hear() == {"id": 1, "result": "hold"}
        assert server.begun == [1, 2, 3]
