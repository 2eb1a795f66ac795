"""Frames and params that are wrong: each is answered, and the connection lives on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.interaction.conversation import UNKNOWN_THREAD, Client, refused, start_thread
from tests.support.client import RpcFailure
from tests.support.schema import available, bundle_path
from tests.support.server import make_home, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(make_home(tmp_path, "http://127.0.0.1:9/v1")) as (_, client):
        yield client


@pytest.mark.parametrize(
    ("frame", "code", "data_code"),
    [
        (b"{not json", -32700, "parseError"),
        (b'"words"', -32600, "invalidRequest"),
        (b"[]", -32600, "invalidRequest"),
        (b'[{"id": 1, "method": "model/list", "params": {}}]', -32600, "invalidRequest"),
        (b'{"id": 1.5, "method": "model/list", "params": {}}', -32600, "invalidRequest"),
        (b'{"id": null, "method": "model/list", "params": {}}', -32600, "invalidRequest"),
        (b'{"id": {"a": 1}, "method": "model/list", "params": {}}', -32600, "invalidRequest"),
        (b'{"id": 36893488147419103232, "method": "model/list", "params": {}}', -32600, "invalidRequest"),
        (b"\xff\xfe", -32700, "parseError"),
        (b"{}", -32600, "invalidRequest"),
    ],
)
async def test_an_unreadable_frame_is_answered_with_a_null_id(
    client: Client, frame: bytes, code: int, data_code: str
) -> None:
    await client.send_raw(frame)

    failure = await client.wait_for_error()

    assert (failure.code, failure.data) == (code, {"code": data_code})
    assert (await client.request("thread/loaded/list", {}))["data"] == []


@pytest.mark.parametrize("frame", [b'{"id": 77}', b'{"id": 77, "method": 5, "params": {}}'])
async def test_a_frame_without_a_method_is_answered_with_its_id(client: Client, frame: bytes) -> None:
    await client.send_raw(frame)

    with pytest.raises(RpcFailure, match="A request needs a `method`"):
        await client.result(77)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"   ",
        b'{"id": 99, "result": {}}',
        b'{"id": "nobody", "error": {"code": 1, "message": "no"}}',
        b'{"method": "no/such/notification", "params": {}}',
        b'{"method": "initialized"}',
    ],
)
async def test_what_wants_no_answer_is_skipped(client: Client, frame: bytes) -> None:
    await client.request("thread/loaded/list", {})
    before = len(client.incoming)

    await client.send_raw(frame)
    await client.request("thread/loaded/list", {})

    assert len(client.incoming) == before + 1


@pytest.mark.parametrize("request_id", ["one", "", "☃", 0, -1, 9007199254740993])
async def test_an_id_comes_back_as_it_was(client: Client, request_id: int | str) -> None:
    await client.send_raw(orjson.dumps({"id": request_id, "method": "thread/loaded/list", "params": {}}))

    assert (await client.result(request_id))["data"] == []


async def test_a_jsonrpc_member_is_accepted_and_never_sent(client: Client) -> None:
    await client.send_raw(b'{"jsonrpc": "2.0", "id": 5, "method": "thread/loaded/list", "params": {}}')

    assert (await client.result(5))["data"] == []
    assert all("jsonrpc" not in frame for frame in client.incoming)


async def test_an_unknown_method_is_refused_by_name(client: Client) -> None:
    code, message = await refused(client, "thread/fly", {})

    assert (code, message.partition(";")[0]) == (-32600, "Invalid request: unknown method `thread/fly`")


async def test_missing_params_are_named(client: Client) -> None:
    assert await refused(client, "thread/read") == (-32600, "Invalid request: missing field `params`")


@pytest.mark.parametrize("params", [None, {}, {"extra": 1}])
async def test_a_method_without_params_takes_null_and_absence(client: Client, params: Any) -> None:
    await client.send_raw(orjson.dumps({"id": "a", "method": "account/logout", "params": params}))
    await client.send_raw(b'{"id": "b", "method": "account/logout"}')

    assert (await client.result("a"), await client.result("b")) == ({}, {})


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("thread/read", {}, "missing field `threadId`"),
        ("thread/read", {"threadId": 5}, "invalid type: integer `5`, expected a string (at `threadId`)"),
        ("thread/read", [], "invalid type: sequence, expected a map"),
        (
            "thread/list",
            {"limit": -1},
            "invalid value: integer `-1`, expected an integer that is at least 0 (at `limit`)",
        ),
        ("thread/list", {"limit": True}, "invalid type: boolean `true`, expected an integer (at `limit`)"),
        ("turn/start", {"threadId": "x"}, "missing field `input`"),
        (
            "turn/start",
            {"threadId": "x", "input": "words"},
            'invalid type: string "words", expected a sequence (at `input`)',
        ),
        ("turn/start", {"threadId": "x", "input": [{"text": "a"}]}, "missing field `type` (at `input[0]`)"),
        (
            "turn/start",
            {"threadId": "x", "input": [{"type": None}]},
            "invalid type: null, expected one of `text`, `image`, `localImage`, `audio`, `localAudio`, `skill`, "
            "`mention` (at `input[0]`)",
        ),
        ("turn/start", {"threadId": "x", "input": [{"type": "text"}]}, "missing field `text` (at `input[0]`)"),
    ],
)
async def test_params_of_a_wrong_shape_are_refused_with_their_place(
    client: Client, method: str, params: Any, message: str
) -> None:
    assert await refused(client, method, params) == (-32600, f"Invalid request: {message}")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("turn/start", {"input": [{"type": "text", "text": "Hi"}]}),
        ("turn/steer", {"input": [{"type": "text", "text": "Hi"}], "expectedTurnId": "t"}),
        ("turn/interrupt", {"turnId": "t"}),
        ("thread/read", {}),
        ("thread/resume", {}),
        ("thread/archive", {}),
        ("thread/unarchive", {}),
        ("thread/delete", {}),
        ("thread/name/set", {"name": "x"}),
        ("thread/turns/list", {}),
        ("thread/items/list", {}),
    ],
)
@pytest.mark.parametrize("thread_id", [UNKNOWN_THREAD, "no-uuid"])
async def test_an_unknown_thread_is_refused(client: Client, method: str, params: Any, thread_id: str) -> None:
    code, message = await refused(client, method, {"threadId": thread_id, **params})

    assert code == -32600
    assert message.startswith(("thread not found: ", "thread not loaded: ", "invalid thread id: "))


async def test_unsubscribing_from_an_unknown_thread_says_so(client: Client) -> None:
    reply = await client.request("thread/unsubscribe", {"threadId": UNKNOWN_THREAD})

    assert reply == {"status": "notLoaded"}


def schema_params(type_name: str) -> list[str]:
    """The params of the schema, by name."""
    definition = orjson.loads(bundle_path().read_bytes())["definitions"]["v2"][type_name]
    return sorted(definition["properties"])


@pytest.mark.skipif(not available(), reason="the reference's schema is not beside the repository")
async def test_thread_start_takes_every_param_of_the_schema_as_null_and_unknown_ones(client: Client) -> None:
    params = dict.fromkeys(schema_params("ThreadStartParams"))

    assert await start_thread(client, **params, somethingNew={"deep": [1]})


@pytest.mark.skipif(not available(), reason="the reference's schema is not beside the repository")
async def test_turn_start_takes_every_param_of_the_schema_as_null_and_unknown_ones(client: Client) -> None:
    params = dict.fromkeys(schema_params("TurnStartParams"))
    needed = {"threadId": await start_thread(client), "input": [{"type": "text", "text": "Hi"}]}

    reply = await client.request("turn/start", {**params, **needed, "somethingNew": 1})

    assert reply["turn"]["status"] == "inProgress"


async def test_many_requests_at_once_are_all_answered(client: Client) -> None:
    ids = [await client.post("thread/loaded/list", {}) for _ in range(200)]

    assert [(await client.result(each))["data"] for each in ids] == [[]] * 200
