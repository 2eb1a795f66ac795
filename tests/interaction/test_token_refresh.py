"""A ChatGPT login that has run out or is refused, seen from the client: renewed once, or told with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import imagegen, picture_home, run_turn, start_thread
from tests.support.accounts import access_token, id_token, unsigned_jwt, write_api_key_auth, write_chatgpt_auth
from tests.support.client import RpcFailure
from tests.support.server import Home, connected, running, serving
from tests.support.upstream import ReceivedRequest, Reply, ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio

REFUSED = Reply(status=401, body={"error": {"message": "Your token has expired.", "code": "token_expired"}})
FRESH = unsigned_jwt({"exp": 4_000_000_001, "jti": "fresh"})
RENEWED = Reply(body={"id_token": id_token(), "access_token": FRESH, "refresh_token": "refresh-2"})


def renewing_home(folder: Path, up: ScriptedUpstream) -> Home:
    """A ChatGPT login whose refresh endpoint is the scripted upstream."""
    home = picture_home(folder, up)
    home.env["CODEX_REFRESH_TOKEN_URL_OVERRIDE"] = f"{up.base_url}/oauth/token"
    up.routes["POST", "/oauth/token"] = RENEWED
    return home


def bearers(requests: list[ReceivedRequest]) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in requests]


async def test_a_refused_login_is_renewed_once_and_the_turn_goes_on(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        up.queue += [REFUSED, text_turn("r1", "Hello.")]
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))
    assert (turn["status"], client.notifications("error")) == ("completed", [])
    assert bearers(up.posts()) == [access_token(), FRESH]
    assert json.loads((home.home / "auth.json").read_text(encoding="utf-8"))["tokens"]["refresh_token"] == "refresh-2"


async def test_a_login_that_is_refused_again_is_told_as_it_is(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        up.queue += [REFUSED, REFUSED]
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))
    assert turn["status"] == "failed"
    assert "log in again" in turn["error"]["message"]
    assert (len(up.posts()), len(up.posts("/oauth/token"))) == (2, 1)


async def test_a_login_that_has_run_out_is_renewed_before_anything_is_sent_with_it(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        write_chatgpt_auth(home.home, expires_at_s=1)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))
    assert turn["status"] == "completed"
    assert bearers(up.posts()) == [FRESH]


async def test_a_login_that_has_run_out_for_good_says_what_to_do(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        write_chatgpt_auth(home.home, expires_at_s=1)
        up.routes["POST", "/oauth/token"] = Reply(status=401, body={"error": {"code": "refresh_token_expired"}})
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))
    assert turn["error"]["codexErrorInfo"] == "unauthorized"
    assert turn["error"]["message"].endswith("has expired; log in again with account/login/start.")
    assert up.posts() == []


async def test_a_picture_request_that_is_refused_is_sent_again_with_a_renewed_login(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
        up.images.append(REFUSED)
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client))
            done = await client.wait_for("item/completed", item__type="imageGeneration")
    assert done["item"]["status"] == "completed"
    assert bearers(up.posts("/images/generations")) == [access_token(), FRESH]


async def test_an_api_key_is_not_renewed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        write_api_key_auth(home.home)
        up.queue.append(REFUSED)
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))
    assert turn["status"] == "failed"
    assert (len(up.posts()), up.posts("/oauth/token")) == (1, [])


async def test_the_client_that_keeps_the_tokens_is_asked_and_no_other(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        up.queue += [REFUSED, text_turn("r1", "Hello.")]
        asked: list[Any] = []

        def renew(params: Any) -> Any:
            asked.append(params)
            return {"accessToken": FRESH, "chatgptAccountId": "account-2", "chatgptPlanType": "pro"}

        async with running(home) as app, connected(app) as other, connected(app) as keeper:
            other.handlers["account/chatgptAuthTokens/refresh"] = lambda params: asked.append("other")
            keeper.handlers["account/chatgptAuthTokens/refresh"] = renew
            await keeper.request(
                "account/login/start",
                {"type": "chatgptAuthTokens", "accessToken": access_token(), "chatgptAccountId": "account-1"},
            )
            turn = await run_turn(other, await start_thread(other))
    assert turn["status"] == "completed"
    assert asked == [{"reason": "unauthorized", "previousAccountId": "account-1"}]
    assert bearers(up.posts()) == [access_token(), FRESH]
    assert [request.headers["chatgpt-account-id"] for request in up.posts()] == ["account-1", "account-2"]


async def test_a_client_that_refuses_leaves_the_turn_failed_with_what_to_do(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = renewing_home(tmp_path, up)
        up.queue.append(REFUSED)

        def refuse(params: Any) -> Any:
            raise RpcFailure(-32000, "signed out")

        async with serving(home) as (_, client):
            client.handlers["account/chatgptAuthTokens/refresh"] = refuse
            await client.request(
                "account/login/start",
                {"type": "chatgptAuthTokens", "accessToken": access_token(), "chatgptAccountId": "account-1"},
            )
            turn = await run_turn(client, await start_thread(client))
    assert "log in again" in turn["error"]["message"]
    assert (len(up.posts()), up.posts("/oauth/token")) == (1, [])
