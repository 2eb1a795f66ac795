"""Which image tool the model is offered, from flags, logins and providers, asked anew at every turn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    Client,
    imagegen,
    outputs,
    picture_home,
    refused,
    run_turn,
    start_thread,
    tool_names,
)
from tests.support.accounts import access_token, write_api_key_auth, write_chatgpt_auth
from tests.support.server import Home, make_home, serving
from tests.support.upstream import ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio
STANDALONE, HOSTED = ["image_gen"], ["image_generation"]


async def offered(up: ScriptedUpstream, client: Client, thread_id: str) -> list[str]:
    """The tools of one more turn."""
    up.queue.append(text_turn(f"r{len(up.requests)}", "Hello."))
    await run_turn(client, thread_id)
    return tool_names(up.posts()[-1])


async def offered_by(up: ScriptedUpstream, home: Home, **thread: Any) -> list[str]:
    """The tools of the first turn of a thread on this home."""
    async with serving(home) as (_, client):
        return await offered(up, client, await start_thread(client, **thread))


@pytest.mark.parametrize(
    ("enable", "features", "tools"),
    [
        (("imagegenext",), "", STANDALONE),
        ((), "", HOSTED),
        ((), "imagegenext = true", STANDALONE),
        (("imagegenext",), "image_generation = false", []),
        ((), "image_generation = false", []),
        (("imagegenext",), "imagegenext = false", STANDALONE),
    ],
)
async def test_the_flags_choose_the_tool(
    tmp_path: Path, enable: Sequence[str], features: str, tools: list[str]
) -> None:
    async with ScriptedUpstream() as up:
        assert await offered_by(up, picture_home(tmp_path, up, enable=enable, features=features)) == tools


@pytest.mark.parametrize(
    ("config", "tools"),
    [
        ({"features": {"imagegenext": False}}, HOSTED),
        ({"features.imagegenext": False}, HOSTED),
        ({"features": {"image_generation": False}}, []),
        ({"features": {"image_generation": True}}, STANDALONE),
    ],
)
async def test_a_threads_own_config_holds_for_this_thread_alone(
    tmp_path: Path, config: dict[str, Any], tools: list[str]
) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        own = await offered(up, client, await start_thread(client, config=config))
        other = await offered(up, client, await start_thread(client))

        assert (own, other) == (tools, STANDALONE)


async def test_a_thread_may_turn_the_standalone_tool_on_for_itself(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, enable=())) as (_, client):
        own = await offered(up, client, await start_thread(client, config={"features": {"imagegenext": True}}))
        other = await offered(up, client, await start_thread(client))

        assert (own, other) == (STANDALONE, HOSTED)


async def test_a_threads_own_config_comes_back_with_it(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client, config={"features": {"imagegenext": False}})
            await offered(up, client, thread_id)
        async with serving(home) as (_, client):
            await client.request("thread/resume", {"threadId": thread_id})
            assert await offered(up, client, thread_id) == HOSTED


async def test_enabling_the_feature_at_run_time_counts_from_the_next_turn_on(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, enable=())) as (_, client):
        thread_id = await start_thread(client)
        before = await offered(up, client, thread_id)

        reply = await client.request("experimentalFeature/enablement/set", {"enablement": {"imagegenext": True}})
        after = await offered(up, client, thread_id)
        await client.request("experimentalFeature/enablement/set", {"enablement": {"image_generation": False}})

        assert reply == {"enablement": {"imagegenext": True}}
        assert (before, after, await offered(up, client, thread_id)) == (HOSTED, STANDALONE, [])


async def test_the_enablement_of_an_unknown_feature_is_refused(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, "http://127.0.0.1:9/v1")) as (_, client):
        code, message = await refused(
            client, "experimentalFeature/enablement/set", {"enablement": {"imagegenext": True, "flying": True}}
        )

    assert (code, message.partition(";")[0]) == (-32600, "unknown feature: flying")


async def test_the_feature_list_shows_what_holds(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, "http://127.0.0.1:9/v1")) as (_, client):
        rows = (await client.request("experimentalFeature/list", {}))["data"]

    states = {row["name"]: (row["stage"], row["enabled"], row["defaultEnabled"]) for row in rows}
    assert states["image_generation"] == ("stable", True, True)
    assert states["imagegenext"] == ("underDevelopment", True, False)


@pytest.mark.parametrize(("plan", "tools"), [("plus", STANDALONE), ("pro", STANDALONE), ("free", [])])
async def test_the_free_plan_has_no_pictures(tmp_path: Path, plan: str, tools: list[str]) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        write_chatgpt_auth(home.home, plan=plan)

        assert await offered_by(up, home) == tools


async def test_an_api_key_login_has_pictures_where_the_provider_uses_openais_login(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, login="requires_openai_auth = true")
        write_api_key_auth(home.home)

        assert await offered_by(up, home) == STANDALONE


async def test_an_api_key_login_falls_back_to_the_hosted_tool_without_the_flag(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, login="requires_openai_auth = true", enable=())
        write_api_key_auth(home.home)

        assert await offered_by(up, home) == HOSTED


@pytest.mark.parametrize(
    ("provider", "tools"),
    [
        ("", []),
        ("image_generation = true\nnamespace_tools = true", STANDALONE),
        ("image_generation = true", ["image_gen__imagegen"]),
        ("image_generation = false\nnamespace_tools = true", []),
    ],
)
async def test_a_provider_with_a_key_of_its_own_has_pictures_when_its_table_says_so(
    tmp_path: Path, provider: str, tools: list[str]
) -> None:
    async with ScriptedUpstream() as up:
        assert await offered_by(up, make_home(tmp_path, up.base_url, provider=provider)) == tools


async def test_a_model_that_takes_words_alone_is_not_known_so_every_model_may_draw(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        assert await offered_by(up, picture_home(tmp_path, up), model="somebody-elses-model") == STANDALONE


async def test_a_login_counts_from_the_next_turn_on(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, provider="")
        write_chatgpt_auth(home.home, plan="free")
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            before = await offered(up, client, thread_id)
            await client.request(
                "account/login/start",
                {
                    "type": "chatgptAuthTokens",
                    "accessToken": access_token(),
                    "chatgptAccountId": "account-2",
                    "chatgptPlanType": "pro",
                },
            )

            assert (before, await offered(up, client, thread_id)) == ([], STANDALONE)
            assert up.posts()[-1].headers["chatgpt-account-id"] == "account-2"


async def test_a_call_of_a_tool_that_is_not_offered_is_answered_in_words(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        async with serving(picture_home(tmp_path, up, features="image_generation = false")) as (_, client):
            up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "I cannot.")]
            turn = await run_turn(client, await start_thread(client))

        assert turn["status"] == "completed"
        assert outputs(up.posts()[1])[0]["output"].startswith("unsupported call: image_gen.imagegen")
        assert up.posts("/images/generations") == []


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "namespace": "image_gen", "name": "imagegen", "description": "x", "inputSchema": {}},
        {"namespace": "image_gen", "name": "other", "description": "x", "inputSchema": {}},
        {"type": "namespace", "name": "image_gen", "description": "x", "tools": []},
    ],
)
async def test_a_clients_tool_may_not_pose_as_the_image_tool(tmp_path: Path, tool: dict[str, Any]) -> None:
    async with serving(make_home(tmp_path, "http://127.0.0.1:9/v1")) as (_, client):
        code, message = await refused(client, "thread/start", {"dynamicTools": [tool]})

    text = "dynamic tool namespace collides with a reserved Responses API namespace: image_gen"
    assert (code, message.partition(";")[0]) == (-32600, text)


@pytest.mark.parametrize(("features", "capable"), [("", True), ("image_generation = false", False)])
async def test_the_capabilities_tell_the_truth(tmp_path: Path, features: str, capable: bool) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, features=features)) as (_, client):
        reply = await client.request("modelProvider/capabilities/read", {})

    assert reply["imageGeneration"] is capable
