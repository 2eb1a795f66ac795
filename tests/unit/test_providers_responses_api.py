"""The HTTP exchange of the Responses provider, over a transport in memory: body, headers, retries, hanging up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import anyio
import httpx
import orjson
import pytest

from app_server.providers.base import (
    Completed,
    ModelRequest,
    ProviderEvent,
    ProviderFacts,
    RateLimits,
    TextDelta,
    UpstreamError,
)
from app_server.providers.leftovers import LEFTOVER_BYTES, Leftovers
from app_server.providers.responses_api import (
    ERROR_BODY_BYTES,
    ResponsesProvider,
    ResponsesSettings,
    http_backoff_s,
    request_body,
)

pytestmark = pytest.mark.anyio

REQUEST = ModelRequest(
    model="gpt-5.5",
    input=({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},),
    tools=[{"type": "image_generation"}],
    reasoning={"effort": "medium"},
    text={"verbosity": "low"},
    prompt_cache_key="thread-1",
    client_metadata=MappingProxyType({"thread_id": "thread-1"}),
    headers={"originator": "odd\r\nname: Ü", "session-id": "thread-1"},
)
DONE = b'data: {"type":"response.completed","response":{"id":"r"}}\n\n'
DELTA = b'data: {"type":"response.output_text.delta","item_id":"m","delta":"Hi"}\n\n'
FINISHED: list[ProviderEvent] = [TextDelta("m", "Hi"), RateLimits(), Completed(response_id="r", usage=None)]


class FakeBody(httpx.AsyncByteStream):
    """An answer in pieces; an exception among them is raised. Notes what was read and that it was closed."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces
        self.read, self.closed = 0, False
        self.ended = anyio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            self.read += 1
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def aclose(self) -> None:
        self.closed = True
        self.ended.set()


Answer = httpx.Response | Exception


class Upstream:
    """Scripted answers in turn, and what was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[int] = []

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def backoff_s(self, retry: int) -> float:
        self.pauses.append(retry)
        return 0.0

    def provider(self, **settings: Any) -> ResponsesProvider:
        client = httpx.AsyncClient(transport=httpx.MockTransport(self.handle))
        base: dict[str, Any] = {
            "base_url": lambda: "http://host/v1/",
            "query_params": {},
            "http_backoff_s": self.backoff_s,
            "request_max_retries": 2,
        }
        return ResponsesProvider(
            ProviderFacts(id="mine"), ResponsesSettings(**base | settings), FakeLogin(), lambda: client
        )


class FakeLogin:
    """A login with a key."""

    def headers(self) -> Mapping[str, str]:
        return {"authorization": "Bearer s3cret-key"}


def ok(*pieces: bytes | Exception, **headers: str) -> httpx.Response:
    named = {"content-type": "text/event-stream"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(200, headers=named, stream=FakeBody(*pieces))


async def events_of(provider: ResponsesProvider, request: ModelRequest = REQUEST) -> list[ProviderEvent]:
    return [event async for event in provider.stream(request)]


async def failure_of(upstream: Upstream, **settings: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await events_of(upstream.provider(**settings))
    return caught.value


def test_the_body_has_the_keys_of_the_reference_in_their_order() -> None:
    assert request_body(REQUEST) == (
        b'{"model":"gpt-5.5","stream":true,'
        b'"input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]}],'
        b'"tools":[{"type":"image_generation"}],"tool_choice":"auto","parallel_tool_calls":true,'
        b'"reasoning":{"effort":"medium"},"store":false,"include":["reasoning.encrypted_content"],'
        b'"prompt_cache_key":"thread-1","text":{"verbosity":"low"},"client_metadata":{"thread_id":"thread-1"}}'
    )


async def test_a_request_goes_out_with_address_headers_and_body() -> None:
    upstream = Upstream(ok(DELTA, DONE))
    provider = upstream.provider(
        base_url=lambda: "http://host/v1?x=1".partition("?")[0],
        query_params={"api-version": "2"},
        headers=lambda: {"X-Own": "own", "User-Agent": "house/1"},
    )
    assert await events_of(provider) == FINISHED
    (sent,) = upstream.requests
    assert (sent.method, str(sent.url)) == ("POST", "http://host/v1/responses?api-version=2")
    assert orjson.loads(sent.content) == orjson.loads(request_body(REQUEST))
    headers = {name: value for name, value in sent.headers.raw if name.lower() not in (b"host", b"connection")}
    assert {name.decode().lower(): value.decode() for name, value in headers.items()} == {
        "accept": "text/event-stream",
        "accept-encoding": "gzip, deflate",
        "authorization": "Bearer s3cret-key",
        "content-length": str(len(sent.content)),
        "content-type": "application/json",
        "originator": "odd name: Ü",
        "session-id": "thread-1",
        "user-agent": "house/1",
        "x-own": "own",
    }


async def test_a_header_that_the_user_wrote_wins_over_the_login() -> None:
    upstream = Upstream(ok(DONE))
    await events_of(upstream.provider(headers=lambda: {"Authorization": "Basic eA=="}))
    assert upstream.requests[0].headers.get_list("authorization") == ["Basic eA=="]


async def test_rate_limits_of_the_headers_come_right_before_the_end() -> None:
    upstream = Upstream(ok(DELTA, DONE, x_codex_primary_used_percent="12.4", x_codex_primary_window_minutes="300"))
    assert await events_of(upstream.provider()) == [
        TextDelta("m", "Hi"),
        RateLimits(primary={"usedPercent": 12, "windowDurationMins": 300, "resetsAt": None}),
        Completed(response_id="r", usage=None),
    ]


@pytest.mark.parametrize(
    ("rest", "read"),
    [
        ((), 2),
        ((b"data: [DONE]\n\n", DELTA), 4),
        ((httpx.ReadError("cut"), DELTA), 3),
        ([b"x" * 1024] * (LEFTOVER_BYTES // 1024 + 9), 3 + LEFTOVER_BYTES // 1024),
    ],
    ids=["nothing", "more events", "a cut", "too much"],
)
async def test_what_follows_completed_is_read_beside_the_turn_to_its_end_or_its_bound(
    rest: Sequence[bytes | Exception], read: int
) -> None:
    body = FakeBody(DELTA, DONE + DELTA, *rest)
    assert await events_of(Upstream(httpx.Response(200, stream=body)).provider()) == FINISHED
    assert (body.read, body.closed) == (2, False)
    with anyio.fail_after(10):
        await body.ended.wait()
    assert body.read == read


async def test_a_provider_that_is_silent_behind_the_end_loses_its_connection_in_time() -> None:
    class SilentBody(FakeBody):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            await anyio.sleep_forever()
            yield b""

    body = SilentBody()
    response = httpx.Response(200, stream=body)
    Leftovers(timeout_s=0.001).take(response, response.aiter_bytes())
    with anyio.fail_after(10):
        await body.ended.wait()


async def test_closing_early_closes_the_http_stream() -> None:
    body = FakeBody(DELTA, DELTA, DONE)
    events = Upstream(httpx.Response(200, stream=body)).provider().stream(REQUEST)
    assert await anext(events) == TextDelta("m", "Hi")
    await events.aclose()
    assert (body.read, body.closed) == (1, True)


async def test_bad_json_and_unknown_events_in_mid_stream_are_skipped() -> None:
    noise = b'data: {not json\n\n: note\n\ndata: {"type":"response.surprise"}\n\ndata: [1]\n\ndata\n\n'
    assert await events_of(Upstream(ok(noise, DELTA, noise, DONE)).provider()) == FINISHED


@pytest.mark.parametrize(
    "trouble",
    [
        lambda: httpx.Response(500, text="boom"),
        lambda: httpx.Response(503, json={"error": {"code": "server_is_overloaded"}}),
        lambda: httpx.ConnectError("refused"),
        lambda: httpx.RemoteProtocolError("closed"),
        lambda: httpx.ReadError("reset"),
    ],
)
async def test_trouble_before_the_stream_is_silently_tried_again(trouble: Callable[[], Answer]) -> None:
    upstream = Upstream(trouble(), trouble(), ok(DELTA, DONE))
    assert await events_of(upstream.provider()) == FINISHED
    assert upstream.pauses == [1, 2]
    assert len({request.content for request in upstream.requests}) == 1


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (lambda: httpx.Response(500, text="boom"), "internalServerError"),
        (lambda: httpx.Response(502), {"responseTooManyFailedAttempts": {"httpStatusCode": 502}}),
        (lambda: httpx.ConnectError("refused"), {"httpConnectionFailed": {"httpStatusCode": None}}),
        (lambda: httpx.RemoteProtocolError("closed"), "other"),
    ],
)
async def test_after_the_last_http_retry_the_stream_level_may_go_on(trouble: Callable[[], Answer], kind: Any) -> None:
    upstream = Upstream(trouble(), trouble(), trouble())
    error = await failure_of(upstream)
    assert (error.kind, error.stream_retry, len(upstream.requests)) == (kind, True, 3)


@pytest.mark.parametrize(
    ("answer", "kind", "stream_retry"),
    [
        (lambda: httpx.Response(400), "other", False),
        (lambda: httpx.Response(401), {"httpConnectionFailed": {"httpStatusCode": 401}}, False),
        (
            lambda: httpx.Response(302, headers={"location": "/x"}),
            {"httpConnectionFailed": {"httpStatusCode": 302}},
            False,
        ),
        (lambda: httpx.Response(429), {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, True),
        (lambda: httpx.ReadTimeout("silent"), "other", True),
        (lambda: httpx.LocalProtocolError("illegal header"), "other", False),
        (lambda: httpx.UnsupportedProtocol("no scheme"), "other", False),
    ],
)
async def test_what_another_try_would_not_mend_is_sent_once(
    answer: Callable[[], Answer], kind: Any, stream_retry: bool
) -> None:
    upstream = Upstream(answer())
    error = await failure_of(upstream)
    assert (error.kind, error.stream_retry, len(upstream.requests)) == (kind, stream_retry, 1)


WAS_CUT = "The connection to http://host was cut before the answer was complete; try again."


@pytest.mark.parametrize(
    ("answer", "cause", "details"),
    [
        (lambda: ok(DELTA), "it ended without response.completed", None),
        (lambda: ok(b"this is not SSE at all\n\n"), "it ended without response.completed", None),
        (
            lambda: httpx.Response(200, html="<h1>hello</h1>"),
            "the answer is text/html and not an event stream, check the base_url of the provider",
            None,
        ),
        (
            lambda: httpx.Response(200, json={"id": "r"}),
            "the answer is application/json and not an event stream, check the base_url of the provider",
            None,
        ),
        (lambda: ok(DELTA, httpx.ReadError("[Errno 104] reset")), "the connection was cut", WAS_CUT),
        (lambda: ok(DELTA, httpx.ReadTimeout("")), "the provider was silent for 300 seconds", None),
        (
            lambda: ok(
                b'data: {"type":"response.failed","response":{"error":{"code":"new","message":"new trouble"}}}\n\n'
            ),
            "new trouble",
            None,
        ),
    ],
)
async def test_a_stream_that_breaks_says_how(answer: Callable[[], Answer], cause: str, details: str | None) -> None:
    upstream = Upstream(answer())
    error = await failure_of(upstream)
    assert error.message == f"The stream disconnected before the answer was complete: {cause}."
    assert (error.kind, error.stream_retry, error.details, len(upstream.requests)) == ("other", True, details, 1)


async def test_an_event_over_the_cap_is_refused_for_good() -> None:
    body = FakeBody(b"data: " + b"x" * 200, DONE)
    error = await failure_of(Upstream(httpx.Response(200, stream=body)), max_event_bytes=100)
    assert error.message == (
        "The stream disconnected before the answer was complete: "
        "one event is larger than 100 bytes, which is more than this server takes."
    )
    assert (error.stream_retry, body.closed) == (False, True)


async def test_an_answer_that_never_ends_is_given_up_at_its_limit() -> None:
    piece = b'data: {"type":"response.output_text.delta","item_id":"m","delta":"%s"}\n\n' % (b"x" * 1024)
    body = FakeBody(*[piece] * 2000, DONE)
    error = await failure_of(Upstream(httpx.Response(200, stream=body)), stream_max_mb=1)
    assert error.message == (
        'The answer of provider "mine" is larger than 1 MiB and was given up; ask for less, or raise stream_max_mb of '
        "this provider in config.toml."
    )
    assert (error.stream_retry, body.closed, body.read) == (False, True, 1024 * 1024 // len(piece) + 1)


async def test_an_answer_as_large_as_its_limit_is_taken() -> None:
    filling = b":" + b"x" * (1024 * 1024 - len(DONE) - 2) + b"\n"
    events = await events_of(Upstream(ok(filling, DONE)).provider(stream_max_mb=1))
    assert isinstance(events[-1], Completed)


async def test_a_refusal_is_read_to_its_cap_and_closed() -> None:
    body = FakeBody(*[b"x" * 1024] * (ERROR_BODY_BYTES // 1024 + 50))
    error = await failure_of(Upstream(httpx.Response(400, stream=body)))
    assert (body.read, body.closed) == (ERROR_BODY_BYTES // 1024, True)
    assert len(error.message) < 2_200


async def test_a_refusal_whose_body_breaks_keeps_its_status() -> None:
    error = await failure_of(Upstream(httpx.Response(403, stream=FakeBody(b"{", httpx.ReadError("reset")))))
    assert error.http_status == 403


async def test_a_quoted_key_does_not_reach_the_message() -> None:
    answer = httpx.Response(401, json={"error": {"message": "key s3cret-key, token t0ken-value, version 2025-04-01"}})
    error = await failure_of(
        Upstream(answer),
        base_url=lambda: "http://user:passw0rd@host/v1",
        query_params={"api_key": "t0ken-value", "version": "2025-04-01"},
        login_hint=lambda: "the key in MY_KEY",
    )
    assert error.message == (
        'Provider "mine" answered with unexpected status 401 Unauthorized at http://host/v1/responses: '
        "key [redacted], token [redacted], version 2025-04-01; check the key in MY_KEY."
    )


@pytest.mark.parametrize("address", ["host/v1", "ftp://host/v1", "http://ho st/\x00"])
async def test_an_address_that_is_none_is_named_as_such(address: str) -> None:
    client = httpx.AsyncClient()
    provider = ResponsesProvider(
        ProviderFacts(id="mine"),
        ResponsesSettings(base_url=lambda: address, query_params={}),
        FakeLogin(),
        lambda: client,
    )
    with pytest.raises(UpstreamError) as caught:
        await events_of(provider)
    assert caught.value.message == (
        'The base_url of provider "mine" is not an http or https address; correct it in the config.'
    )


@pytest.mark.parametrize(("retry", "least", "most"), [(1, 0.18, 0.22), (2, 0.36, 0.44), (4, 1.44, 1.76)])
def test_the_pause_doubles_with_a_little_jitter(retry: int, least: float, most: float) -> None:
    assert all(least <= http_backoff_s(retry) <= most for _ in range(50))
