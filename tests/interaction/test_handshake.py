"""The handshake: who may ask what, and what a client may choose not to hear."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app_server.bootstrap import App
from tests.interaction.conversation import CLIENT_INFO, refused, run_turn, start_thread, stranger
from tests.support.server import connected, make_home, running
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app:
        yield app


async def test_a_request_before_initialize_is_refused(app: App) -> None:
    async with stranger(app) as client:
        assert await refused(client, "model/list", {}) == (-32600, "Not initialized")


async def test_a_second_initialize_is_refused(app: App) -> None:
    async with connected(app) as client:
        assert await refused(client, "initialize", {"clientInfo": CLIENT_INFO}) == (-32600, "Already initialized")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, "Invalid request: missing field `params`"),
        ({}, "Invalid request: missing field `clientInfo`"),
        ({"clientInfo": {"version": "1"}}, "Invalid request: missing field `name` (at `clientInfo`)"),
        ({"clientInfo": {"name": "x"}}, "Invalid request: missing field `version` (at `clientInfo`)"),
        (
            {"clientInfo": {"name": 1, "version": "1"}},
            "Invalid request: invalid type: integer `1`, expected a string (at `clientInfo.name`)",
        ),
    ],
)
async def test_an_incomplete_initialize_says_what_is_missing(app: App, params: Any, message: str) -> None:
    async with stranger(app) as client:
        assert await refused(client, "initialize", params) == (-32600, message)


async def test_a_failed_initialize_can_be_tried_again(app: App) -> None:
    async with stranger(app) as client:
        await refused(client, "initialize", {})

        reply = await client.initialize()

        assert reply["codexHome"] == str(app.home)
        assert (await client.request("thread/loaded/list", {}))["data"] == []


async def test_requests_are_served_before_the_initialized_notification(app: App) -> None:
    async with stranger(app) as client:
        await client.request("initialize", {"clientInfo": CLIENT_INFO})

        assert await start_thread(client)


async def test_the_user_agent_names_client_and_protocol_version(app: App) -> None:
    async with stranger(app) as client:
        reply = await client.initialize()

        assert reply["userAgent"].startswith("tests/0.169.0 (")
        assert reply["userAgent"].endswith("(tests; 1.0.0)")


async def test_a_notification_that_was_opted_out_never_comes(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, running(make_home(tmp_path, up.base_url)) as app, stranger(app) as client:
        up.queue.append(text_turn("r1", "Hello."))
        await client.initialize(optOutNotificationMethods=["item/agentMessage/delta", "thread/started", "no/such"])

        await run_turn(client, await start_thread(client))

        assert {"item/agentMessage/delta", "thread/started"} & {*client.order()} == set()
        assert "item/completed" in client.order()


async def test_an_opt_out_holds_for_one_connection_alone(app: App) -> None:
    async with stranger(app) as quiet, connected(app) as other:
        await quiet.initialize(optOutNotificationMethods=["thread/started"])

        thread_id = await start_thread(quiet)

        assert (await other.wait_for("thread/started"))["thread"]["id"] == thread_id
        assert quiet.notifications("thread/started") == []


async def test_an_experimental_method_needs_the_capability(app: App) -> None:
    async with connected(app, experimental=False) as client:
        message = "collaborationMode/list requires experimentalApi capability"
        assert await refused(client, "collaborationMode/list", {}) == (-32600, message)


async def test_an_experimental_param_needs_the_capability(app: App) -> None:
    async with connected(app, experimental=False) as client:
        message = "thread/start.dynamicTools requires experimentalApi capability"
        assert await refused(client, "thread/start", {"dynamicTools": []}) == (-32600, message)


async def test_an_experimental_param_set_to_null_needs_no_capability(app: App) -> None:
    async with connected(app, experimental=False) as client:
        assert await start_thread(client, dynamicTools=None)


@pytest.mark.parametrize(("experimental", "times"), [(True, 1), (False, 0)])
async def test_the_read_state_is_told_only_with_the_capability(tmp_path: Path, experimental: bool, times: int) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        connected(app, experimental=experimental) as client,
    ):
        up.queue.append(text_turn("r1", "Hello."))

        await run_turn(client, await start_thread(client))

        assert client.order().count("thread/readState/changed") == times
