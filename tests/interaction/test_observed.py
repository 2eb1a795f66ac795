"""What a server counts, traces and logs of real turns, and that it counts nothing while nobody could ask."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
import pytest

from app_server.methods import FAMILIES
from app_server.observability.logging import configure_logging, get_logger
from app_server.observability.metrics import Metrics
from app_server.observability.observer import Observer
from app_server.observability.tracing import Attribute, Kind, Span
from app_server.observability.watch import WATCH
from tests.interaction.conversation import imagegen, picture_home, run_turn, start_thread
from tests.support.client import RpcFailure
from tests.support.server import make_home, serving
from tests.support.upstream import Reply, ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class FakeSpan:
    """A span that remembers."""

    def __init__(self, tracer: FakeTracer, name: str, parent: str | None, attributes: Mapping[str, Attribute]) -> None:
        self.tracer, self.name, self.parent = tracer, name, parent
        self.attributes, self.ended = dict(attributes), "open"

    def set(self, name: str, value: Attribute) -> None:
        self.attributes[name] = value

    def headers(self) -> Mapping[str, str]:
        return {"traceparent": f"span-of-{self.name}"}

    def end(self, failure: str | None = None) -> None:
        self.ended = failure or "well"


class FakeTracer:
    """Keeps all spans, in the order in which they began."""

    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        *,
        parent: Span | None,
        carrier: Mapping[str, str],
    ) -> FakeSpan:
        from_where = parent.name if isinstance(parent, FakeSpan) else carrier.get("traceparent")
        self.spans.append(FakeSpan(self, name, from_where, attributes))
        return self.spans[-1]

    def close(self, timeout_s: float) -> None:
        pass

    def tree(self) -> list[tuple[str, str | None, str]]:
        return [(span.name, span.parent, span.ended) for span in self.spans]


@pytest.fixture
def observer() -> Iterator[Observer]:
    """Somebody could ask."""
    WATCH.observer = Observer(Metrics(name for names in FAMILIES.values() for name in names), FakeTracer())
    yield WATCH.observer
    WATCH.observer = None


def counted(observer: Observer) -> dict[str, object]:
    metrics = observer.metrics
    return {
        "turns": (metrics.turns_started.total, {key: n for key, n in metrics.turns_ended.by.items() if n}),
        "turn_s": sum(metrics.turn_s.series[""].counts),
        "pictures": {key: n for key, n in metrics.pictures.by.items() if n},
        "tool_calls": {key: n for key, n in metrics.tool_calls.by.items() if n},
        "provider": {key: n for key, n in metrics.provider_requests.by.items() if n},
        "methods": {method: sum(series.counts) for method, series in metrics.request_s.series.items()},
        "failed": metrics.requests_failed.total,
        "leases": {key: n for key, n in metrics.leases.by.items() if n},
    }


async def test_a_picture_turn_is_counted_and_its_spans_belong_together(tmp_path: Path, observer: Observer) -> None:
    async with ScriptedUpstream() as up:
        up.queue += [sse("r1", imagegen("call_1", prompt="a blue whale")), text_turn("r2", "Done.")]
        async with serving(picture_home(tmp_path, up)) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id, "Draw a whale")
            with pytest.raises(RpcFailure):
                await client.request("turn/interrupt", {"threadId": thread_id, "turnId": thread_id})

        assert counted(observer) == {
            "turns": (1, {"completed": 1}),
            "turn_s": 1,
            "pictures": {"completed": 1},
            "tool_calls": {"succeeded": 1},
            "provider": {"2xx": 2},
            "methods": {"thread/start": 1, "turn/start": 1, "turn/interrupt": 1},
            "failed": 1,
            "leases": {"taken": 1},
        }
        assert observer.metrics.deltas.total > 0
        assert sum(observer.metrics.commit_s.series[""].counts) > 3
        assert isinstance(observer.tracer, FakeTracer)
        assert observer.tracer.tree() == [
            ("request thread/start", None, "well"),
            ("request turn/start", None, "well"),
            ("turn", "request turn/start", "well"),
            ("model answer", "turn", "well"),
            ("tool call", "turn", "well"),
            ("http request", "tool call", "well"),
            ("model answer", "turn", "well"),
            ("request turn/interrupt", None, "error"),
        ]
        assert [post.headers.get("traceparent") for post in up.posts()] == ["span-of-model answer"] * 2
        (picture,) = up.posts("/images/generations")
        assert picture.headers.get("traceparent") == "span-of-http request"
        told = orjson.dumps([span.attributes for span in observer.tracer.spans]).decode()
        assert "whale" not in told


async def test_a_client_s_trace_goes_on_in_its_request_and_not_in_the_next(tmp_path: Path, observer: Observer) -> None:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        await client.stream.send(
            [
                orjson.dumps(
                    {"id": 900, "method": "thread/loaded/list", "params": {}, "trace": {"traceparent": TRACEPARENT}}
                )
            ]
        )
        await client.request("thread/loaded/list", {})
        assert isinstance(observer.tracer, FakeTracer)
        assert [span.parent for span in observer.tracer.spans] == [TRACEPARENT, None]


async def test_failures_of_providers_and_turns_are_counted_by_their_kind(tmp_path: Path, observer: Observer) -> None:
    async with ScriptedUpstream() as up:
        up.queue += [Reply(status=503), Reply(status=400)]
        async with serving(make_home(tmp_path, up.base_url, retries=1)) as (_, client):
            await run_turn(client, await start_thread(client))
    found = counted(observer)
    assert (found["provider"], found["turns"]) == ({"5xx": 1, "4xx": 1}, (1, {"failed": 1}))


async def test_nothing_is_counted_while_nobody_could_ask(tmp_path: Path) -> None:
    assert WATCH.observer is None
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        await run_turn(client, await start_thread(client))
        assert up.posts()[0].headers.get("traceparent") is None
    assert WATCH.observer is None


async def test_lines_of_a_turn_carry_connection_request_thread_and_turn(tmp_path: Path) -> None:
    lines = io.BytesIO()
    configure_logging("info", lines)
    try:
        async with ScriptedUpstream() as up:
            up.queue += [sse("r1", imagegen("call_1", prompt="a blue whale")), text_turn("r2", "Done.")]
            async with serving(picture_home(tmp_path, up)) as (_, client):
                thread_id = await start_thread(client)
                turn = await run_turn(client, thread_id, "Draw a whale")
        get_logger("outside").warning("outside")
    finally:
        configure_logging("warn", io.BytesIO())
    found = {line["event"]: line for line in map(orjson.loads, lines.getvalue().splitlines())}
    names = ("connection_id", "method", "thread_id", "turn_id")
    assert {name: found["tool_done"].get(name) for name in names} == {
        "connection_id": 1,
        "method": "turn/start",
        "thread_id": thread_id,
        "turn_id": turn["id"],
    }
    assert found["tool_done"]["request_id"] is not None
    assert not set(names) & set(found["outside"])
