"""A ChatGPT login in the user's browser, from the address to auth.json, and every way in which it fails."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import anyio
import httpx
import orjson
import pytest

from tests.interaction.conversation import Client, refused
from tests.support.accounts import access_token, id_token
from tests.support.server import connected, make_home, running
from tests.support.upstream import Reply, ScriptedUpstream

pytestmark = pytest.mark.anyio
LOGIN = {"type": "chatgpt"}
TOKENS = {"id_token": id_token(plan="pro"), "access_token": access_token(), "refresh_token": "refresh-1"}


@asynccontextmanager
async def asked(tmp_path: Path, answer: Reply) -> AsyncIterator[tuple[Client, ScriptedUpstream, Path]]:
    """A client, the service that logs users in, and the home."""
    async with ScriptedUpstream() as service:
        service.routes["POST", "/oauth/token"] = answer
        home = make_home(tmp_path, "http://127.0.0.1:9/v1", login="requires_openai_auth = true")
        issuer = service.base_url.removesuffix("/v1")
        home.env = {"CODEX_APP_SERVER_LOGIN_ISSUER": issuer, "APP_SERVER_LOGIN_PORT": "0"}
        async with running(home) as app, connected(app) as client:
            yield client, service, home.home


def query_of(login: dict[str, Any]) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(login["authUrl"]).query))


async def browser(login: dict[str, Any], **answer: str) -> httpx.Response:
    """What the browser brings back to the address that the login named; the state is the right one unless given."""
    query = query_of(login)
    back = query["redirect_uri"].replace("localhost", "127.0.0.1")
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"{back}?{urlencode({'state': query['state'], **answer})}")


async def test_a_login_in_the_browser_is_stored_and_told(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, service, home):
        login = await client.request("account/login/start", LOGIN)
        page = await browser(login, code="code-1")
        completed = await client.wait_for("account/login/completed")
        updated = await client.wait_for("account/updated")
        account = (await client.request("account/read", {}))["account"]

    query = query_of(login)
    form = {name: values[0] for name, values in parse_qs(service.posts("/oauth/token")[0].raw.decode()).items()}
    digest = hashlib.sha256(form.pop("code_verifier").encode()).digest()
    assert query["code_challenge"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert (query["response_type"], query["code_challenge_method"], query["originator"]) == ("code", "S256", "tests")
    assert form == {
        "grant_type": "authorization_code",
        "code": "code-1",
        "redirect_uri": query["redirect_uri"],
        "client_id": query["client_id"],
    }
    assert (page.status_code, "You are logged in." in page.text) == (200, True)
    done = {"loginId": login["loginId"], "success": True, "error": None, "onboardingEntrypoint": None}
    assert (login["type"], completed, updated) == ("chatgpt", done, {"authMode": "chatgpt", "planType": "pro"})
    assert (account["type"], account["planType"]) == ("chatgpt", "pro")
    stored = orjson.loads((home / "auth.json").read_bytes())
    assert stored["tokens"] == {**TOKENS, "account_id": "account-1"}
    assert stored["auth_mode"] == "chatgpt"


async def test_a_canceled_login_is_told_after_the_reply_and_is_gone(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, _, home):
        login = await client.request("account/login/start", LOGIN)
        first = await client.request("account/login/cancel", {"loginId": login["loginId"]})
        completed = await client.wait_for("account/login/completed")
        second = await client.request("account/login/cancel", {"loginId": login["loginId"]})
        with pytest.raises(httpx.ConnectError):
            await browser(login, code="code-1")

    assert (first, second) == ({"status": "canceled"}, {"status": "notFound"})
    assert completed == {
        "loginId": login["loginId"],
        "success": False,
        "error": "The login was canceled.",
        "onboardingEntrypoint": None,
    }
    assert not (home / "auth.json").exists()


async def test_an_answer_with_a_foreign_state_changes_nothing(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, service, _):
        login = await client.request("account/login/start", LOGIN)
        foreign = await browser(login, code="code-1", state="made-up")
        refusal = await browser(login, error="access_denied", state="made-up")
        assert (foreign.status_code, refusal.status_code, service.posts("/oauth/token")) == (400, 400, [])
        await browser(login, code="code-1")
        completed = await client.wait_for("account/login/completed")

    assert completed["success"] is True


async def test_a_refusal_of_the_user_ends_the_login(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, _, _home):
        login = await client.request("account/login/start", LOGIN)
        page = await browser(login, error="access_denied<script>")
        completed = await client.wait_for("account/login/completed")

    assert "<script>" not in page.text
    assert (completed["success"], completed["error"]) == (False, "The login was refused (access_denied<script>).")


@pytest.mark.parametrize(
    "answer",
    [
        Reply(status=400, body={"error": "invalid_grant", "error_description": "secret-of-the-service"}),
        Reply(body={"id_token": "x"}),
        Reply(body=b"no json"),
        Reply(cut=True),
    ],
)
async def test_a_code_that_gets_no_tokens_fails_the_login(tmp_path: Path, answer: Reply) -> None:
    async with asked(tmp_path, answer) as (client, _, home):
        login = await client.request("account/login/start", LOGIN)
        page = await browser(login, code="code-1")
        completed = await client.wait_for("account/login/completed")
        account = (await client.request("account/read", {}))["account"]

    assert (page.status_code, completed["success"], account) == (502, False, None)
    assert "secret-of-the-service" not in page.text + completed["error"]
    assert not (home / "auth.json").exists()


async def test_a_new_login_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, _, _home):
        first = await client.request("account/login/start", LOGIN)
        second = await client.request("account/login/start", LOGIN)
        completed = await client.wait_for("account/login/completed", loginId=first["loginId"])
        await browser(second, code="code-1")
        done = await client.wait_for("account/login/completed", loginId=second["loginId"])

    assert (completed["error"], done["success"]) == ("Another login was started in its place.", True)


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0) as other:
        port = other.extra(anyio.abc.SocketAttribute.local_port)
        home.env["APP_SERVER_LOGIN_PORT"] = str(port)
        async with running(home) as app, connected(app) as client:
            code, message = await refused(client, "account/login/start", LOGIN)

    assert code == -32603
    assert message.startswith(f"The login cannot wait for the browser on 127.0.0.1:{port} (")


async def test_other_requests_of_a_browser_find_nothing(tmp_path: Path) -> None:
    async with asked(tmp_path, Reply(body=TOKENS)) as (client, _, _home):
        login = await client.request("account/login/start", LOGIN)
        back = query_of(login)["redirect_uri"].replace("localhost", "127.0.0.1")
        async with httpx.AsyncClient(trust_env=False) as http:
            other = await http.get(back.replace("/auth/callback", "/favicon.ico"))
            posted = await http.post(back)

    assert (other.status_code, posted.status_code) == (404, 405)
