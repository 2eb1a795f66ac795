"""The registry: which providers there are, what they can do, where they are and how their requests are signed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from app_server.config.schema import RESERVED_PROVIDERS, Config, ProviderConfig
from app_server.errors import ConfigurationError
from app_server.extension_api.scopes import ProviderFacts
from app_server.providers.base import Credentials, ModelRequest, UpstreamError
from app_server.providers.offline import OfflineProvider
from app_server.providers.registry import (
    HttpAccess,
    ProviderRegistry,
    ProviderWiring,
    login_hint,
    own_headers,
    provider_facts,
)
from app_server.providers.responses_api import USER_AGENT, ResponsesProvider

OPENAI = RESERVED_PROVIDERS["openai"]


class FakeCredentials:
    """A login with the given headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        return self._headers


class Login:
    """What the user is logged in with, changeable in mid-test."""

    def __init__(self) -> None:
        self.chatgpt = False
        self.requests: list[httpx.Request] = []

    def credentials(self, table: ProviderConfig) -> Credentials:
        return FakeCredentials({"authorization": f"Bearer key-of-{table.id}"} if table.env_key else {})

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(401, json={"error": {"message": "no"}})


def registry(login: Login, env: Mapping[str, str] | None = None, **config: Any) -> ProviderRegistry:
    client = httpx.AsyncClient(transport=httpx.MockTransport(login.answer))
    wiring = ProviderWiring(
        client=lambda: client, credentials=login.credentials, chatgpt_login=lambda: login.chatgpt, env=env or {}
    )
    return ProviderRegistry(Config(**config), wiring)


MINE = ProviderConfig(
    id="mine",
    base_url="http://host/v1/",
    env_key="MY_KEY",
    query_params={"api-version": "1"},
    http_headers={"x-a": "1", "x-b": "2"},
    env_http_headers={"x-b": "B", "x-c": "C", "x-d": "EMPTY"},
    request_max_retries=0,
    stream_max_retries=7,
)
REQUEST = ModelRequest(
    model="m", input=[], tools=[], reasoning={}, text={}, prompt_cache_key="t", client_metadata={}, headers={"x-t": "1"}
)


def test_the_built_in_providers_are_there_without_any_config() -> None:
    providers = registry(Login())
    assert providers.ids == ("offline", "openai")
    assert isinstance(providers.provider("offline"), OfflineProvider)
    assert isinstance(providers.provider("openai"), ResponsesProvider)


def test_a_provider_is_made_once() -> None:
    providers = registry(Login(), model_providers={"mine": MINE})
    assert providers.provider("mine") is providers.provider("mine")
    assert providers.provider("mine").stream_max_retries == 7


def test_an_unknown_provider_names_the_known_ones_and_the_table_to_write() -> None:
    with pytest.raises(ConfigurationError) as caught:
        registry(Login(), model_providers={"mine": MINE}).provider("yours")
    assert caught.value.message == (
        'There is no model provider "yours" (known are "mine", "offline", "openai"); use one of these, or add a table '
        "[model_providers.yours] with base_url and env_key to config.toml."
    )


@pytest.mark.parametrize(
    ("table", "facts"),
    [
        (
            RESERVED_PROVIDERS["offline"],
            ProviderFacts(
                id="offline", image_generation=True, namespace_tools=True, api_key_pictures=True, hosted_tools=False
            ),
        ),
        (
            OPENAI,
            ProviderFacts(
                id="openai",
                requires_openai_auth=True,
                image_generation=True,
                namespace_tools=True,
                api_key_pictures=True,
            ),
        ),
        (
            ProviderConfig(id="p", requires_openai_auth=True),
            ProviderFacts(
                id="p", requires_openai_auth=True, image_generation=True, namespace_tools=True, api_key_pictures=True
            ),
        ),
        (
            ProviderConfig(id="p", requires_openai_auth=True, image_generation=False, namespace_tools=False),
            ProviderFacts(id="p", requires_openai_auth=True),
        ),
        (ProviderConfig(id="p", base_url="http://h"), ProviderFacts(id="p")),
        (
            ProviderConfig(id="p", base_url="http://h", image_generation=True),
            ProviderFacts(id="p", image_generation=True, api_key_pictures=True),
        ),
        (
            ProviderConfig(id="p", base_url="http://h", namespace_tools=True),
            ProviderFacts(id="p", namespace_tools=True),
        ),
    ],
)
def test_each_table_says_what_its_provider_can_do(table: ProviderConfig, facts: ProviderFacts) -> None:
    assert provider_facts(table) == facts


@pytest.mark.parametrize(
    ("chatgpt", "env", "config", "url"),
    [
        (False, {}, {}, "https://api.openai.com/v1"),
        (False, {"OPENAI_BASE_URL": "http://proxy/v1/"}, {}, "http://proxy/v1"),
        (True, {"OPENAI_BASE_URL": "http://proxy/v1"}, {}, "https://chatgpt.com/backend-api/codex"),
        (True, {}, {"chatgpt_base_url": "http://chat/api/"}, "http://chat/api/codex"),
        (False, {}, {"openai_base_url": "http://set/v1"}, "http://set/v1"),
    ],
)
def test_the_address_of_openai_follows_the_login(
    chatgpt: bool, env: dict[str, str], config: dict[str, str], url: str
) -> None:
    login = Login()
    providers = registry(login, env, **config)
    providers.provider("openai")
    login.chatgpt = chatgpt
    access = providers.http_access("openai")
    assert access == HttpAccess(base_url=url, headers={}, query_params={}, request_max_retries=4)


def test_http_access_has_the_providers_headers_and_the_login() -> None:
    access = registry(Login(), {"B": "from env", "EMPTY": ""}, model_providers={"mine": MINE}).http_access("mine")
    assert access == HttpAccess(
        base_url="http://host/v1",
        headers={"x-a": "1", "x-b": "from env", "authorization": "Bearer key-of-mine"},
        query_params={"api-version": "1"},
        request_max_retries=0,
    )
    assert "key-of-mine" not in repr(access)


def test_a_header_that_the_user_wrote_wins_over_the_login() -> None:
    table = ProviderConfig(id="p", base_url="http://h", env_key="K", http_headers={"Authorization": "Basic eA=="})
    access = registry(Login(), model_providers={"p": table}).http_access("p")
    assert access is not None
    assert access.headers == {"authorization": "Basic eA=="}


def test_the_offline_provider_has_no_http_access() -> None:
    assert registry(Login()).http_access("offline") is None


def test_headers_from_variables_that_are_not_set_are_left_out() -> None:
    assert own_headers(MINE, {"C": "c"}) == {"x-a": "1", "x-b": "2", "x-c": "c"}


@pytest.mark.parametrize(
    ("table", "chatgpt", "hint"),
    [
        (MINE, False, "the key in the environment variable MY_KEY"),
        (
            ProviderConfig(id="p", base_url="http://h", experimental_bearer_token="x"),
            False,
            "experimental_bearer_token in [model_providers.p] of config.toml",
        ),
        (OPENAI, True, "the ChatGPT login, which may have ended: log in again"),
        (
            OPENAI,
            False,
            "the API key of the login (account/login/start) or in the environment variable OPENAI_API_KEY",
        ),
        (
            ProviderConfig(id="p", base_url="http://h"),
            False,
            "the key of this provider: name its environment variable as env_key in [model_providers.p] of config.toml",
        ),
    ],
)
def test_the_hint_names_the_key_that_is_used(table: ProviderConfig, chatgpt: bool, hint: str) -> None:
    assert login_hint(table, chatgpt_login=chatgpt) == hint


@pytest.mark.anyio
async def test_a_configured_provider_sends_what_its_table_says() -> None:
    login = Login()
    provider = registry(login, {"B": "from env"}, model_providers={"mine": MINE}).provider("mine")
    with pytest.raises(UpstreamError, match=r"unexpected status 401 .* MY_KEY"):
        await anext(provider.stream(REQUEST))
    (sent,) = login.requests
    assert str(sent.url) == "http://host/v1/responses?api-version=1"
    names = ("accept", "content-type", "user-agent", "x-a", "x-b", "x-t", "authorization")
    assert {name: sent.headers[name] for name in names} == {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "x-a": "1",
        "x-b": "from env",
        "x-t": "1",
        "authorization": "Bearer key-of-mine",
    }


@pytest.mark.anyio
async def test_a_provider_without_a_key_sends_no_bearer() -> None:
    login = Login()
    table = ProviderConfig(id="free", base_url="http://host/v1", request_max_retries=0)
    with pytest.raises(UpstreamError):
        await anext(registry(login, model_providers={"free": table}).provider("free").stream(REQUEST))
    assert "authorization" not in login.requests[0].headers


@pytest.mark.anyio
async def test_a_table_without_an_address_says_where_to_set_it() -> None:
    providers = registry(Login(), model_providers={"p": ProviderConfig(id="p")})
    with pytest.raises(ConfigurationError) as caught:
        await anext(providers.provider("p").stream(REQUEST))
    assert caught.value.message == (
        'Model provider "p" has no address; set base_url in [model_providers.p] of config.toml.'
    )
