"""Logins and settings as a client sees them, with every secret kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from app_server.bootstrap import App
from app_server.errors import ConfigurationError
from tests.interaction.conversation import picture_home, refused, run_turn, start_thread
from tests.support.accounts import access_token, id_token, write_chatgpt_auth
from tests.support.server import connected, make_home, running, serving
from tests.support.upstream import Reply, ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"
OPENAI = "requires_openai_auth = true"


async def test_an_api_key_login_is_stored_told_to_all_and_used(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, login=OPENAI)
        async with running(home) as app, connected(app) as client, connected(app) as other:
            reply = await client.request("account/login/start", {"type": "apiKey", "apiKey": "sk-new-key"})
            completed = await other.wait_for("account/login/completed")
            updated = await other.wait_for("account/updated")
            account = await client.request("account/read", {})
            up.queue.append(text_turn("r1", "Hello."))
            await run_turn(client, await start_thread(client))

    assert reply == {"type": "apiKey"}
    assert (completed["loginId"], completed["success"], completed["error"]) == (None, True, None)
    assert updated == {"authMode": "apikey", "planType": None}
    assert (account["account"], account["requiresOpenaiAuth"]) == ({"type": "apiKey"}, True)
    assert up.posts()[0].headers["authorization"] == "Bearer sk-new-key"
    assert orjson.loads((home.home / "auth.json").read_bytes())["OPENAI_API_KEY"] == "sk-new-key"


async def test_the_reply_of_a_login_comes_before_its_notifications(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        await client.request("account/login/start", {"type": "apiKey", "apiKey": "sk-new-key"})
        await client.wait_for("account/updated")

        tail = [frame.get("method", "reply") for frame in client.incoming[-3:]]
        assert tail == ["reply", "account/login/completed", "account/updated"]


async def test_tokens_that_the_client_keeps_are_used_and_never_written(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM, login=OPENAI)
    async with serving(home) as (_, client):
        tokens = {"accessToken": access_token(), "chatgptAccountId": "a-1", "chatgptPlanType": "plus"}
        reply = await client.request("account/login/start", {"type": "chatgptAuthTokens", **tokens})
        updated = await client.wait_for("account/updated")
        account = (await client.request("account/read", {}))["account"]

    assert reply == {"type": "chatgptAuthTokens"}
    assert updated == {"authMode": "chatgptAuthTokens", "planType": "plus"}
    assert (account["type"], account["planType"]) == ("chatgpt", "plus")
    assert not (home.home / "auth.json").exists()


async def test_a_logout_forgets_the_login_and_is_told(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM, login=OPENAI)
    write_chatgpt_auth(home.home)
    async with serving(home) as (_, client):
        first = await client.wait_for("account/updated")
        assert await client.request("account/logout") == {}
        second = await client.wait_for("account/updated")
        account = (await client.request("account/read", {}))["account"]

    assert (first, second) == ({"authMode": "chatgpt", "planType": "plus"}, {"authMode": None, "planType": None})
    assert account is None
    assert not (home.home / "auth.json").exists()


async def test_a_chatgpt_account_is_shown_with_its_plan(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        reply = await client.request("account/read", {})

    assert reply["account"] | {"workspaceName": None} == {
        "type": "chatgpt",
        "email": "user@example.com",
        "planType": "plus",
        "workspaceName": None,
    }
    assert (reply["userId"], reply["requiresOpenaiAuth"]) == ("user-1", True)


@pytest.mark.parametrize("key", ["", "   ", "two words", "ünï"])
async def test_a_key_that_is_none_is_refused_without_repeating_it(tmp_path: Path, key: str) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        code, message = await refused(client, "account/login/start", {"type": "apiKey", "apiKey": key})

    assert (code, message) == (-32600, "The API key is empty or has characters that no key has; copy it again.")


@pytest.mark.parametrize(
    "login",
    [{"type": "chatgptDeviceCode"}, {"type": "amazonBedrock", "apiKey": "sk-secret", "region": "eu-1"}],
)
async def test_other_ways_to_log_in_are_not_supported(tmp_path: Path, login: dict[str, str]) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        code, message = await refused(client, "account/login/start", login)

    assert (code, message) == (
        -32601,
        f"Logging in by {login['type']} is not supported by this server; use type apiKey, chatgpt or "
        "chatgptAuthTokens.",
    )


async def test_limits_are_those_of_the_newest_answer_that_told_any(tmp_path: Path) -> None:
    told = {"x-codex-primary-used-percent": "12.4", "x-codex-primary-window-minutes": "300"}
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        before = await client.request("account/rateLimits/read")
        up.queue += [replace(text_turn("r1", "A."), headers=told), text_turn("r2", "B.")]
        thread_id = await start_thread(client)
        await run_turn(client, thread_id)
        await run_turn(client, thread_id)
        after = await client.request("account/rateLimits/read", {})

    window = {"usedPercent": 12, "windowDurationMins": 300, "resetsAt": None}
    assert (before["rateLimits"]["primary"], before["accountId"]) == (None, "account-1")
    assert (after["rateLimits"]["primary"], after["rateLimits"]["planType"]) == (window, "plus")
    assert after["rateLimitsByLimitId"] == {"codex": after["rateLimits"]}


async def test_without_a_login_and_before_any_answer_there_are_no_limits_to_read(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        code, message = await refused(client, "account/rateLimits/read")

    assert code == -32600
    assert "log in with account/login/start, or run a turn first" in message


async def test_a_client_can_have_the_stored_tokens_renewed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        fresh = {"id_token": id_token(plan="pro"), "access_token": access_token(), "refresh_token": "refresh-2"}
        up.routes["POST", "/oauth/token"] = Reply(body=fresh)
        home = picture_home(tmp_path, up)
        home.env["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = up.base_url + "/oauth/token"
        async with serving(home) as (_, client):
            old = await client.request("account/read", {})
            new = await client.request("account/read", {"refreshToken": True})

    assert (old["account"]["planType"], new["account"]["planType"]) == ("plus", "pro")
    assert len(up.posts("/oauth/token")) == 1


async def test_a_chatgpt_login_brings_its_own_models(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        up.routes["GET", "/models"] = Reply(body={"models": [{"slug": "gpt-of-the-account", "priority": 1}]})
        models = (await client.request("model/list", {}))["data"]
        await client.request("model/list", {"includeHidden": True})

    assert (models[0]["id"], models[1]["id"]) == ("gpt-of-the-account", "gpt-6.1-sol")
    assert [request.path for request in up.requests] == ["/v1/models"]


async def test_the_window_of_a_model_that_the_account_told_reaches_its_turns(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        up.routes["GET", "/models"] = Reply(body={"models": [{"slug": "gpt-of-the-account", "context_window": 1000}]})
        up.queue += [text_turn("r1", "A."), text_turn("r2", "B.")]
        thread_id = await start_thread(client, model="gpt-of-the-account")
        await run_turn(client, thread_id)
        await client.request("model/list", {})
        await run_turn(client, thread_id)

    told = client.notifications("thread/tokenUsage/updated")
    assert [params["tokenUsage"]["modelContextWindow"] for params in told] == [None, 950]


async def test_a_wrong_login_type_never_shows_the_key(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        _, message = await refused(client, "account/login/start", {"type": "apiKey", "apiKey": ["sk-secret"]})

        assert "sk-secret" not in message + str(client.incoming)


async def test_a_cancel_finds_no_login(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        reply = await client.request("account/login/cancel", {"loginId": "019a0000-0000-7000-8000-000000000000"})

    assert reply == {"status": "notFound"}


async def test_the_config_is_read_without_its_secrets(tmp_path: Path) -> None:
    provider = (
        'experimental_bearer_token = "sk-hidden-1"\n'
        'http_headers = { "X-Key" = "sk-hidden-2" }\nquery_params = { "api-version" = "sk-hidden-3" }'
    )
    home = make_home(tmp_path, NO_UPSTREAM, provider=provider)
    async with serving(home) as (_, client):
        reply = await client.request("config/read", {"includeLayers": True})

    config = reply["config"]
    assert "sk-hidden" not in str(reply)
    assert (config["model"], config["model_provider"], config["sandbox_mode"]) == ("gpt-5.5", "fake", "workspace-write")
    assert config["model_providers"]["fake"]["env_key"] == "FAKE_KEY"
    assert reply["origins"]["model"]["name"]["file"] == str(home.home / "config.toml")
    assert [layer["name"]["type"] for layer in reply["layers"]] == ["sessionFlags", "user"]


async def test_nothing_is_required_by_an_administrator(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        assert (await client.request("configRequirements/read"))["requirements"] is None


async def test_unknown_features_make_one_warning(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM, features="flying = true\nswimming = false\nweb_search_request = true")
    async with serving(home) as (_, client):
        await start_thread(client)

        (warning,) = client.notifications("configWarning")
    assert "flying" in warning["summary"]
    assert "swimming" in warning["summary"]
    assert "web_search_request" not in warning["summary"]


async def test_a_config_without_a_fault_makes_no_warning(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        await start_thread(client)

        assert client.notifications("configWarning") == []


@pytest.mark.parametrize(
    ("features", "fragment"),
    [('imagegenext = "yes"', "imagegenext"), ("imagegenext = [", "config.toml")],
)
async def test_a_broken_config_names_file_line_and_column(tmp_path: Path, features: str, fragment: str) -> None:
    home = make_home(tmp_path, NO_UPSTREAM, features=features)

    with pytest.raises(ConfigurationError, match=r"config\.toml:\d+:\d+") as raised:
        App(home.options())

    assert fragment in raised.value.message


async def test_a_project_config_holds_in_its_folder_alone(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, top='[projects."' + str(tmp_path / "work") + '"]\ntrust_level = "trusted"\n')
        (home.cwd / ".codex").mkdir()
        (home.cwd / ".codex" / "config.toml").write_text("[features]\nimage_generation = false\n")
        async with serving(home) as (_, client):
            up.queue += [text_turn("r1", "A."), text_turn("r2", "B.")]
            await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
            await run_turn(client, await start_thread(client, cwd=str(tmp_path)))

    assert [len(request.body["tools"]) for request in up.posts()] == [0, 1]


async def test_models_are_listed_in_pages(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        whole = (await client.request("model/list", {}))["data"]
        first = await client.request("model/list", {"limit": 2})
        second = await client.request("model/list", {"limit": 100, "cursor": first["nextCursor"]})

    assert [model["id"] for model in first["data"] + second["data"]] == [model["id"] for model in whole]
    assert [model["id"] for model in whole if model["isDefault"]] == ["gpt-6.1-sol"]
    assert second["nextCursor"] is None
