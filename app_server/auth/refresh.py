"""Renews ChatGPT tokens: before they run out, and once after a provider has refused them.

    tokens of auth.json    POST to the refresh endpoint, written back to auth.json
    tokens of a client     the client is asked (`account/chatgptAuthTokens/refresh`), kept in memory
    an API key             is never renewed

One renewal runs at a time, and everybody whose token was refused waits for it. Tokens that somebody else renewed in the
meantime, here or in another process, are used instead. `wiring` makes one; providers and pictures use it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio

from app_server.auth.renewal import TokenHttp, renew_stored
from app_server.errors import AppServerError
from app_server.observability.logging import get_logger
from app_server.values import field, frozen, slotted

if TYPE_CHECKING:
    from app_server.auth.manager import AuthManager, HeldTokens, ProviderLogin
    from app_server.clock import Clock
    from app_server.config.schema import ProviderConfig
    from app_server.protocol.account import ChatgptAuthTokensRefreshResponse

REFRESH_METHOD: Final = "account/chatgptAuthTokens/refresh"
ASK_TIMEOUT_S: Final = 10.0
"""How long clients have for their answer, all together."""
AHEAD_S: Final = 300
"""A token that runs out within this time is renewed before it is used."""
RETRY_AHEAD_S: Final = 60.0
"""After a renewal that failed, a token that still holds is used for so long before the next attempt."""
FRESH_S: Final = 30.0
"""A token younger than this is not renewed again for a caller that cannot say which one was refused."""
log = get_logger("auth")


class TokenKeeper(Protocol):
    """A client that may hold tokens. `rpc/connection.Connection` has this shape."""

    async def request(self, method: str, params: Any) -> Any:
        """Ask and wait for the answer. Raises AppServerError when it refuses or goes away."""
        ...


@slotted()
class _Flight:
    """A renewal that is under way. `outcome` None: it was cancelled, and another caller takes it up."""

    landed: anyio.Event = field(default_factory=anyio.Event)
    outcome: bool | None = None


class LoginRefresher:
    """One per process. `clients`: the connections of this moment, asked for tokens when the keeper is gone."""

    def __init__(
        self,
        auth: AuthManager,
        http: TokenHttp,
        clock: Clock,
        env: Mapping[str, str],
        clients: Callable[[], Sequence[TokenKeeper]],
        *,
        ask_timeout_s: float = ASK_TIMEOUT_S,
    ) -> None:
        self._auth, self._http, self._clock, self._env, self._clients = auth, http, clock, env, clients
        self._ask_timeout_s = ask_timeout_s
        self._flight: _Flight | None = None
        self._renewed_at_s: float | None = None
        self._failed_at_s: float | None = None
        self._dead: str | None = None

    def login_for(self, provider: ProviderConfig) -> RenewingLogin:
        """The login of one provider, which renews itself."""
        return RenewingLogin(login=self._auth.login_for(provider), refresher=self)

    async def prepare(self, provider: ProviderConfig) -> None:
        """Before a request: renew tokens that have run out or are about to. A failure is told by the request itself."""
        held = self._auth.tokens(provider)
        if held is None or held.expires_at_s is None:
            return
        left_s = held.expires_at_s - self._clock.now_ms() / 1000
        failed_now = self._failed_at_s is not None and self._clock.monotonic_s() - self._failed_at_s < RETRY_AHEAD_S
        if left_s <= 0 or (left_s <= AHEAD_S and not failed_now):
            await self.refresh(provider, held.access_token)

    async def refresh(self, provider: ProviderConfig, refused: str | None = None) -> bool:
        """After a 401: whether there are other tokens now. False: there is nothing to renew, or it was refused.

        refused: the access token that was sent; None: the one at hand, unless that was renewed a moment ago.
        """
        while (held := self._auth.tokens(provider)) is not None:
            if self._is_other(held, refused):
                return True
            if (flight := self._flight) is None:
                return await self._fly(held)
            await flight.landed.wait()
            if flight.outcome is not None:
                return flight.outcome
        return False

    def _is_other(self, held: HeldTokens, refused: str | None) -> bool:
        if refused is not None:
            return held.access_token != refused
        return self._renewed_at_s is not None and self._clock.monotonic_s() - self._renewed_at_s < FRESH_S

    async def _fly(self, held: HeldTokens) -> bool:
        flight = self._flight = _Flight()
        try:
            flight.outcome = await (self._ask_clients(held) if held.handed_over else self._renew_stored(held))
        finally:
            self._flight = None
            flight.landed.set()
        now_s = self._clock.monotonic_s()
        self._renewed_at_s, self._failed_at_s = (now_s, None) if flight.outcome else (self._renewed_at_s, now_s)
        return flight.outcome

    async def _renew_stored(self, held: HeldTokens) -> bool:
        renewed = await renew_stored(
            self._auth.path, self._http, self._env, self._clock, refused=held.access_token, dead=self._dead
        )
        self._dead = renewed.refused_token or self._dead
        return renewed.good

    async def _ask_clients(self, held: HeldTokens) -> bool:
        """The keeper alone while it is connected, else every client in turn; the first that has tokens counts."""
        clients = self._clients()
        asked = [client for client in clients if client is held.keeper] or clients
        from pydantic import ValidationError  # models are slow to load, and few logins ever need these

        from app_server.protocol.account import ChatgptAuthTokensRefreshParams, ChatgptAuthTokensRefreshResponse

        params = ChatgptAuthTokensRefreshParams(reason="unauthorized", previous_account_id=held.account_id).wire()
        with anyio.move_on_after(self._ask_timeout_s):
            for client in asked:
                try:
                    answer = ChatgptAuthTokensRefreshResponse.model_validate(
                        await client.request(REFRESH_METHOD, params)
                    )
                except (AppServerError, ValidationError):
                    continue  # this one has no tokens to give
                return self._take(answer, client, held)
        log.warning("token_refresh_failed", cause="no client had fresh tokens", clients=len(asked))
        return False

    def _take(self, answer: ChatgptAuthTokensRefreshResponse, keeper: TokenKeeper, held: HeldTokens) -> bool:
        now = self._auth.tokens()
        if now is None or now.access_token != held.access_token:
            return now is not None  # a logout or another login came while the client was thinking: that one counts
        self._auth.login_tokens(answer.access_token, answer.chatgpt_account_id, answer.chatgpt_plan_type, keeper=keeper)
        return True


@frozen
class RenewingLogin:
    """What a provider needs to know of logins (its protocols `Credentials` and `RenewableCredentials`)."""

    login: ProviderLogin
    refresher: LoginRefresher = field(repr=False)

    def headers(self) -> dict[str, str]:
        """Authorization and account headers as of now. Raises as `AuthManager.credentials_for`."""
        return self.login.headers()

    async def prepare(self) -> None:
        """Before a request; see `LoginRefresher.prepare`."""
        await self.refresher.prepare(self.login.provider)

    async def refresh(self, refused: Mapping[str, str]) -> bool:
        """After a 401 to a request with these login headers; see `LoginRefresher.refresh`."""
        sent = refused.get("authorization", "").removeprefix("Bearer ")
        return await self.refresher.refresh(self.login.provider, sent)
