"""The switchboard: who gets a notification, how often it is encoded, and what is left when a client goes."""

from __future__ import annotations

from typing import Any

import orjson

from app_server.rpc.connection import Connection
from app_server.rpc.delta import Delta
from app_server.rpc.hub import Hub
from app_server.rpc.session import Session
from app_server.turns.context import RicherForm


class CountingClock:
    """Counts how often the time was asked for: the hub does so once for each frame that it encodes."""

    def __init__(self) -> None:
        self.asked = 0

    def now_ms(self) -> int:
        self.asked += 1
        return self.asked

    def monotonic_s(self) -> float:
        return 0.0


class FakeConnection(Connection[None]):
    """A client that keeps its frames."""

    def __init__(self, hub: Hub[None], **session: Any) -> None:
        self.frames: list[bytes] = []
        self.deltas: list[bytes] = []
        facts = {"transport": "memory", "initialized": True, **session}
        self.session = Session(connection_id=hub.next_connection_id(), **facts)
        hub.add(self)

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send_delta(self, delta: Delta) -> None:
        self.deltas.append(delta.frame())


def make_hub() -> tuple[Hub[None], CountingClock]:
    clock = CountingClock()
    return Hub(clock), clock


def decoded(frames: list[bytes]) -> list[Any]:
    return [orjson.loads(frame) for frame in frames]


def test_a_notification_is_encoded_once_for_all_who_get_it() -> None:
    hub, clock = make_hub()
    clients = [FakeConnection(hub) for _ in range(3)]
    hub.broadcast("thread/started", {"x": 1})
    for client in clients:
        hub.subscribe("t", client)
    hub.notify_thread("t", "turn/started", {"x": 2})
    hub.delta("t", "item/agentMessage/delta", {"x": 3})
    for client in clients:
        assert decoded(client.frames) == [
            {"method": "thread/started", "params": {"x": 1}, "emittedAtMs": 1},
            {"method": "turn/started", "params": {"x": 2}, "emittedAtMs": 2},
        ]
        assert decoded(client.deltas) == [{"method": "item/agentMessage/delta", "params": {"x": 3}, "emittedAtMs": 3}]
    assert clock.asked == 3
    assert len({id(client.frames[0]) for client in clients}) == 1


def test_what_nobody_gets_is_not_encoded() -> None:
    hub, clock = make_hub()
    client = FakeConnection(hub, opted_out=frozenset({"a", "d"}))
    hub.subscribe("t", client)
    hub.broadcast("a", {})
    hub.notify_thread("t", "a", {}, forms=[RicherForm(kind="inline", message_bytes=1, params=lambda: 1 / 0)])
    hub.notify_thread("unknown", "b", {})
    hub.delta("t", "d", {})
    hub.delta("unknown", "e", {})
    assert (client.frames, client.deltas, clock.asked) == ([], [], 0)


def test_a_client_hears_nothing_before_initialize_nothing_it_opted_out_of_and_nothing_experimental_unasked() -> None:
    hub, _ = make_hub()
    silent = FakeConnection(hub, initialized=False)
    plain = FakeConnection(hub)
    choosy = FakeConnection(hub, opted_out=frozenset({"warning", "no/such/method"}))
    curious = FakeConnection(hub, experimental_api=True)
    for method in ("warning", "thread/readState/changed", "configWarning"):
        hub.broadcast(method, {})
    heard = [[frame["method"] for frame in decoded(c.frames)] for c in (silent, plain, choosy, curious)]
    assert heard == [
        [],
        ["warning", "configWarning"],
        ["configWarning"],
        ["warning", "thread/readState/changed", "configWarning"],
    ]


def test_a_notification_of_a_thread_reaches_its_subscribers_only() -> None:
    hub, _ = make_hub()
    first, second, other = (FakeConnection(hub) for _ in range(3))
    hub.subscribe("t", first)
    hub.subscribe("t", second)
    hub.subscribe("t", second)
    hub.subscribe("u", other)
    hub.notify_thread("t", "turn/started", {})
    assert [len(c.frames) for c in (first, second, other)] == [1, 1, 0]
    assert hub.unsubscribe("t", second)
    assert not hub.unsubscribe("t", second)
    assert not hub.unsubscribe("nobody", second)
    hub.notify_thread("t", "turn/completed", {})
    assert [len(c.frames) for c in (first, second, other)] == [2, 1, 0]


def test_a_client_that_is_gone_is_told_nothing_any_more() -> None:
    hub, _ = make_hub()
    gone, there = FakeConnection(hub), FakeConnection(hub)
    for client in (gone, there):
        hub.subscribe("t", client)
    hub.remove(gone)
    hub.remove(gone)
    hub.broadcast("warning", {})
    hub.notify_thread("t", "turn/started", {})
    hub.delta("t", "item/agentMessage/delta", {})
    assert (gone.frames, gone.deltas) == ([], [])
    assert (len(there.frames), len(there.deltas)) == (2, 1)
    hub.remove(there)
    assert hub.wanted_forms("t", 1, 1) == frozenset()


def test_a_forgotten_thread_has_no_subscribers() -> None:
    hub, _ = make_hub()
    client = FakeConnection(hub)
    hub.subscribe("t", client)
    hub.forget_thread("t")
    hub.forget_thread("t")
    hub.notify_thread("t", "turn/started", {})
    assert client.frames == []


def test_inline_pictures_are_made_once_and_only_for_those_who_take_them() -> None:
    hub, clock = make_hub()
    clients = [FakeConnection(hub) for _ in range(2)]
    made: list[str] = []

    def inline() -> dict[str, str]:
        made.append("x")
        return {"result": "AAAA"}

    for client in clients:
        hub.subscribe("t", client)
    assert hub.wanted_forms("t", 1, 1) == {"inline"}
    assert hub.wanted_forms("unknown", 1, 1) == frozenset()
    hub.notify_thread(
        "t", "item/completed", {"result": ""}, forms=[RicherForm(kind="inline", message_bytes=99, params=inline)]
    )
    for client in clients:
        assert decoded(client.frames) == [{"method": "item/completed", "params": {"result": "AAAA"}, "emittedAtMs": 1}]
    assert (made, clock.asked) == (["x"], 1)


def test_each_client_gets_the_richest_form_that_it_takes_and_each_form_is_made_once() -> None:
    hub, clock = make_hub()
    limits: list[dict[str, Any]] = [{}, {"maxMessageBytes": 50}, {"maxMessageBytes": 5}, {"inline": "never"}, {}]
    clients = [FakeConnection(hub, extensions={"pictures": wanted}) for wanted in limits]
    made: list[str] = []

    def form(kind: str, message_bytes: int) -> RicherForm:
        def params() -> dict[str, str]:
            made.append(kind)
            return {"form": kind}

        return RicherForm(kind=kind, message_bytes=message_bytes, params=params)

    for client in clients:
        hub.subscribe("t", client)
    assert hub.wanted_forms("t", 100, 10) == {"inline", "thumbnail"}
    assert hub.wanted_forms("t", 2**40, 2**40) == frozenset()
    hub.notify_thread("t", "item/completed", {"form": "plain"}, forms=[form("inline", 100), form("thumbnail", 10)])
    shown = [decoded(client.frames)[0]["params"]["form"] for client in clients]
    assert shown == ["inline", "thumbnail", "plain", "thumbnail", "inline"]
    assert (made, clock.asked) == (["inline", "thumbnail"], 3)


def test_one_connection_can_be_told_alone() -> None:
    hub, _ = make_hub()
    one, other = FakeConnection(hub), FakeConnection(hub)
    hub.notify(one, "warning", {"threadId": None})
    assert decoded(one.frames) == [{"method": "warning", "params": {"threadId": None}, "emittedAtMs": 1}]
    assert other.frames == []


def test_ids_count_up_connections_from_one_and_our_requests_from_zero() -> None:
    hub, _ = make_hub()
    assert [hub.next_connection_id() for _ in range(3)] == [1, 2, 3]
    assert [hub.next_request_id() for _ in range(3)] == [0, 1, 2]
