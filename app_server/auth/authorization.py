"""The OAuth 2.0 authorization code flow with PKCE (RFC 7636) of a ChatGPT login: the address to open, and the exchange.

Pure but for the one request of `exchange_code`. `browser_login.py` is the only caller. No token is ever logged.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import orjson

from app_server.auth.renewal import CLIENT_ID
from app_server.auth.store import StoredTokens
from app_server.auth.tokens import read_claims
from app_server.extension_api.services import HttpAnswer, HttpFailure
from app_server.values import field, frozen

ISSUER: Final = "https://auth.openai.com"
ISSUER_VARIABLE: Final = "CODEX_APP_SERVER_LOGIN_ISSUER"
CALLBACK_PATH: Final = "/auth/callback"
SCOPE: Final = "openid profile email offline_access"
EXCHANGE_TIMEOUT_S: Final = 30.0
_MAX_ANSWER_BYTES: Final = 256 * 1024


class FormPoster(Protocol):
    """Sends a form. `net.Net` has this shape."""

    async def post_form(self, url: str, fields: Mapping[str, str], *, timeout_s: float, max_bytes: int) -> HttpAnswer:
        """POST `application/x-www-form-urlencoded`; the answer may have any status. Raises HttpFailure."""
        ...


class ExchangeFailed(Exception):
    """There are no tokens for this code; the message is a sentence without secrets."""


@frozen
class Authorization:
    """One attempt: where it goes, and the two secrets that tie the answer to it."""

    issuer: str
    redirect_uri: str
    originator: str
    state: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(64), repr=False)

    def url(self) -> str:
        """What the user opens in a browser."""
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": CLIENT_ID,
            "redirect_uri": self.redirect_uri,
            "scope": SCOPE,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii"),
            "code_challenge_method": "S256",
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "state": self.state,
            "originator": self.originator,
        }
        return f"{self.issuer}/oauth/authorize?{urlencode(query)}"

    def is_own(self, state: str) -> bool:
        """Whether an answer belongs to this attempt."""
        return secrets.compare_digest(state.encode(), self.state.encode())


def issuer_of(env: Mapping[str, str]) -> str:
    """Who logs users in: OpenAI, or the service that the environment names."""
    return (env.get(ISSUER_VARIABLE, "").strip() or ISSUER).rstrip("/")


async def exchange_code(http: FormPoster, authorization: Authorization, code: str) -> StoredTokens:
    """The tokens for the code that came with the browser. Raises ExchangeFailed."""
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": authorization.redirect_uri,
        "client_id": CLIENT_ID,
        "code_verifier": authorization.verifier,
    }
    url = f"{authorization.issuer}/oauth/token"
    try:
        answer = await http.post_form(url, fields, timeout_s=EXCHANGE_TIMEOUT_S, max_bytes=_MAX_ANSWER_BYTES)
    except HttpFailure as failure:
        raise ExchangeFailed(f"The login could not be completed: {failure}") from failure
    content = _object(answer.body)
    tokens = {name: content.get(name) for name in ("access_token", "id_token", "refresh_token")}
    if answer.status != 200 or not isinstance(tokens["access_token"], str) or not tokens["access_token"]:
        raise ExchangeFailed(f"The login service gave no tokens ({_cause(answer.status, content)}); log in again.")
    return _stored(tokens)


def _stored(tokens: Mapping[str, Any]) -> StoredTokens:
    texts = {name: value for name, value in tokens.items() if isinstance(value, str) and value}
    identity, access = read_claims(texts.get("id_token")), read_claims(texts["access_token"])
    return StoredTokens(
        access_token=texts["access_token"],
        id_token=texts.get("id_token"),
        refresh_token=texts.get("refresh_token"),
        account_id=identity.account_id or access.account_id,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _cause(status: int, content: Mapping[str, Any]) -> str:
    """The status, and the service's own word for what is wrong (RFC 6749 §5.2)."""
    error = content.get("error")
    code = error.get("code") if isinstance(error, Mapping) else error
    shown = str(code)[:80] if code else ""
    return f"status {status}, {shown}" if shown.isprintable() and shown else f"status {status}"
