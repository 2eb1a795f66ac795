"""Renewing ChatGPT tokens: by the refresh endpoint, by the client that keeps them, once for all who wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from app_server.auth.manager import AuthManager
from app_server.auth.refresh import AHEAD_S, FRESH_S, REFRESH_METHOD, RETRY_AHEAD_S, LoginRefresher
from app_server.auth.renewal import REFRESH_URL, REFRESH_URL_VARIABLE
from app_server.config.schema import ProviderConfig
from app_server.errors import MissingCredentials, RpcError
from app_server.extension_api.services import HttpAnswer, HttpFailure
from tests.support.accounts import chatgpt_auth, unsigned_jwt, write_api_key_auth, write_auth

pytestmark = pytest.mark.anyio

NOW_S = 1_800_000_000
SIGNED_IN = ProviderConfig(id="gateway", base_url="http://gateway/v1", requires_openai_auth=True)
WITH_KEY = ProviderConfig(id="other", base_url="http://other/v1", env_key="KEY", requires_openai_auth=True)
FRESH = {"id_token": "id-2", "access_token": "access-2", "refresh_token": "refresh-2"}


@dataclass
class FakeClock:
    now_s: float = NOW_S

    def now_ms(self) -> int:
        return round(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


@dataclass
class FakeEndpoint:
    """Answers every exchange alike; `before` runs while one is under way."""

    answer: HttpAnswer | HttpFailure
    before: Callable[[], None] = lambda: None
    gate: anyio.Event | None = None
    sent: list[dict[str, Any]] = field(default_factory=list)
    reached: anyio.Event = field(default_factory=anyio.Event)

    async def post_json(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        self.sent.append({"url": url, **body})
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        self.before()
        if isinstance(self.answer, HttpFailure):
            raise self.answer
        return self.answer


@dataclass(eq=False)
class FakeClient:
    """A connected client that answers with tokens, with an error, or never."""

    answer: Mapping[str, Any] | RpcError | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def request(self, method: str, params: Any) -> Any:
        self.asked.append((method, params))
        if self.answer is None:
            await anyio.sleep_forever()
        if isinstance(self.answer, RpcError):
            raise self.answer
        return self.answer


@dataclass
class World:
    home: Path
    endpoint: FakeEndpoint
    clients: list[FakeClient] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.auth = AuthManager(self.home, self.env, self.clock)
        self.refresher = LoginRefresher(
            self.auth, self.endpoint, self.clock, self.env, lambda: self.clients, ask_timeout_s=0.05
        )

    @property
    def bearer(self) -> str | None:
        return self.auth.credentials_for(SIGNED_IN).bearer

    def stored(self) -> Any:
        return json.loads((self.home / "auth.json").read_text(encoding="utf-8"))


def good(**members: Any) -> HttpAnswer:
    return HttpAnswer(status=200, headers={}, body=orjson.dumps({**FRESH, **members}))


def refusal(status: int, code: str) -> HttpAnswer:
    return HttpAnswer(status=status, headers={}, body=orjson.dumps({"error": {"code": code}}))


def token(expires_at_s: int) -> str:
    return unsigned_jwt({"exp": expires_at_s})


def chatgpt(home: Path, **tokens: Any) -> None:
    """A login in auth.json with members that this server does not know."""
    content = chatgpt_auth(account_id="acct-1")
    content["tokens"] = {**content["tokens"], "access_token": "access-1", **tokens}
    write_auth(home, {**content, "agent_identity": {"kept": True}})


def tokens_of(account: str = "acct-2", plan: str | None = "team") -> dict[str, Any]:
    return {"accessToken": "client-2", "chatgptAccountId": account, "chatgptPlanType": plan}


async def test_a_refused_token_of_the_file_is_exchanged_and_the_file_holds_the_new_one(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good()))
    before = world.stored()
    assert await world.refresher.refresh(SIGNED_IN, "access-1") is True
    assert world.endpoint.sent == [
        {
            "url": REFRESH_URL,
            "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
            "grant_type": "refresh_token",
            "refresh_token": "refresh-1",
            "scope": "openid profile email",
        }
    ]
    assert world.stored() == {
        **before,
        "tokens": {**FRESH, "account_id": "acct-1"},
        "last_refresh": "2027-01-15T08:00:00Z",
    }
    assert world.bearer == "access-2"
    if os.name != "nt":
        assert (tmp_path / "auth.json").stat().st_mode & 0o777 == 0o600


async def test_what_the_endpoint_leaves_out_stays(tmp_path: Path) -> None:
    chatgpt(tmp_path, id_token="id-1")
    world = World(tmp_path, FakeEndpoint(good(id_token=None, refresh_token=None)))
    assert await world.refresher.refresh(SIGNED_IN, "access-1") is True
    assert world.stored()["tokens"] == {
        "id_token": "id-1",
        "access_token": "access-2",
        "refresh_token": "refresh-1",
        "account_id": "acct-1",
    }


async def test_the_endpoint_can_be_another_one(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good()), env={REFRESH_URL_VARIABLE: "http://127.0.0.1:1/token"})
    await world.refresher.refresh(SIGNED_IN, "access-1")
    assert world.endpoint.sent[0]["url"] == "http://127.0.0.1:1/token"


async def test_all_who_were_refused_share_one_exchange(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good(), gate=anyio.Event()))
    outcomes: list[bool] = []

    async def refused(sent: str | None) -> None:
        outcomes.append(await world.refresher.refresh(SIGNED_IN, sent))

    async with anyio.create_task_group() as tasks:
        for sent in ("access-1", "access-1", None):
            tasks.start_soon(refused, sent)
        await world.endpoint.reached.wait()
        assert world.endpoint.gate is not None
        world.endpoint.gate.set()
    await refused("access-1")
    assert (outcomes, len(world.endpoint.sent)) == ([True] * 4, 1)


async def test_an_exchange_is_finished_and_kept_even_when_the_caller_is_interrupted(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good(), gate=anyio.Event()))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.refresher.refresh, SIGNED_IN, "access-1")
        await world.endpoint.reached.wait()
        tasks.cancel_scope.cancel()
        assert world.endpoint.gate is not None
        world.endpoint.gate.set()
    assert world.bearer == "access-2"


async def test_a_token_that_another_process_renewed_is_used_as_it_is(tmp_path: Path) -> None:
    chatgpt(tmp_path, access_token="access-of-another-process")
    world = World(tmp_path, FakeEndpoint(good()))
    assert await world.refresher.refresh(SIGNED_IN, "access-1") is True
    assert (world.endpoint.sent, world.bearer) == ([], "access-of-another-process")


@pytest.mark.parametrize("answer", [good(), refusal(401, "refresh_token_reused")])
async def test_a_login_that_another_process_writes_meanwhile_is_not_overwritten(
    tmp_path: Path, answer: HttpAnswer
) -> None:
    chatgpt(tmp_path)
    quicker = {"access_token": "theirs", "refresh_token": "refresh-theirs"}
    world = World(tmp_path, FakeEndpoint(answer, before=lambda: chatgpt(tmp_path, **quicker)))
    assert await world.refresher.refresh(SIGNED_IN, "access-1") is True
    assert world.bearer == "theirs"


@pytest.mark.parametrize(
    "answer",
    [
        refusal(401, "refresh_token_expired"),
        refusal(500, "server_error"),
        HttpAnswer(status=200, headers={}, body=b"{}"),
        HttpAnswer(status=200, headers={}, body=b"<html>"),
        HttpFailure("http://x refused the connection."),
    ],
)
async def test_a_failed_exchange_changes_nothing(tmp_path: Path, answer: HttpAnswer | HttpFailure) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(answer))
    before = world.stored()
    assert await world.refresher.refresh(SIGNED_IN, "access-1") is False
    assert (world.stored(), world.bearer) == (before, "access-1")


async def test_a_refresh_token_that_was_refused_is_not_sent_again_until_there_is_another_login(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(refusal(401, "refresh_token_expired")))
    assert [await world.refresher.refresh(SIGNED_IN, "access-1") for _ in range(2)] == [False, False]
    assert len(world.endpoint.sent) == 1
    chatgpt(tmp_path, refresh_token="refresh-new")
    await world.refresher.refresh(SIGNED_IN, "access-1")
    assert world.endpoint.sent[1]["refresh_token"] == "refresh-new"


@pytest.mark.parametrize("login", ["none", "apikey", "no refresh token", "provider with a key of its own"])
async def test_what_cannot_be_renewed_is_not(tmp_path: Path, login: str) -> None:
    provider = WITH_KEY if login.startswith("provider") else SIGNED_IN
    match login:
        case "apikey":
            write_api_key_auth(tmp_path)
        case "no refresh token":
            chatgpt(tmp_path, refresh_token=None)
        case "provider with a key of its own":
            chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good()), clients=[FakeClient(tokens_of())])
    assert await world.refresher.refresh(provider, "access-1") is False
    assert (world.endpoint.sent, world.clients[0].asked) == ([], [])


async def test_a_caller_that_cannot_say_what_was_refused_takes_a_fresh_token_first(tmp_path: Path) -> None:
    chatgpt(tmp_path)
    world = World(tmp_path, FakeEndpoint(good()))
    assert [await world.refresher.refresh(SIGNED_IN) for _ in range(2)] == [True, True]
    assert len(world.endpoint.sent) == 1
    world.clock.now_s += FRESH_S
    await world.refresher.refresh(SIGNED_IN)
    assert len(world.endpoint.sent) == 2


@pytest.mark.parametrize(("left_s", "renewed"), [(-1, True), (AHEAD_S, True), (AHEAD_S + 1, False)])
async def test_a_token_is_renewed_before_it_runs_out(tmp_path: Path, left_s: int, renewed: bool) -> None:
    chatgpt(tmp_path, access_token=token(NOW_S + left_s))
    world = World(tmp_path, FakeEndpoint(good()))
    login = world.refresher.login_for(SIGNED_IN)
    await login.prepare()
    assert (login.headers()["authorization"] == "Bearer access-2") is renewed


async def test_a_token_that_still_holds_is_used_when_it_cannot_be_renewed(tmp_path: Path) -> None:
    held = token(NOW_S + 100)
    chatgpt(tmp_path, access_token=held)
    world = World(tmp_path, FakeEndpoint(HttpFailure("unreachable")))
    login = world.refresher.login_for(SIGNED_IN)
    await login.prepare()
    await login.prepare()
    assert (login.headers()["authorization"], len(world.endpoint.sent)) == (f"Bearer {held}", 1)
    world.clock.now_s += RETRY_AHEAD_S
    await login.prepare()
    assert len(world.endpoint.sent) == 2


async def test_an_expired_login_that_cannot_be_renewed_says_what_to_do(tmp_path: Path) -> None:
    chatgpt(tmp_path, access_token=token(NOW_S - 1))
    world = World(tmp_path, FakeEndpoint(refusal(400, "refresh_token_expired")))
    login = world.refresher.login_for(SIGNED_IN)
    await login.prepare()
    with pytest.raises(MissingCredentials, match=r"has expired; log in again with account/login/start"):
        login.headers()


async def test_the_client_that_handed_tokens_over_is_asked_for_new_ones(tmp_path: Path) -> None:
    other, keeper = FakeClient(tokens_of("acct-other")), FakeClient(tokens_of())
    world = World(tmp_path, FakeEndpoint(good()), clients=[other, keeper])
    world.auth.login_tokens("client-1", "acct-1", "plus", keeper=keeper)
    login = world.refresher.login_for(SIGNED_IN)
    assert await login.refresh(login.headers()) is True
    assert keeper.asked == [(REFRESH_METHOD, {"reason": "unauthorized", "previousAccountId": "acct-1"})]
    assert (other.asked, world.endpoint.sent, (tmp_path / "auth.json").exists()) == ([], [], False)
    assert login.headers() == {"authorization": "Bearer client-2", "chatgpt-account-id": "acct-2"}
    assert world.auth.snapshot().plan == "team"


async def test_when_the_keeper_is_gone_the_first_client_that_has_tokens_counts(tmp_path: Path) -> None:
    refusing = FakeClient(RpcError("no", data_code="clientError"))
    clients = [refusing, FakeClient({"accessToken": 7}), FakeClient(tokens_of()), FakeClient(tokens_of("late"))]
    world = World(tmp_path, FakeEndpoint(good()), clients=clients)
    world.auth.login_tokens("client-1", "acct-1", keeper=FakeClient())
    assert await world.refresher.refresh(SIGNED_IN, "client-1") is True
    assert [len(client.asked) for client in clients] == [1, 1, 1, 0]
    assert world.auth.credentials_for(SIGNED_IN).account_id == "acct-2"


@pytest.mark.parametrize("answer", [RpcError("no", data_code="clientError"), {}, None])
async def test_a_client_that_has_no_tokens_or_is_silent_leaves_the_login_as_it_is(
    tmp_path: Path, answer: Mapping[str, Any] | RpcError | None
) -> None:
    world = World(tmp_path, FakeEndpoint(good()), clients=[FakeClient(answer)])
    world.auth.login_tokens("client-1", "acct-1")
    assert await world.refresher.refresh(SIGNED_IN, "client-1") is False
    assert world.bearer == "client-1"


async def test_another_caller_takes_over_when_the_one_who_asked_is_interrupted(tmp_path: Path) -> None:
    silent = FakeClient()
    world = World(tmp_path, FakeEndpoint(good()), clients=[silent])
    world.auth.login_tokens("client-1", "acct-1", keeper=silent)
    outcomes: list[bool] = []

    world.refresher = LoginRefresher(world.auth, world.endpoint, world.clock, world.env, lambda: [silent])

    async def second() -> None:
        outcomes.append(await world.refresher.refresh(SIGNED_IN, "client-1"))

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as first:
        first.start_soon(world.refresher.refresh, SIGNED_IN, "client-1")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        silent.answer = tokens_of()
        first.cancel_scope.cancel()
    assert (outcomes, len(silent.asked), world.bearer) == ([True], 2, "client-2")
