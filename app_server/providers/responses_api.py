"""The Responses API over HTTP: a request becomes a POST, the answer's event stream becomes provider events.

It owns the HTTP exchange: body, headers, quiet retries before the stream begins, the watch for silence, hanging up
(what comes behind the last event is read in `leftovers.py`).
What the events mean is in `responses_events.py`, what failures mean in `responses_errors.py`; whether a broken stream
is started again is `turns/sampling.py`'s decision. `registry.py` builds one provider for each configured table.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final

import anyio
import httpx
import orjson

from app_server.clock import Clock, SystemClock
from app_server.net import explain_failure
from app_server.observability.watch import WATCH
from app_server.providers.base import (
    USER_AGENT,
    Completed,
    Credentials,
    Encoded,
    ModelRequest,
    ProviderEvent,
    ProviderFacts,
    RateLimits,
    RenewableCredentials,
    UpstreamError,
)
from app_server.providers.intake import Intake
from app_server.providers.leftovers import Leftovers, hang_up
from app_server.providers.responses_errors import (
    FailureSource,
    bad_address,
    bad_header,
    disconnected,
    refusal,
    unreachable,
)
from app_server.providers.responses_events import ResponseReader, rate_limits
from app_server.sse import MAX_EVENT_BYTES, SseDecoder
from app_server.values import frozen

CONNECT_TIMEOUT_S: Final = 30.0
MIB: Final = 1024 * 1024
ERROR_BODY_BYTES: Final = 64 * 1024
"""How much of a refusal is read: enough for any explanation, too little to fill the memory."""
ERROR_BODY_TIMEOUT_S: Final = 10.0
UNAUTHORIZED: Final = 401
"""Answered once with a renewed login, where there is one to renew."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")
_SECRET_NAME: Final = re.compile(r"auth|key|token|secret|sig|password|cookie", re.IGNORECASE)


def http_backoff_s(retry: int) -> float:
    """The pause before the HTTP retry of this number (1, 2, …): 0.2 s, doubling, give or take a tenth."""
    return float(0.2 * 2 ** (retry - 1)) * random.uniform(0.9, 1.1)


@frozen
class ResponsesSettings:
    """How to reach one provider. The callables are asked at every request: logins and variables change."""

    base_url: Callable[[], str]
    """`/responses` is appended."""
    headers: Callable[[], Mapping[str, str]] = dict
    """The provider's own headers, those from the environment included."""
    query_params: Mapping[str, str]
    request_max_retries: int = 4
    stream_max_retries: int = 5
    stream_idle_timeout_s: float = 300.0
    """How long the provider may be silent, before the answer begins and between any two pieces of it."""
    stream_max_mb: int = 256
    """MiB of one answer, decoded, above which it is given up."""
    max_event_bytes: int = MAX_EVENT_BYTES
    login_hint: Callable[[], str] = lambda: "the key or login of this provider"
    """Which key is used and where it is set, for the message of a refusal."""
    heard_limits: Callable[[RateLimits], None] = lambda limits: None
    """Told the limits of every answer that came to its end."""
    user_agent: str = USER_AGENT
    http_backoff_s: Callable[[int], float] = http_backoff_s


class ResponsesProvider:
    """One provider that speaks the Responses API. Requests share no state: safe for many streams at once."""

    def __init__(
        self,
        facts: ProviderFacts,
        settings: ResponsesSettings,
        credentials: Credentials,
        client: Callable[[], httpx.AsyncClient],
        clock: Clock | None = None,
    ) -> None:
        self._facts, self._settings, self._credentials, self._client = facts, settings, credentials, client
        self._clock, self._leftovers = clock or SystemClock(), Leftovers()

    @property
    def facts(self) -> ProviderFacts:
        return self._facts

    @property
    def stream_max_retries(self) -> int:
        return self._settings.stream_max_retries

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ProviderEvent, None]:
        """See `ModelProvider.stream`. RateLimits comes right before Completed; what follows that is not looked at."""
        if isinstance(self._credentials, RenewableCredentials):
            await self._credentials.prepare()
        url, body, login = self._url(), request_body(request), self._credentials.headers()
        headers, source = self._headers(request, url, login)
        try:
            response = await self._open(url, headers, body, source)
        except UpstreamError as failure:
            if failure.http_status != UNAUTHORIZED or not await self._renewed(login):
                raise
            headers, source = self._headers(request, url, self._credentials.headers())
            response = await self._open(url, headers, body, source)
        whole = False
        chunks = response.aiter_bytes()
        try:
            limits, intake = rate_limits(response.headers), self._intake(request, response, source)
            while (chunk := await _next_chunk(chunks, intake, self._settings.stream_idle_timeout_s, url)) is not None:
                intake.take(chunk)
                if intake.room_bytes < 0:
                    raise self._too_long()
                while (event := intake.next()) is not None:
                    if isinstance(event, Completed):
                        whole = True
                        self._settings.heard_limits(limits)
                        yield limits
                        yield event
                        return
                    yield event
            raise disconnected(_early_end(response, heard=intake.heard))
        finally:
            if whole:
                self._leftovers.take(response, chunks)
            else:
                await hang_up(response)

    def _intake(self, request: ModelRequest, response: httpx.Response, source: FailureSource) -> Intake:
        return Intake(
            ResponseReader(source),
            SseDecoder(self._settings.max_event_bytes),
            self._settings.stream_max_mb * MIB,
            request.on_text,
            response.extensions.get("network_stream"),
        )

    def _too_long(self) -> UpstreamError:
        return UpstreamError(
            f'The answer of provider "{self._facts.id}" is larger than {self._settings.stream_max_mb} MiB and was '
            "given up; ask for less, or raise stream_max_mb of this provider in config.toml."
        )

    async def _renewed(self, refused: Mapping[str, str]) -> bool:
        return isinstance(self._credentials, RenewableCredentials) and await self._credentials.refresh(refused)

    async def _open(self, url: httpx.URL, headers: httpx.Headers, body: bytes, source: FailureSource) -> httpx.Response:
        """The answer's head, status 2xx. Trouble of the network and 5xx are tried again, silently."""
        retry = 0
        while True:
            try:
                response = await self._post(url, headers, body, source)
                _count(response.status_code)
                return response
            except UpstreamError as failure:
                _count(failure.http_status)
                retry += 1
                if retry > self._settings.request_max_retries or not retried_before_stream(failure):
                    raise
            await anyio.sleep(self._settings.http_backoff_s(retry))

    async def _post(self, url: httpx.URL, headers: httpx.Headers, body: bytes, source: FailureSource) -> httpx.Response:
        client, idle_s = self._client(), self._settings.stream_idle_timeout_s
        timeout = httpx.Timeout(idle_s, connect=CONNECT_TIMEOUT_S, pool=None)
        try:
            outgoing = client.build_request("POST", url, content=body, headers=headers, timeout=timeout)
            response = await client.send(outgoing, stream=True, follow_redirects=False)
        except httpx.UnsupportedProtocol as error:
            raise bad_address(source) from error
        except httpx.LocalProtocolError as error:
            raise bad_header(source) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise unreachable(source, details=_explained(error, url)) from error
        except httpx.TimeoutException as error:
            raise disconnected(_silence(idle_s)) from error
        except httpx.TransportError as error:
            raise disconnected("the connection closed without an answer", details=_explained(error, url)) from error
        if response.is_success:
            return response
        try:
            said = await _error_body(response)
        finally:
            await hang_up(response)
        raise refusal(response.status_code, said, response.headers, source, now_s=self._clock.now_ms() / 1000)

    def _url(self) -> httpx.URL:
        base = self._settings.base_url()
        try:
            url = httpx.URL(base.rstrip("/") + "/responses")
        except httpx.InvalidURL as error:
            raise bad_address(self._source(base, ())) from error
        return url.copy_merge_params(dict(self._settings.query_params)) if self._settings.query_params else url

    def _headers(
        self, request: ModelRequest, url: httpx.URL, login: Mapping[str, str]
    ) -> tuple[httpx.Headers, FailureSource]:
        """All headers, and whose words a failure may repeat."""
        own = self._settings.headers()
        headers = httpx.Headers(
            {
                **WATCH.headers(),
                "accept": "text/event-stream",
                "content-type": "application/json",
                "user-agent": self._settings.user_agent,
            }
        )
        for group in (login, own, request.headers):  # a header that the user wrote wins over the login's
            headers.update([(name.encode(), _header_value(value)) for name, value in group.items()])
        named = (*own.items(), *self._settings.query_params.items())
        secrets = [value for name, value in named if _SECRET_NAME.search(name)] + list(login.values())
        shown = str(url.copy_with(query=None, username=None, password=None))
        return headers, self._source(shown, secrets)

    def _source(self, url: str, secrets: Sequence[str]) -> FailureSource:
        bare = (secret.removeprefix("Bearer ").strip() for secret in secrets)
        return FailureSource(
            provider_id=self._facts.id,
            url=url,
            login_hint=self._settings.login_hint(),
            secrets=tuple(secret for secret in bare if len(secret) >= 6),  # shorter ones are parts of ordinary words
        )


def request_body(request: ModelRequest) -> bytes:
    """The JSON of one call, keys in the order of the reference (protocol.md §12)."""
    body = {
        "model": request.model,
        "stream": True,
        "input": request.input,
        "tools": request.tools,
        "tool_choice": "auto",
        "parallel_tool_calls": request.parallel_tool_calls,
        "reasoning": request.reasoning,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": request.prompt_cache_key,
        "text": request.text,
        "client_metadata": request.client_metadata,
    }
    return orjson.dumps(body, default=_plain)


def _count(status: int | None) -> None:
    """One more request had this answer, or none."""
    if WATCH.observer is not None:
        WATCH.observer.metrics.provider_requests.add("none" if status is None else f"{status // 100}xx")


def retried_before_stream(failure: UpstreamError) -> bool:
    """Whether a failure before the stream began is tried again at once: 5xx, and a network that let us down.

    Not after silence: the request may still be at work, and waiting that long again helps nobody."""
    if failure.http_status is not None:
        return failure.http_status >= 500
    return isinstance(failure.__cause__, httpx.NetworkError | httpx.RemoteProtocolError | httpx.ProxyError)


async def _next_chunk(chunks: AsyncIterator[bytes], intake: Intake, idle_s: float, url: httpx.URL) -> bytes | None:
    """The next bytes of the answer, None at its end. The client's read timeout is the watch for silence."""
    intake.tap()
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        return None
    except httpx.TimeoutException as error:
        raise disconnected(_silence(idle_s)) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise disconnected("the connection was cut", details=_explained(error, url)) from error
    finally:
        intake.untap()


def _explained(error: Exception, url: httpx.URL) -> str:
    """What happened to a connection, in a sentence: the libraries' own words hold numbers and source positions."""
    return explain_failure(error, f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}")


async def _error_body(response: httpx.Response) -> bytes:
    """The beginning of a refusal's body, as much as comes in time."""
    body = b""
    with anyio.move_on_after(ERROR_BODY_TIMEOUT_S):
        try:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) >= ERROR_BODY_BYTES:
                    break
        except (httpx.TransportError, httpx.DecodingError):
            pass  # the status says enough
    return body[:ERROR_BODY_BYTES]


def _early_end(response: httpx.Response, *, heard: bool) -> str:
    content_type = response.headers.get("content-type", "").split(";")[0].strip()
    if not heard and content_type and content_type != "text/event-stream":
        return f"the answer is {content_type[:80]} and not an event stream, check the base_url of the provider"
    return "it ended without response.completed"


def _silence(idle_s: float) -> str:
    return f"the provider was silent for {idle_s:g} seconds"


def _header_value(value: str) -> bytes:
    return _CONTROL.sub(" ", value).strip().encode()


def _plain(value: Any) -> Any:
    """For orjson: a mapping or sequence that is no dict or list."""
    if isinstance(value, Encoded):
        return value.encoded
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"{type(value).__name__} is not JSON")
