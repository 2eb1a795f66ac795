"""The service behind a ChatGPT login: what the account has used. `account/usage/read` alone asks it; no turn does.

    base_url holds /backend-api      {base_url}/wham/profiles/me, {base_url}/wham/usage/thread_usage/query
    any other address                {base_url}/api/codex/… in place of {base_url}/wham/…

Nothing is kept. Each call is signed with the login of its moment, which is renewed once when it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import anyio
import httpx
import orjson

from app_server.errors import RpcError
from app_server.net import explain_failure
from app_server.net_answers import HttpFailure, read_capped
from app_server.providers.base import Credentials, RenewableCredentials

TIMEOUT_S: Final = 15.0
"""For one call, a renewed login included."""
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_PLACE: Final = "the ChatGPT backend"
_Answer = tuple[int, bytes]


class ChatgptBackend:
    """Asks for one login. `base_url` is the setting `chatgpt_base_url`."""

    def __init__(
        self, base_url: str, credentials: Credentials, client: Callable[[], httpx.AsyncClient], user_agent: str
    ) -> None:
        self._address, self._credentials, self._client = backend_address(base_url), credentials, client
        self._user_agent = user_agent

    async def profile(self) -> Mapping[str, Any]:
        """What the account has used, as the backend words it. Raises RpcError, MissingCredentials."""
        return _object(*await self._ask("GET", "profiles/me", None))

    async def thread_usage(self, thread_id: str) -> Mapping[str, Any] | None:
        """What a thread has used; None where the backend keeps no such account. Raises as `profile`."""
        status, body = await self._ask("POST", "usage/thread_usage/query", {"thread_ids": [thread_id]})
        return None if status == httpx.codes.NOT_FOUND else _object(status, body)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> _Answer:
        try:
            with anyio.fail_after(TIMEOUT_S):
                if isinstance(self._credentials, RenewableCredentials):
                    await self._credentials.prepare()
                login = self._credentials.headers()
                answer = await self._send(method, path, body, login)
                if answer[0] == httpx.codes.UNAUTHORIZED and await self._renewed(login):
                    answer = await self._send(method, path, body, self._credentials.headers())
                return answer
        except TimeoutError:
            raise _failed(f"{_PLACE} did not answer within {TIMEOUT_S:g} s; try again later") from None
        except HttpFailure as error:
            raise _failed(str(error).rstrip(".")) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _failed(explain_failure(error, _PLACE).rstrip(".")) from error

    async def _renewed(self, refused: Mapping[str, str]) -> bool:
        return isinstance(self._credentials, RenewableCredentials) and await self._credentials.refresh(refused)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, login: Mapping[str, str]) -> _Answer:
        headers = {**login, "accept": "application/json", "user-agent": self._user_agent}
        content = None if body is None else orjson.dumps(body)
        if content is not None:
            headers["content-type"] = "application/json"
        url = f"{self._address}/{path}"
        async with self._client().stream(method, url, headers=headers, content=content) as response:
            return response.status_code, await read_capped(response, _MAX_ANSWER_BYTES, _PLACE)


def backend_address(base_url: str) -> str:
    """Where the calls begin: the same two forms that the reference knows."""
    base = base_url.rstrip("/")
    return f"{base}/wham" if "/backend-api" in base else f"{base}/api/codex"


def unreadable() -> RpcError:
    """The answer is no answer to what was asked."""
    return _failed(f"the answer of {_PLACE} has a form that this server does not know; try again later")


def _object(status: int, body: bytes) -> Mapping[str, Any]:
    if status == httpx.codes.UNAUTHORIZED:
        raise _failed(f"{_PLACE} refused the login (status 401); log in again with account/login/start")
    if not httpx.codes.is_success(status):
        raise _failed(f"{_PLACE} answered with status {status}; try again later")
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise unreadable() from None
    if not isinstance(content, dict):
        raise unreadable()
    return content


def _failed(why: str) -> RpcError:
    return RpcError(f"What the account has used could not be read: {why}.", data_code="chatgptBackend")
