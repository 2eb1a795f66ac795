"""account/usage/read: the backend of a ChatGPT login is asked, with that login and nobody else's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_server.errors import RpcError
from app_server.methods.account_usage import account_usage, thread_usage
from tests.interaction.conversation import UNKNOWN_THREAD, refused
from tests.support.accounts import access_token, id_token, write_api_key_auth, write_chatgpt_auth
from tests.support.client import RpcFailure
from tests.support.server import Home, make_home, serving
from tests.support.upstream import Reply, ScriptedUpstream

pytestmark = pytest.mark.anyio
PROFILE, THREADS = "/wham/profiles/me", "/wham/usage/thread_usage/query"
NO_SUMMARY = {
    "lifetimeTokens": None,
    "peakDailyTokens": None,
    "longestRunningTurnSec": None,
    "currentStreakDays": None,
    "longestStreakDays": None,
}
LOGIN_FIRST = (
    "account/usage/read needs a ChatGPT login; log in with account/login/start, type chatgpt or chatgptAuthTokens."
)


def account_home(folder: Path, up: ScriptedUpstream, backend: str = "/backend-api") -> Home:
    """A home that asks the scripted upstream about its ChatGPT account; its threads use a provider with a key."""
    address = up.base_url.removesuffix("/v1") + backend
    return make_home(folder, up.base_url, top=f'chatgpt_base_url = "{address}"')


async def test_the_usage_of_the_account_is_what_its_backend_tells(tmp_path: Path) -> None:
    stats = {"lifetime_tokens": 5, "peak_daily_tokens": 4, "longest_running_turn_sec": 3, "unheard_of": 9}
    days = [{"start_date": "2026-01-01", "tokens": 3}]
    async with ScriptedUpstream() as up:
        up.routes["GET", PROFILE] = Reply(body={"stats": {**stats, "daily_usage_buckets": days}})
        home = account_home(tmp_path, up)
        write_chatgpt_auth(home.home)
        async with serving(home) as (_, client):
            replies = [await client.request("account/usage/read", params) for params in (None, {}, {"threadId": None})]

    told = {"lifetimeTokens": 5, "peakDailyTokens": 4, "longestRunningTurnSec": 3}
    usage = {
        "summary": NO_SUMMARY | told,
        "dailyUsageBuckets": [{"startDate": "2026-01-01", "tokens": 3}],
        "threadUsage": None,
    }
    assert replies == [usage] * 3
    request = up.requests[0]
    assert (request.path, request.headers["authorization"], request.headers["chatgpt-account-id"]) == (
        "/backend-api" + PROFILE,
        f"Bearer {access_token()}",
        "account-1",
    )


async def test_the_usage_of_a_thread_is_asked_by_its_id(tmp_path: Path) -> None:
    group = {"estimated_usage_credits_micros": 3, "model": "m", "input_tokens": 1, "net_new_input_tokens": 1}
    row = {"thread_id": UNKNOWN_THREAD, "estimated_usage_credits_micros": 5, "groups": [group]}
    async with ScriptedUpstream() as up:
        up.routes["POST", THREADS] = Reply(body={"threads": [row]})
        home = account_home(tmp_path, up)
        write_chatgpt_auth(home.home)
        async with serving(home) as (_, client):
            reply = await client.request("account/usage/read", {"threadId": UNKNOWN_THREAD})

    assert up.posts(THREADS)[0].body == {"thread_ids": [UNKNOWN_THREAD]}
    assert reply == {
        "summary": NO_SUMMARY,
        "dailyUsageBuckets": None,
        "threadUsage": {
            "threadId": UNKNOWN_THREAD,
            "estimatedUsageCreditsMicros": 5,
            "estimatedUsageUsdMicros": None,
            "nativeUsageUsdMicros": None,
            "groups": [
                {
                    "model": "m",
                    "reasoningEffort": None,
                    "speed": None,
                    "estimatedUsageCreditsMicros": 3,
                    "netNewInputTokens": 1,
                    "cachedInputTokens": None,
                    "inputTokens": 1,
                    "outputTokens": None,
                    "totalTokens": None,
                }
            ],
        },
    }


async def test_a_backend_without_accounts_of_threads_is_no_error(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        up.routes["POST", THREADS] = Reply(status=404, body={})
        home = account_home(tmp_path, up)
        write_chatgpt_auth(home.home)
        async with serving(home) as (_, client):
            reply = await client.request("account/usage/read", {"threadId": UNKNOWN_THREAD})

    assert reply == {"summary": NO_SUMMARY, "dailyUsageBuckets": None, "threadUsage": None}


async def test_a_backend_at_another_address_is_asked_in_the_other_form(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        up.routes["GET", "/profiles/me"] = Reply(body={"stats": {}})
        home = account_home(tmp_path, up, backend="/gateway/")
        write_chatgpt_auth(home.home)
        async with serving(home) as (_, client):
            await client.request("account/usage/read")

    assert up.requests[0].path == "/gateway/api/codex/profiles/me"


async def test_nobody_is_asked_without_a_chatgpt_login(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = account_home(tmp_path, up)
        async with serving(home) as (_, client):
            without = await refused(client, "account/usage/read")
            write_api_key_auth(home.home)
            with_key = await refused(client, "account/usage/read", {"threadId": UNKNOWN_THREAD})
            misspelt = await refused(client, "account/usage/read", {"threadId": "bad"})

    assert (without, with_key) == ((-32600, LOGIN_FIRST), (-32600, LOGIN_FIRST))
    assert misspelt == (-32600, "invalid thread id: bad is not a UUID; use an id of thread/list")
    assert up.requests == []


async def test_a_refused_login_is_renewed_once_and_the_question_asked_again(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        up.routes["GET", PROFILE] = Reply(status=401, body={})
        fresh = {"id_token": id_token(), "access_token": access_token(expires_at_s=4_000_000_001)}
        up.routes["POST", "/oauth/token"] = Reply(body=fresh)
        home = account_home(tmp_path, up)
        write_chatgpt_auth(home.home)
        home.env["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = up.base_url + "/oauth/token"
        async with serving(home) as (_, client):
            code, message = await refused(client, "account/usage/read")

    asked = [request.headers["authorization"] for request in up.requests if request.method == "GET"]
    assert asked == [f"Bearer {access_token()}", f"Bearer {fresh['access_token']}"]
    assert (code, message) == (
        -32603,
        "What the account has used could not be read: the ChatGPT backend refused the login (status 401); "
        "log in again with account/login/start.",
    )


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Reply(status=500, body={"detail": "sk-secret"}), "the ChatGPT backend answered with status 500"),
        (Reply(body=[]), "the answer of the ChatGPT backend has a form that this server does not know"),
        (Reply(body=b"<html>"), "the answer of the ChatGPT backend has a form that this server does not know"),
    ],
)
async def test_an_answer_that_tells_nothing_is_an_error_with_its_cause(tmp_path: Path, answer: Reply, why: str) -> None:
    async with ScriptedUpstream() as up:
        up.routes["GET", PROFILE] = answer
        home = account_home(tmp_path, up)
        write_chatgpt_auth(home.home)
        async with serving(home) as (_, client):
            with pytest.raises(RpcFailure) as failure:
                await client.request("account/usage/read")

    assert (failure.value.code, failure.value.data) == (-32603, {"code": "chatgptBackend"})
    assert failure.value.message == f"What the account has used could not be read: {why}; try again later."


async def test_a_backend_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1", top='chatgpt_base_url = "http://127.0.0.1:9/backend-api"')
    write_chatgpt_auth(home.home)
    async with serving(home) as (_, client):
        code, message = await refused(client, "account/usage/read")

    assert (code, message) == (
        -32603,
        "What the account has used could not be read: the ChatGPT backend refused the connection; "
        "check the address and that the service runs.",
    )


@pytest.mark.parametrize("stats", [None, [], {"lifetime_tokens": "many"}, {"lifetime_tokens": 1.5}])
def test_statistics_of_another_form_are_not_guessed_at(stats: Any) -> None:
    with pytest.raises(RpcError, match="has a form that this server does not know"):
        account_usage({"stats": stats})


@pytest.mark.parametrize(
    "told",
    [{}, {"threads": []}, {"threads": [{"thread_id": "another"}]}, {"threads": [{"thread_id": UNKNOWN_THREAD}]}],
)
def test_the_usage_of_another_thread_or_of_none_is_not_taken(told: dict[str, Any]) -> None:
    with pytest.raises(RpcError, match="has a form that this server does not know"):
        thread_usage(told, UNKNOWN_THREAD)
