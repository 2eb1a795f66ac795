"""What signing a request comes to: a bearer, an account, and the headers made of both. Data and one pure function."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from app_server.errors import ConfigurationError
from app_server.values import field, frozen

if TYPE_CHECKING:
    from app_server.config.schema import ProviderConfig


class AuthMode(StrEnum):
    """Kinds of login, in the protocol's words; NONE is ours."""

    NONE = "none"
    API_KEY = "apikey"
    CHATGPT = "chatgpt"
    CHATGPT_AUTH_TOKENS = "chatgptAuthTokens"


class CredentialSource(StrEnum):
    """Where a bearer came from."""

    NONE = "none"
    ENVIRONMENT = "environment"
    SETTING = "setting"
    API_KEY = "apikey"
    CHATGPT = "chatgpt"


@frozen
class Credentials:
    """How one provider's requests are signed at one moment; a provider that needs no login has no bearer."""

    bearer: str | None = field(default=None, repr=False)
    account_id: str | None = None
    """ChatGPT workspace; set only with the tokens of a ChatGPT login."""
    source: CredentialSource = CredentialSource.NONE


def login_headers(provider: ProviderConfig, credentials: Credentials) -> dict[str, str]:
    """The headers that the credentials come to; none without a bearer.

    Raises `ConfigurationError` for a value that no header can carry, without telling the value.
    """
    headers = {"authorization": f"Bearer {credentials.bearer}"} if credentials.bearer is not None else {}
    if credentials.account_id is not None:
        headers["chatgpt-account-id"] = credentials.account_id
    return _sendable(provider, headers)


def signed_headers(provider: ProviderConfig, credentials: Credentials, env: Mapping[str, str]) -> dict[str, str]:
    """All headers of a request: the credentials, the provider's own, and those of set variables.

    Later ones win, whatever the case of their names. Raises as `login_headers`.
    """
    headers = login_headers(provider, credentials)
    from_env = {name: env.get(variable, "").strip() for name, variable in provider.env_http_headers.items()}
    for name, value in (*provider.http_headers.items(), *((name, value) for name, value in from_env.items() if value)):
        headers = {known: kept for known, kept in headers.items() if known.lower() != name.lower()}
        headers[name] = value
    return _sendable(provider, headers)


def _sendable(provider: ProviderConfig, headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            message = (
                f"The header {name} of the provider {provider.id} has a character that headers cannot carry; "
                "look for a line break or a letter with an accent in its key or setting."
            )
            raise ConfigurationError(message)
    return headers
