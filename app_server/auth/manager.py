"""The login of this process: reads and changes it, and signs requests with it.

    provider has env_key                      → that variable
    provider has experimental_bearer_token    → that
    provider has requires_openai_auth         → tokens handed over by the client, else auth.json,
                                                else $OPENAI_API_KEY (built-in openai only: a custom one may be anybody)
                                                else, at an address of its own: nothing; a gateway there may sign by
                                                itself, and if it does not, its refusal is shown with what to do
    none of these                             → nothing is sent

Everything is asked anew each time, so a login or logout, here or by another program, counts from the next request on.
`methods/account` changes the login, `refresh.py` renews it and hands it to the providers; no network is used here.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from app_server.auth.base import AuthMode, Credentials, CredentialSource, login_headers, signed_headers
from app_server.auth.store import AUTH_FILE, StoredAuth, StoredTokens, delete_auth, read_auth, write_auth
from app_server.auth.tokens import TokenClaims, read_claims
from app_server.clock import Clock, SystemClock
from app_server.config.schema import OPENAI_API_KEY, ProviderConfig
from app_server.errors import ConfigurationError, MissingCredentials
from app_server.extension_api.scopes import AuthSnapshot
from app_server.values import field, frozen

UNKNOWN_PLAN = "unknown"


@frozen
class _Login:
    """The login at hand, wherever it came from."""

    mode: AuthMode
    api_key: str | None = field(default=None, repr=False)
    access_token: str = field(default="", repr=False)
    account_id: str | None = None
    claims: TokenClaims = field(default_factory=TokenClaims)
    expires_at_s: int | None = None


@frozen
class HeldTokens:
    """The ChatGPT tokens at hand, for `refresh.py`. `keeper`: the client that handed them over, while it is there."""

    handed_over: bool
    access_token: str = field(repr=False)
    account_id: str | None = None
    expires_at_s: int | None = None
    keeper: object | None = None


class AuthManager:
    """One per process. `env` is asked at every call; `clock` tells whether a token has run out."""

    def __init__(self, home: Path, env: Mapping[str, str], clock: Clock | None = None) -> None:
        self.path = home / AUTH_FILE
        self._env = env
        self._clock = clock or SystemClock()
        self._handed_over: _Login | None = None
        self._keeper: weakref.ref[object] | None = None
        self._read: tuple[tuple[int, ...], StoredAuth | None] | None = None
        """The file of the login as it was when it was last read, and what it held."""

    def snapshot(self, provider: ProviderConfig | None = None) -> AuthSnapshot:
        """The login as others may see it.

        With a provider: the login that its requests would be signed with, so the built-in openai shows an API key where
        $OPENAI_API_KEY stands in for a login. Raises `ConfigurationError` when `auth.json` is broken.
        """
        login = self._login()
        if login is None:
            has_key = provider is not None and self._openai_key(provider) is not None
            return AuthSnapshot(mode=(AuthMode.API_KEY if has_key else AuthMode.NONE).value)
        if login.mode is AuthMode.API_KEY:
            return AuthSnapshot(mode=login.mode.value)
        return AuthSnapshot(
            mode=login.mode.value,
            plan=login.claims.plan or UNKNOWN_PLAN,
            email=login.claims.email,
            account_id=login.account_id,
        )

    def user_id(self) -> str | None:
        """The user that a ChatGPT login belongs to, as its tokens say."""
        login = self._login()
        return login.claims.user_id if login else None

    def credentials_for(self, provider: ProviderConfig) -> Credentials:
        """How to sign a request to this provider now.

        Raises `MissingCredentials`, which names the variable or login that is needed, and `ConfigurationError` when
        `auth.json` is broken.
        """
        if provider.env_key:
            return self._from_variable(provider, provider.env_key)
        if provider.experimental_bearer_token:
            return Credentials(bearer=provider.experimental_bearer_token, source=CredentialSource.SETTING)
        if not provider.requires_openai_auth:
            return Credentials()
        login = self._login()
        if login is None:
            return self._without_login(provider)
        if login.mode is AuthMode.API_KEY:
            return Credentials(bearer=login.api_key, source=CredentialSource.API_KEY)
        self._refuse_expired(login)
        return Credentials(bearer=login.access_token, account_id=login.account_id, source=CredentialSource.CHATGPT)

    def login_for(self, provider: ProviderConfig) -> ProviderLogin:
        """The login of one provider, to be kept and asked at each request."""
        return ProviderLogin(manager=self, provider=provider)

    def headers(self, provider: ProviderConfig) -> dict[str, str]:
        """All headers of a request to this provider now. Raises as `credentials_for` and `signed_headers`."""
        return signed_headers(provider, self.credentials_for(provider), self._env)

    def login_api_key(self, key: str) -> None:
        """Store an API key as the login. Raises `ConfigurationError` for an unusable key or an unwritable file."""
        key = key.strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigurationError("The API key is empty or has characters that no key has; copy it again.")
        write_auth(self.path, StoredAuth(mode=AuthMode.API_KEY, api_key=key))
        self._handed_over = None

    def login_chatgpt(self, tokens: StoredTokens, now_ms: int) -> None:
        """Store the tokens of a ChatGPT login. Raises `ConfigurationError` for an unwritable file."""
        refreshed = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
        write_auth(self.path, StoredAuth(mode=AuthMode.CHATGPT, tokens=tokens, last_refresh=refreshed))
        self._handed_over = None

    def login_tokens(
        self, access_token: str, account_id: str, plan: str | None = None, *, keeper: object | None = None
    ) -> None:
        """Use ChatGPT tokens that the client keeps and renews. Never written; they count before `auth.json`.

        keeper: the connection of that client, held weakly; it is asked first when the tokens are refused.
        """
        access_token = access_token.strip()
        if not access_token:
            raise ConfigurationError("The access token is empty; hand over the token of a ChatGPT login.")
        claims = read_claims(access_token)
        self._handed_over = _Login(
            mode=AuthMode.CHATGPT_AUTH_TOKENS,
            access_token=access_token,
            account_id=account_id or claims.account_id,
            claims=TokenClaims(email=claims.email, plan=plan or claims.plan, user_id=claims.user_id),
            expires_at_s=claims.expires_at_s,
        )
        self._keeper = weakref.ref(keeper) if keeper is not None else None

    def tokens(self, provider: ProviderConfig | None = None) -> HeldTokens | None:
        """The ChatGPT tokens at hand; None without such a login, and for a provider that does not sign with it."""
        if provider is not None and not _signs_with_login(provider):
            return None
        login = self._login()
        if login is None or login.mode is AuthMode.API_KEY:
            return None
        handed_over = login.mode is AuthMode.CHATGPT_AUTH_TOKENS
        return HeldTokens(
            handed_over=handed_over,
            access_token=login.access_token,
            account_id=login.account_id,
            expires_at_s=login.expires_at_s,
            keeper=self._keeper() if handed_over and self._keeper is not None else None,
        )

    def logout(self) -> bool:
        """Forget the login, in memory and on disk; whether there was one."""
        handed_over, self._handed_over = self._handed_over, None
        return delete_auth(self.path) or handed_over is not None

    def _stored(self) -> StoredAuth | None:
        """The login on disk: read again whenever its file is another one, or was written since."""
        try:
            about = self.path.stat()
        except OSError:
            return read_auth(self.path)
        seen = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
        if self._read is None or self._read[0] != seen:
            self._read = (seen, read_auth(self.path))
        return self._read[1]

    def _login(self) -> _Login | None:
        if self._handed_over is not None:
            return self._handed_over
        stored = self._stored()
        if stored is None:
            return None
        if stored.mode is AuthMode.CHATGPT and stored.tokens is not None:
            return _chatgpt(stored.tokens)
        return _Login(mode=AuthMode.API_KEY, api_key=stored.api_key)

    def _from_variable(self, provider: ProviderConfig, variable: str) -> Credentials:
        if key := self._env.get(variable, "").strip():
            return Credentials(bearer=key, source=CredentialSource.ENVIRONMENT)
        how = f" {provider.env_key_instructions.strip()}" if provider.env_key_instructions else ""
        message = (
            f"The provider {provider.id} needs a key; set the environment variable {variable} for the server.{how}"
        )
        raise MissingCredentials(message)

    def _without_login(self, provider: ProviderConfig) -> Credentials:
        if key := self._openai_key(provider):
            return Credentials(bearer=key, source=CredentialSource.ENVIRONMENT)
        if provider.base_url is not None:
            return Credentials()
        variable = f"set the environment variable {OPENAI_API_KEY}, or " if provider.id == "openai" else ""
        message = (
            f"The provider {provider.id} needs an OpenAI login; {variable}log in with account/login/start, "
            f"or put a login into {self.path}."
        )
        raise MissingCredentials(message)

    def _openai_key(self, provider: ProviderConfig) -> str | None:
        if provider.id != "openai" or not provider.requires_openai_auth:
            return None
        return self._env.get(OPENAI_API_KEY, "").strip() or None

    def _refuse_expired(self, login: _Login) -> None:
        if login.expires_at_s is not None and login.expires_at_s * 1000 <= self._clock.now_ms():
            keeper = "the client" if login.mode is AuthMode.CHATGPT_AUTH_TOKENS else str(self.path)
            message = f"The ChatGPT login of {keeper} has expired; log in again with account/login/start."
            raise MissingCredentials(message)


@frozen
class ProviderLogin:
    """What a provider needs to know of logins (its protocol `Credentials`); holds no secret itself."""

    manager: AuthManager = field(repr=False)
    provider: ProviderConfig

    def headers(self) -> dict[str, str]:
        """Authorization and account headers as of now, without the provider's own. Raises as `credentials_for`."""
        return login_headers(self.provider, self.manager.credentials_for(self.provider))


def _signs_with_login(provider: ProviderConfig) -> bool:
    return provider.requires_openai_auth and not (provider.env_key or provider.experimental_bearer_token)


def _chatgpt(tokens: StoredTokens) -> _Login:
    """The login in stored tokens: who it is stands in the id token, how long it holds in the access token."""
    access, identity = read_claims(tokens.access_token), read_claims(tokens.id_token)
    claims = TokenClaims(
        email=identity.email or access.email,
        plan=identity.plan or access.plan,
        user_id=identity.user_id or access.user_id,
    )
    return _Login(
        mode=AuthMode.CHATGPT,
        access_token=tokens.access_token,
        account_id=tokens.account_id or identity.account_id or access.account_id,
        claims=claims,
        expires_at_s=access.expires_at_s,
    )
