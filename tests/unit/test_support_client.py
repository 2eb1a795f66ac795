"""The test client keeps order, matches replies, answers the server's requests and refuses frames off the schema."""

import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import orjson
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from websockets.asyncio.server import ServerConnection, serve

from app_server.transport.base import StreamClosed
from tests.support import schema
from tests.support.client import RpcClient, RpcFailure, ServerRequest, stdio_client, ws_client

needs_schema = pytest.mark.skipif(not schema.available(), reason="the reference schema is not beside the repository")


class FakeStream:
    """One end of a pair of streams in memory."""

    def __init__(self, inbox: MemoryObjectReceiveStream[bytes], outbox: MemoryObjectSendStream[bytes]) -> None:
        self._inbox, self._outbox = inbox, outbox

    @property
    def transport(self) -> str:
        return "memory"

    async def receive(self) -> bytes:
        try:
            return await self._inbox.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StreamClosed from None

    async def send(self, frames: Sequence[bytes]) -> None:
        try:
            for frame in frames:
                await self._outbox.send(frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise StreamClosed from None

    async def aclose(self) -> None:
        await self._outbox.aclose()
        await self._inbox.aclose()

    async def say(self, **frame: Any) -> None:
        await self.send([orjson.dumps(frame)])

    async def heard(self) -> dict[str, Any]:
        message: dict[str, Any] = orjson.loads(await self.receive())
        return message


@asynccontextmanager
async def connected() -> AsyncGenerator[tuple[RpcClient[FakeStream], FakeStream]]:
    """A client, and the server's end of its stream."""
    to_server, server_inbox = anyio.create_memory_object_stream[bytes](100)
    to_client, client_inbox = anyio.create_memory_object_stream[bytes](100)
    theirs = FakeStream(server_inbox, to_client)
    async with anyio.create_task_group() as tasks, RpcClient(FakeStream(client_inbox, to_server), tasks) as client:
        try:
            yield client, theirs
        finally:
            await theirs.aclose()


def renamed(thread_id: str, name: str = "one") -> dict[str, Any]:
    """A small notification of the protocol."""
    params = {"threadId": thread_id, "threadName": name}
    return {"method": "thread/name/updated", "params": params, "emittedAtMs": 1}


@pytest.mark.anyio
async def test_the_handshake_is_initialize_and_initialized() -> None:
    reply = {"userAgent": "tests/0", "codexHome": "/h", "platformFamily": "unix", "platformOs": "linux"}
    async with connected() as (client, theirs):
        await theirs.say(id=1, result=reply)
        result = await client.initialize(optOutNotificationMethods=["thread/started"])

        assert result == reply
        assert [await theirs.heard(), await theirs.heard()] == [
            {
                "method": "initialize",
                "id": 1,
                "params": {
                    "clientInfo": {"name": "tests", "title": None, "version": "1.0.0"},
                    "capabilities": {"experimentalApi": True, "optOutNotificationMethods": ["thread/started"]},
                },
            },
            {"method": "initialized"},
        ]


@pytest.mark.anyio
async def test_replies_find_their_requests_in_any_order() -> None:
    async with connected() as (client, theirs):
        first, second = await client.post("thread/archive", {"threadId": "t"}), await client.post("no/such")
        await theirs.say(id=second, error={"code": -32600, "message": "Unknown.", "data": {"code": "unknownMethod"}})
        await theirs.say(id=first, result={})

        assert await client.result(first) == {}
        with pytest.raises(RpcFailure) as failure:
            await client.result(second)
    assert (failure.value.code, failure.value.message, failure.value.data) == (
        -32600,
        "Unknown.",
        {"code": "unknownMethod"},
    )


@pytest.mark.anyio
async def test_a_wait_returns_each_notification_once_whatever_came_first() -> None:
    async with connected() as (client, theirs):
        for thread_id in ("b", "a", "a"):
            await theirs.say(**renamed(thread_id, name=f"of {thread_id}"))

        found = [await client.wait_for("thread/name/updated", threadId=thread_id) for thread_id in ("a", "b", "a")]
        assert [params["threadId"] for params in found] == ["a", "b", "a"]
        assert [params["threadId"] for params in client.notifications("thread/name/updated")] == ["b", "a", "a"]
        assert client.order() == ["thread/name/updated"] * 3
        with pytest.raises(AssertionError, match="is open; came"):
            await client.wait_for("thread/name/updated", timeout_s=0.01)


@pytest.mark.anyio
async def test_a_wait_compares_members_at_any_depth_and_forgets_what_was_skipped() -> None:
    turn = {"id": "u2", "items": [], "status": "completed"}
    async with connected() as (client, theirs):
        await theirs.say(method="turn/completed", params={"threadId": "t", "turn": {**turn, "id": "u1"}}, emittedAtMs=1)
        await client.wait_for("turn/completed", turn__id="u1")
        await theirs.say(**renamed("old"))
        await theirs.say(method="turn/completed", params={"threadId": "t", "turn": turn}, emittedAtMs=1)
        await client.wait_for("turn/completed", turn__id="u2", turn__status="completed")
        client.skip()
        await theirs.say(**renamed("new"))

        assert (await client.wait_for("thread/name/updated"))["threadId"] == "new"


@pytest.mark.anyio
async def test_requests_of_the_server_are_answered_by_a_handler_or_by_hand() -> None:
    asked = {"threadId": "t", "turnId": "u", "callId": "c", "tool": "x", "arguments": {}}

    async def answer(params: dict[str, Any]) -> dict[str, Any]:
        if params["tool"] == "bad":
            raise RpcFailure(-32000, "No.", {"why": 1})
        return {"success": True, "contentItems": []}

    async with connected() as (client, theirs):
        await theirs.say(method="item/tool/call", id=0, params=asked)
        request = await client.wait_for_request("item/tool/call", callId="c")
        await client.reply(request.id, {"success": False, "contentItems": []})
        by_hand = await theirs.heard()
        client.handlers["item/tool/call"] = answer
        await theirs.say(method="item/tool/call", id=1, params=asked)
        by_handler = await theirs.heard()
        await theirs.say(method="item/tool/call", id=2, params={**asked, "tool": "bad"})
        refused = await theirs.heard()

    assert request == ServerRequest(id=0, method="item/tool/call", params=asked)
    assert [by_hand, by_handler, refused] == [
        {"id": 0, "result": {"success": False, "contentItems": []}},
        {"id": 1, "result": {"success": True, "contentItems": []}},
        {"id": 2, "error": {"code": -32000, "message": "No.", "data": {"why": 1}}},
    ]


@pytest.mark.anyio
async def test_an_unreadable_frame_is_answered_with_a_null_id() -> None:
    async with connected() as (client, theirs):
        await client.send_raw(b"{nonsense")
        assert await theirs.receive() == b"{nonsense"
        await theirs.say(id=None, error={"code": -32700, "message": "Not JSON."})

        assert str(await client.wait_for_error()) == "-32700 Not JSON."


@pytest.mark.anyio
async def test_a_frame_that_is_wrong_fails_the_client_at_its_end() -> None:
    kept: list[RpcClient[FakeStream]] = []

    async def meet_wrong_frames() -> None:
        async with connected() as (client, theirs):
            kept.append(client)
            await theirs.send([b"stray print"])
            await theirs.say(method="thread/name/updated", params={"threadId": "t"})
            await theirs.say(jsonrpc="2.0", id=7, result={})
            await theirs.say(**renamed("t"))
            await client.wait_for("thread/name/updated", threadName="one")

    with pytest.raises(ExceptionGroup) as failures:
        await meet_wrong_frames()
    assert failures.group_contains(AssertionError)
    assert kept[0].schema_errors == [
        "a frame is no JSON object: b'stray print'",
        "thread/name/updated: a notification without an integer `emittedAtMs`",
        "a frame has a `jsonrpc` member, which the reference never sends",
    ]


@pytest.mark.anyio
async def test_a_wait_ends_when_the_server_goes_away() -> None:
    async with connected() as (client, theirs):
        asked = await client.post("model/list", {})
        await theirs.aclose()
        with pytest.raises(AssertionError, match=r"reply to model/list \(id 1\); the server's side has ended"):
            await client.result(asked)


CHILD = """
import json, os, sys
print("ready " + os.environ["WHO"], file=sys.stderr, flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps({"id": asked["id"], "result": {"data": [], "echo": "x" * 200_000}}), flush=True)
sys.exit(3)
"""


@pytest.mark.anyio
async def test_a_child_process_is_driven_over_its_pipes() -> None:
    async with stdio_client([sys.executable, "-c", CHILD], env={"WHO": "child"}) as client:
        assert len((await client.request("model/list", {}))["echo"]) == 200_000
        assert client.stream.returncode is None

    assert [client.stream.returncode, client.stream.stderr_text] == [3, "ready child\n"]


@pytest.mark.anyio
async def test_a_websocket_server_is_driven_with_headers() -> None:
    async def answer(connection: ServerConnection) -> None:
        assert connection.request is not None
        token = connection.request.headers["Authorization"]
        async for text in connection:
            assert isinstance(text, str)
            await connection.send(orjson.dumps({"id": orjson.loads(text)["id"], "result": {"data": [token]}}).decode())

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with ws_client(f"ws://127.0.0.1:{port}", {"Authorization": "Bearer t"}) as client:
            assert await client.request("thread/loaded/list", {}) == {"data": ["Bearer t"]}


@needs_schema
@pytest.mark.parametrize(
    ("frame", "asked", "errors"),
    [
        (renamed("t"), None, []),
        ({**renamed("t"), "params": {"threadName": "n"}}, None, ["'threadId' is a required property"]),
        ({"method": "no/such", "params": {}, "emittedAtMs": 1}, None, ["not a ServerNotification of the schema"]),
        ({"method": "item/tool/call", "id": 1, "params": {}}, None, ["is a required property"]),
        ({"id": 1, "result": {"data": "x"}}, "thread/loaded/list", ["'x' is not of type 'array'"]),
        ({"id": 1, "result": {"data": [], "more": 1}}, "thread/loaded/list", []),
        ({"id": 1, "result": 5}, "account/logout", ["5 is not of type 'object'"]),
        ({"id": 1, "result": 5}, "getConversationSummary", []),
        ({"id": "a", "error": {"code": -32600, "message": "No."}}, "x/y", []),
        ({"id": None, "error": {"code": -32601, "message": "No."}}, None, ["None is not"]),
        ({"id": 1, "error": {"code": "x", "message": "No."}}, None, ["'x' is not of type 'integer'"]),
    ],
)
def test_frames_are_checked_against_the_reference(frame: dict[str, Any], asked: str | None, errors: list[str]) -> None:
    found = schema.frame_errors(frame, asked)

    assert all(part in line for part, line in zip(errors, found, strict=False))
    assert bool(found) == bool(errors)


@needs_schema
def test_every_request_of_the_reference_has_a_type_of_its_reply() -> None:
    bundle = orjson.loads(schema.bundle_path().read_bytes())
    reference = schema.ReferenceSchema(bundle)
    methods = [one["properties"]["method"]["enum"][0] for one in bundle["definitions"]["ClientRequest"]["oneOf"]]

    assert [method for method in methods if reference.reply_pointer(method) is None] == []
