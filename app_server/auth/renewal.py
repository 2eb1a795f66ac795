"""One renewal of the tokens in `auth.json`: the exchange with the refresh endpoint, and the file afterwards.

A refresh token works once. So the exchange is not given up when the caller is interrupted (it is bounded instead), what
came is written at once, and a login that somebody else wrote meanwhile is never overwritten. No token is ever logged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import anyio.to_thread
import orjson

from app_server.auth.store import StoredTokens, read_auth
from app_server.config.atomic import write_atomically
from app_server.errors import AppServerError
from app_server.extension_api.services import HttpAnswer, HttpFailure
from app_server.observability.logging import get_logger
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.clock import Clock

REFRESH_URL: Final = "https://auth.openai.com/oauth/token"
REFRESH_URL_VARIABLE: Final = "CODEX_REFRESH_TOKEN_URL_OVERRIDE"
CLIENT_ID: Final = "app_EMoamEEZ73f0CkXaXp7hrann"
SCOPE: Final = "openid profile email"
TIMEOUT_S: Final = 15.0
_MAX_ANSWER_BYTES: Final = 256 * 1024
_REFUSALS: Final = (400, 401, 403)
log = get_logger("auth")


class TokenHttp(Protocol):
    """How the endpoint is reached. `net.Net` has this shape."""

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
        """POST JSON and read the whole answer. Raises HttpFailure."""
        ...


@frozen
class Renewed:
    """How it went. `refused_token`: the refresh token that the endpoint will never take again."""

    good: bool
    refused_token: str | None = None

    def __repr__(self) -> str:  # no token in a log line
        return f"Renewed(good={self.good})"


async def renew_stored(
    path: Path, http: TokenHttp, env: Mapping[str, str], clock: Clock, *, refused: str, dead: str | None
) -> Renewed:
    """Exchange the refresh token of the file. `refused`: the access token that it is to replace; `dead`: a refresh
    token that the endpoint has refused before, which is not sent again."""
    tokens = _stored(path)
    if tokens is None or tokens.refresh_token is None or tokens.refresh_token == dead:
        return Renewed(good=False)
    if tokens.access_token != refused:
        return Renewed(good=True)
    with anyio.CancelScope(shield=True):  # bounded by the request's own time limit
        status, answer = await _exchange(tokens.refresh_token, http, env)
        if answer is not None:
            return Renewed(good=await _write(path, tokens, answer, clock))
    later = _stored(path)
    if later is not None and later.access_token != refused:  # another process was quicker, and used the token up
        return Renewed(good=True)
    return Renewed(good=False, refused_token=tokens.refresh_token if status in _REFUSALS else None)


async def _exchange(
    refresh_token: str, http: TokenHttp, env: Mapping[str, str]
) -> tuple[int | None, Mapping[str, Any] | None]:
    """The status and, of a good answer, its JSON."""
    body = {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": refresh_token,
        "scope": SCOPE,
    }
    url = env.get(REFRESH_URL_VARIABLE, "").strip() or REFRESH_URL
    try:
        answer = await http.post_json(
            url, body, headers={}, params={}, timeout_s=TIMEOUT_S, max_bytes=_MAX_ANSWER_BYTES
        )
    except HttpFailure as failure:
        log.warning("token_refresh_failed", cause=str(failure))
        return None, None
    content = _object(answer.body)
    if answer.status == 200 and isinstance(content.get("access_token"), str) and content["access_token"]:
        return answer.status, content
    log.warning("token_refresh_failed", status=answer.status, cause=_error_code(content))
    return answer.status, None


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return content if isinstance(content, dict) else {}


def _error_code(content: Mapping[str, Any]) -> str:
    """The endpoint's own word for what is wrong: `refresh_token_expired`, `refresh_token_reused` …"""
    error = content.get("error")
    code = error.get("code") if isinstance(error, Mapping) else error or content.get("code")
    return str(code)[:80] if code else "the answer holds no access token"


async def _write(path: Path, before: StoredTokens, answer: Mapping[str, Any], clock: Clock) -> bool:
    try:
        return await anyio.to_thread.run_sync(_replace_tokens, path, before, answer, clock.now_ms())
    except (AppServerError, OSError, ValueError) as error:
        log.error("tokens_not_written", path=str(path), cause=str(error))
        return False


def _replace_tokens(path: Path, before: StoredTokens, answer: Mapping[str, Any], now_ms: int) -> bool:
    """Put the new tokens into the file, whatever else it holds; not over a login that is another one by now."""
    now = _stored(path)
    if now is None or now.refresh_token != before.refresh_token:
        return now is not None
    content = json.loads(path.read_bytes())
    fresh = {key: answer[key] for key in ("id_token", "access_token", "refresh_token") if answer.get(key)}
    content["tokens"] = {**content["tokens"], **fresh}
    content["last_refresh"] = datetime.fromtimestamp(now_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
    write_atomically(path, json.dumps(content, indent=2).encode() + b"\n")
    return True


def _stored(path: Path) -> StoredTokens | None:
    auth = read_auth(path)
    return auth.tokens if auth is not None else None
