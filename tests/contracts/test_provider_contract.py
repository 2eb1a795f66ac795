"""The contract of model providers (`providers/base.py`), run on every implementation.

The Responses provider talks to a real server on loopback that this module scripts; below the contract stand the
properties that only a real connection can show: hanging up, silence, a cut, a refused connection.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import orjson
import pytest

from app_server.providers.base import (
    Completed,
    ItemAdded,
    ItemDone,
    ModelProvider,
    ModelRequest,
    ProviderEvent,
    ProviderFacts,
    RateLimits,
    TextDelta,
    UpstreamError,
)
from app_server.providers.offline import OfflineProvider
from app_server.providers.responses_api import ResponsesProvider, ResponsesSettings

pytestmark = pytest.mark.anyio

BOUND_S = 10.0
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class LoopbackServer:
    """A small HTTP server: one request per connection is read and handed to `answer`, with the raw stream."""

    def __init__(self, answer: Callable[[LoopbackServer, bytes, anyio.abc.SocketStream], Awaitable[None]]) -> None:
        self._answer = answer
        self.url = ""
        self.requests = 0
        self.asked = anyio.Event()
        self.hung_up = anyio.Event()
        """Set when a client has closed its connection while the answer was waiting for that."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[LoopbackServer]:
        async with AsyncExitStack() as stack:
            listener = await stack.enter_async_context(await anyio.create_tcp_listener(local_host="127.0.0.1"))
            self.url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}/v1"
            group = await stack.enter_async_context(anyio.create_task_group())
            group.start_soon(listener.serve, self._connection)
            yield self
            group.cancel_scope.cancel()

    async def _connection(self, stream: anyio.abc.SocketStream) -> None:
        async with stream:
            received = b""
            while b"\r\n\r\n" not in received:
                received += await stream.receive()
            head, _, body = received.partition(b"\r\n\r\n")
            length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
            while len(body) < length:
                body += await stream.receive()
            self.requests += 1
            self.asked.set()
            try:
                await self._answer(self, body, stream)
            except (anyio.BrokenResourceError, anyio.EndOfStream):
                self.hung_up.set()

    async def wait_for_hang_up(self, stream: anyio.abc.SocketStream) -> None:
        """Wait until the client closes the connection."""
        await stream.receive()


def chunk(*events: Mapping[str, Any]) -> bytes:
    data = b"".join(b"event: x\ndata: " + orjson.dumps(event) + b"\n\n" for event in events)
    return b"%x\r\n%s\r\n" % (len(data), data)


def words_of(body: bytes) -> str:
    """What the user said last."""
    return str(orjson.loads(body)["input"][-1]["content"][0]["text"])


def delta(item_id: str, text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "item_id": item_id, "delta": text}


async def echo(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
    """Repeat the user's words in a message, a letter in each delta and in each piece on the wire."""
    words = words_of(body)
    item = {"type": "message", "id": f"msg_{words}", "role": "assistant"}
    await stream.send(HEAD + chunk({"type": "response.output_item.added", "item": {**item, "content": []}}))
    for letter in words:
        await stream.send(chunk(delta(f"msg_{words}", letter)))
        await anyio.lowlevel.checkpoint()
    done = {**item, "content": [{"type": "output_text", "text": words, "annotations": []}]}
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
    await stream.send(
        chunk(
            {"type": "response.output_item.done", "item": done},
            {"type": "response.completed", "response": {"id": f"resp_{words}", "usage": usage}},
        )
        + b"0\r\n\r\n"
    )


class NoLogin:
    """A provider without a key."""

    def headers(self) -> Mapping[str, str]:
        return {}


def responses_provider(url: str, client: httpx.AsyncClient, **settings: Any) -> ResponsesProvider:
    base: dict[str, Any] = {
        "base_url": lambda: url,
        "query_params": {},
        "request_max_retries": 0,
        "http_backoff_s": lambda retry: 0.0,
    }
    return ResponsesProvider(
        ProviderFacts(id="loopback"), ResponsesSettings(**base | settings), NoLogin(), lambda: client
    )


@asynccontextmanager
async def served(
    answer: Callable[[LoopbackServer, bytes, anyio.abc.SocketStream], Awaitable[None]], **settings: Any
) -> AsyncIterator[tuple[LoopbackServer, ResponsesProvider]]:
    with anyio.fail_after(BOUND_S):
        async with LoopbackServer(answer).running() as server, httpx.AsyncClient() as client:
            yield server, responses_provider(server.url, client, **settings)


@asynccontextmanager
async def echoing_provider() -> AsyncIterator[ModelProvider]:
    async with served(echo) as (_, provider):
        yield provider


@asynccontextmanager
async def offline_provider() -> AsyncIterator[ModelProvider]:
    with anyio.fail_after(BOUND_S):
        yield OfflineProvider()


every_provider = pytest.mark.parametrize(
    "provider_of", [echoing_provider, offline_provider], ids=["ResponsesProvider", "OfflineProvider"]
)
ProviderOf = Callable[[], AbstractAsyncContextManager[ModelProvider]]


def request(words: str) -> ModelRequest:
    """A request whose answer holds the words: the echo repeats them, the stand-in puts them into the JSON asked for."""
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    return ModelRequest(
        model="any",
        input=[{"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}],
        tools=[],
        reasoning={},
        text={"format": {"type": "json_schema", "schema": schema}},
        prompt_cache_key="thread",
        client_metadata={},
    )


async def events_of(provider: ModelProvider, words: str) -> list[ProviderEvent]:
    async with aclosing(provider.stream(request(words))) as events:
        return [event async for event in events]


def spoken(events: list[ProviderEvent]) -> str:
    """The text of the one message that is done."""
    (text,) = [event.item["content"][0]["text"] for event in events if isinstance(event, ItemDone)]
    return str(text)


@every_provider
async def test_a_good_stream_ends_with_rate_limits_and_completed(provider_of: ProviderOf) -> None:
    async with provider_of() as provider:
        events = await events_of(provider, "a fox")
    assert [type(event) for event in events[-2:]] == [RateLimits, Completed]
    assert sum(isinstance(event, RateLimits | Completed) for event in events) == 2
    assert isinstance(events[-1], Completed)
    usage = events[-1].usage
    assert usage is not None
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0


@every_provider
async def test_every_delta_belongs_to_an_item_that_is_open(provider_of: ProviderOf) -> None:
    async with provider_of() as provider:
        events = await events_of(provider, "a fox in the snow")
    open_ids: set[str] = set()
    for event in events:
        match event:
            case ItemAdded(item=item):
                open_ids.add(item["id"])
            case ItemDone(item=item):
                open_ids.remove(item["id"])
            case TextDelta(item_id=item_id):
                assert item_id in open_ids
    assert open_ids == set()


@every_provider
async def test_the_deltas_join_to_the_text_of_the_item(provider_of: ProviderOf) -> None:
    async with provider_of() as provider:
        events = await events_of(provider, "a fox in the snow")
    assert "a fox in the snow" in spoken(events)
    deltas = [event.delta for event in events if isinstance(event, TextDelta)]
    assert len(deltas) > 1
    assert "".join(deltas) == spoken(events)


@every_provider
async def test_a_stream_may_be_closed_after_any_event(provider_of: ProviderOf) -> None:
    async with provider_of() as provider:
        for number in range(1, len(await events_of(provider, "a fox"))):
            events = provider.stream(request("a fox"))
            seen = [await anext(events) for _ in range(number)]
            await events.aclose()
            assert len(seen) == number
            with pytest.raises(StopAsyncIteration):
                await anext(events)


@every_provider
async def test_concurrent_streams_do_not_mix(provider_of: ProviderOf) -> None:
    said: dict[str, list[ProviderEvent]] = {}

    async def run(provider: ModelProvider, words: str) -> None:
        said[words] = await events_of(provider, words)

    async with provider_of() as provider, anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(run, provider, f"picture-{number}")
    for words, events in said.items():
        assert words in spoken(events)
        assert "".join(event.delta for event in events if isinstance(event, TextDelta)) == spoken(events)
    assert (
        len({event.response_id for events in said.values() for event in events if isinstance(event, Completed)}) == 10
    )


@every_provider
async def test_a_cancelled_stream_ends_and_the_provider_goes_on(provider_of: ProviderOf) -> None:
    async with provider_of() as provider:
        with anyio.CancelScope() as scope:
            async with aclosing(provider.stream(request("a fox"))) as events:
                async for _ in events:
                    scope.cancel()
        assert scope.cancelled_caught
        assert "a bear" in spoken(await events_of(provider, "a bear"))


async def one_delta_then_silence(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
    await stream.send(HEAD + chunk(delta("m", "Hi")))
    await server.wait_for_hang_up(stream)


async def silence(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
    await server.wait_for_hang_up(stream)


async def test_closing_a_stream_hangs_up_at_once() -> None:
    async with served(one_delta_then_silence) as (server, provider):
        events = provider.stream(request("x"))
        assert await anext(events) == TextDelta("m", "Hi")
        await events.aclose()
        await server.hung_up.wait()


@pytest.mark.parametrize("answer", [one_delta_then_silence, silence])
async def test_cancelling_a_waiting_stream_hangs_up_at_once(answer: Any) -> None:
    async with served(answer) as (server, provider):
        async with anyio.create_task_group() as group:
            group.start_soon(events_of, provider, "x")
            await server.asked.wait()
            group.cancel_scope.cancel()
        await server.hung_up.wait()


@pytest.mark.parametrize(("answer", "retries"), [(one_delta_then_silence, 0), (silence, 3)])
async def test_silence_ends_a_stream_and_is_not_an_http_retry(answer: Any, retries: int) -> None:
    async with served(answer, stream_idle_timeout_s=0.1, request_max_retries=retries) as (server, provider):
        with pytest.raises(UpstreamError) as caught:
            await events_of(provider, "x")
        await server.hung_up.wait()
    assert caught.value.message == (
        "The stream disconnected before the answer was complete: the provider was silent for 0.1 seconds."
    )
    assert (caught.value.stream_retry, server.requests) == (True, 1)


async def test_a_cut_connection_is_a_broken_stream() -> None:
    async def cut(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
        await stream.send(HEAD + chunk(delta("m", "Hi")))

    async with served(cut) as (server, provider):
        with pytest.raises(UpstreamError, match="the connection was cut") as caught:
            await events_of(provider, "x")
    assert (caught.value.kind, caught.value.stream_retry, server.requests) == ("other", True, 1)


async def test_a_connection_closed_without_an_answer_is_tried_again() -> None:
    async def first_closed(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
        if server.requests > 1:
            await echo(server, body, stream)

    async with served(first_closed, request_max_retries=1) as (server, provider):
        assert spoken(await events_of(provider, "x")) == "x"
    assert server.requests == 2


async def test_a_refused_connection_names_the_provider() -> None:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with httpx.AsyncClient() as client:
        with pytest.raises(UpstreamError) as caught:
            await events_of(responses_provider(f"http://127.0.0.1:{port}/v1", client), "x")
    assert caught.value.message == (
        f'Cannot connect to provider "loopback" at http://127.0.0.1:{port}/v1/responses; '
        "check the network and its base_url."
    )


async def test_a_delta_of_many_megabytes_comes_through_whole() -> None:
    size_bytes = 8 * 1024 * 1024

    async def giant(server: LoopbackServer, body: bytes, stream: anyio.abc.SocketStream) -> None:
        event = chunk(delta("m", "G" * size_bytes))
        await stream.send(HEAD)
        for start in range(0, len(event), 65_536):
            await stream.send(event[start : start + 65_536])
        await stream.send(chunk({"type": "response.completed", "response": {"id": "r"}}))
        await server.wait_for_hang_up(stream)

    async with served(giant) as (_, provider):
        events = await events_of(provider, "x")
    assert [len(event.delta) for event in events if isinstance(event, TextDelta)] == [size_bytes]
    assert isinstance(events[-1], Completed)
