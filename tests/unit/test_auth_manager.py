"""Who is logged in, and what signs the requests to each kind of provider."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app_server.auth.base import Credentials, CredentialSource
from app_server.auth.manager import AuthManager
from app_server.config.schema import RESERVED_PROVIDERS, ProviderConfig
from app_server.errors import ConfigurationError, MissingCredentials
from app_server.extension_api.scopes import AuthSnapshot

OPENAI = RESERVED_PROVIDERS["openai"]
GATEWAY = ProviderConfig(id="gateway", base_url="http://gateway/v1")
SIGNED_IN = ProviderConfig(id="gateway", base_url="http://gateway/v1", requires_openai_auth=True)
NOW_S = 1_800_000_000


@dataclass(frozen=True)
class FakeClock:
    def now_ms(self) -> int:
        return NOW_S * 1000

    def monotonic_s(self) -> float:
        return 0.0


def jwt(claims: dict[str, Any]) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{payload}.c2ln"


IDENTITY = {
    "email": "user@example.com",
    "https://api.openai.com/auth": {
        "chatgpt_plan_type": "pro",
        "chatgpt_user_id": "user-1",
        "chatgpt_account_id": "acct-1",
    },
}
ACCESS = jwt({"exp": NOW_S + 1})


def manager(home: Path, **env: str) -> AuthManager:
    return AuthManager(home, env, FakeClock())


def chatgpt_file(home: Path, access: str = ACCESS) -> None:
    content = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {"id_token": jwt(IDENTITY), "access_token": access, "refresh_token": "r", "account_id": "acct-1"},
        "last_refresh": "2026-01-01T00:00:00.000000Z",
    }
    (home / "auth.json").write_text(json.dumps(content), encoding="utf-8")


def test_nobody_is_logged_in_at_first(tmp_path: Path) -> None:
    auth = manager(tmp_path, OPENAI_API_KEY="sk-env")
    assert auth.snapshot() == AuthSnapshot(mode="none")
    assert auth.user_id() is None


def test_a_chatgpt_login_shows_who_it_is(tmp_path: Path) -> None:
    chatgpt_file(tmp_path)
    auth = manager(tmp_path)
    assert auth.snapshot(SIGNED_IN) == AuthSnapshot(
        mode="chatgpt", plan="pro", email="user@example.com", account_id="acct-1"
    )
    assert auth.user_id() == "user-1"


def test_a_login_made_elsewhere_counts_at_once(tmp_path: Path) -> None:
    auth = manager(tmp_path)
    assert auth.snapshot().is_chatgpt is False
    chatgpt_file(tmp_path)
    assert auth.snapshot().is_chatgpt is True


def test_a_key_in_the_environment_shows_only_for_the_built_in_provider(tmp_path: Path) -> None:
    auth = manager(tmp_path, OPENAI_API_KEY="sk-env")
    assert [auth.snapshot(provider).mode for provider in (OPENAI, SIGNED_IN, GATEWAY)] == ["apikey", "none", "none"]


@pytest.mark.parametrize(
    ("provider", "env", "login", "expected"),
    [
        (GATEWAY, {"OPENAI_API_KEY": "sk-env"}, "chatgpt", Credentials()),
        (
            ProviderConfig(id="g", env_key="G_KEY", requires_openai_auth=True),
            {"G_KEY": " sk-g\n"},
            "chatgpt",
            Credentials(bearer="sk-g", source=CredentialSource.ENVIRONMENT),
        ),
        (
            ProviderConfig(id="g", experimental_bearer_token="sk-t"),
            {},
            None,
            Credentials(bearer="sk-t", source=CredentialSource.SETTING),
        ),
        (
            SIGNED_IN,
            {},
            "chatgpt",
            Credentials(bearer=ACCESS, account_id="acct-1", source=CredentialSource.CHATGPT),
        ),
        (SIGNED_IN, {}, "apikey", Credentials(bearer="sk-file", source=CredentialSource.API_KEY)),
        (OPENAI, {"OPENAI_API_KEY": "x"}, "apikey", Credentials(bearer="sk-file", source=CredentialSource.API_KEY)),
        (OPENAI, {"OPENAI_API_KEY": "sk-env"}, None, Credentials(bearer="sk-env", source=CredentialSource.ENVIRONMENT)),
    ],
)
def test_each_kind_of_provider_is_signed_with_its_own_credentials(
    tmp_path: Path, provider: ProviderConfig, env: dict[str, str], login: str | None, expected: Credentials
) -> None:
    auth = manager(tmp_path, **env)
    if login == "chatgpt":
        chatgpt_file(tmp_path)
    elif login == "apikey":
        auth.login_api_key("sk-file")
    assert auth.credentials_for(provider) == expected


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (
            ProviderConfig(id="g", env_key="G_KEY", env_key_instructions="Ask Ada for one."),
            "The provider g needs a key; set the environment variable G_KEY for the server. Ask Ada for one.",
        ),
        (
            OPENAI,
            "The provider openai needs an OpenAI login; set the environment variable OPENAI_API_KEY, or log in with "
            "account/login/start, or put a login into {auth}.",
        ),
        (
            ProviderConfig(id="gateway", requires_openai_auth=True),
            "The provider gateway needs an OpenAI login; log in with account/login/start, or put a login into {auth}.",
        ),
    ],
)
def test_missing_credentials_name_what_to_set(tmp_path: Path, provider: ProviderConfig, expected: str) -> None:
    auth = manager(tmp_path, **({} if provider is OPENAI else {"OPENAI_API_KEY": "sk-env"}))
    with pytest.raises(MissingCredentials) as raised:
        auth.credentials_for(provider)
    assert raised.value.message == expected.format(auth=tmp_path / "auth.json")


def test_a_gateway_of_its_own_address_is_asked_without_a_login_too(tmp_path: Path) -> None:
    assert manager(tmp_path, OPENAI_API_KEY="sk-env").credentials_for(SIGNED_IN) == Credentials()


def test_an_expired_chatgpt_login_is_not_sent(tmp_path: Path) -> None:
    chatgpt_file(tmp_path, access=jwt({"exp": NOW_S}))
    with pytest.raises(MissingCredentials, match=r"has expired; log in again with account/login/start"):
        manager(tmp_path).credentials_for(SIGNED_IN)


def test_a_stored_key_survives_the_process_and_a_logout_forgets_it(tmp_path: Path) -> None:
    manager(tmp_path).login_api_key(" sk-1 ")
    assert json.loads((tmp_path / "auth.json").read_text(encoding="utf-8")) == {
        "auth_mode": "apikey",
        "OPENAI_API_KEY": "sk-1",
        "tokens": None,
        "last_refresh": None,
    }
    later = manager(tmp_path)
    assert later.snapshot() == AuthSnapshot(mode="apikey")
    assert (later.logout(), later.logout()) == (True, False)
    assert later.snapshot() == AuthSnapshot(mode="none")


def test_tokens_of_the_client_count_before_the_file_and_are_never_written(tmp_path: Path) -> None:
    auth = manager(tmp_path)
    auth.login_api_key("sk-1")
    auth.login_tokens(jwt({**IDENTITY, "exp": NOW_S + 1}), "acct-2", "team")
    assert auth.snapshot() == AuthSnapshot(
        mode="chatgptAuthTokens", plan="team", email="user@example.com", account_id="acct-2"
    )
    assert auth.user_id() == "user-1"
    assert auth.credentials_for(SIGNED_IN).account_id == "acct-2"
    assert manager(tmp_path).snapshot() == AuthSnapshot(mode="apikey")
    assert auth.logout() is True
    assert (tmp_path / "auth.json").exists() is False


def test_a_plan_that_no_token_tells_is_unknown(tmp_path: Path) -> None:
    auth = manager(tmp_path)
    auth.login_tokens("opaque", "acct-1")
    assert auth.snapshot() == AuthSnapshot(mode="chatgptAuthTokens", plan="unknown", account_id="acct-1")


@pytest.mark.parametrize("key", ["", "  ", "sk-é", "sk 1", "sk-1\nsk-2"])
def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"The API key is empty or has characters that no key has"):
        manager(tmp_path).login_api_key(key)
    assert not (tmp_path / "auth.json").exists()


def test_a_broken_file_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"auth\.json cannot be used \(it is not JSON\)"):
        manager(tmp_path).snapshot()


def test_headers_join_the_login_with_those_of_the_provider(tmp_path: Path) -> None:
    chatgpt_file(tmp_path)
    provider = ProviderConfig(
        id="g",
        requires_openai_auth=True,
        http_headers={"X-Team": "pictures", "x-project": "from the table"},
        env_http_headers={"X-Project": "PROJECT", "x-empty": "EMPTY", "x-unset": "UNSET"},
    )
    assert manager(tmp_path, PROJECT="p1", EMPTY=" ").headers(provider) == {
        "authorization": f"Bearer {ACCESS}",
        "chatgpt-account-id": "acct-1",
        "X-Team": "pictures",
        "X-Project": "p1",
    }


def test_a_kept_login_of_a_provider_follows_every_change(tmp_path: Path) -> None:
    auth = manager(tmp_path)
    login = auth.login_for(ProviderConfig(id="g", requires_openai_auth=True, http_headers={"x-team": "pictures"}))
    auth.login_api_key("sk-1")
    assert login.headers() == {"authorization": "Bearer sk-1"}
    auth.login_tokens(ACCESS, "acct-2")
    assert login.headers() == {"authorization": f"Bearer {ACCESS}", "chatgpt-account-id": "acct-2"}
    auth.logout()
    with pytest.raises(MissingCredentials):
        login.headers()


def test_a_provider_s_own_authorization_replaces_the_bearer(tmp_path: Path) -> None:
    provider = ProviderConfig(id="g", env_key="G_KEY", http_headers={"Authorization": "Basic eA=="})
    assert manager(tmp_path, G_KEY="sk-g").headers(provider) == {"Authorization": "Basic eA=="}


def test_a_provider_without_any_login_sends_nothing(tmp_path: Path) -> None:
    assert manager(tmp_path, OPENAI_API_KEY="sk-env").headers(GATEWAY) == {}


def test_a_header_that_cannot_be_sent_is_named_without_its_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        manager(tmp_path, G_KEY="sk-\nx").headers(ProviderConfig(id="g", env_key="G_KEY"))
    assert raised.value.message == (
        "The header authorization of the provider g has a character that headers cannot carry; "
        "look for a line break or a letter with an accent in its key or setting."
    )


def test_no_secret_shows_in_a_repr(tmp_path: Path) -> None:
    auth = manager(tmp_path)
    auth.login_api_key("s3cret")
    assert "s3cret" not in repr(auth.credentials_for(SIGNED_IN)) + repr(auth)
