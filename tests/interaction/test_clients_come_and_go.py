"""Several clients of one server, and clients that leave: turns are the thread's, not the connection's."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interaction.conversation import ended, run_turn, start_thread, start_turn
from tests.support.server import connected, make_home, running
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    Streamed,
    completed,
    created,
    item_added,
    item_done,
    text_delta,
    text_turn,
)

pytestmark = pytest.mark.anyio
ITEM = {"type": "message", "id": "m1", "role": "assistant", "content": []}


def halting(gate: Gate) -> Reply:
    """An answer that waits in the middle of its message."""
    whole = {**ITEM, "content": [{"type": "output_text", "text": "Half whole.", "annotations": []}]}
    events: list[Streamed] = [created("r1"), item_added(ITEM), text_delta("m1", "Half "), gate]
    return Reply(events=[*events, text_delta("m1", "whole."), item_done(whole), completed("r1")])


async def test_a_client_that_leaves_in_mid_turn_stops_nothing_and_another_sees_the_rest(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, running(make_home(tmp_path, up.base_url)) as app:
        up.queue.append(halting(gate))
        async with connected(app) as first:
            thread_id = await start_thread(first)
            turn_id = await start_turn(first, thread_id)
            await first.wait_for("item/agentMessage/delta")
        async with connected(app) as second:
            resumed = await second.request("thread/resume", {"threadId": thread_id})
            gate.release()
            turn = await ended(second, turn_id)

    assert resumed["thread"]["status"] == {"type": "active", "activeFlags": []}
    assert [(each["id"], each["status"]) for each in resumed["thread"]["turns"]] == [(turn_id, "inProgress")]
    assert (turn["status"], turn["items"][0]["text"]) == ("completed", "Half whole.")
    assert [params["delta"] for params in second.notifications("item/agentMessage/delta")] == ["Half ", "whole."]


async def test_a_thread_is_announced_to_every_client(tmp_path: Path) -> None:
    async with (
        running(make_home(tmp_path, "http://127.0.0.1:9/v1")) as app,
        connected(app) as one,
        connected(app) as two,
    ):
        thread_id = await start_thread(one)

        assert (await two.wait_for("thread/started"))["thread"]["id"] == thread_id


async def test_only_subscribers_hear_of_items(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        connected(app) as one,
        connected(app) as two,
    ):
        up.queue.append(text_turn("r1", "Hello."))

        await run_turn(one, await start_thread(one))
        await two.wait_for("thread/status/changed", status__type="idle")

        assert two.order() == ["thread/started", "thread/status/changed", "thread/status/changed"]


async def test_two_subscribers_hear_the_same_turn(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        connected(app) as one,
        connected(app) as two,
    ):
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Again.")]
        thread_id = await start_thread(one)
        await run_turn(one, thread_id)
        await two.request("thread/resume", {"threadId": thread_id})
        one.skip()
        two.skip()
        before = len(one.incoming), len(two.incoming)

        turn_id = await start_turn(two, thread_id)
        await ended(one, turn_id)
        await ended(two, turn_id)

        heard = [
            [frame["params"] for frame in client.incoming[start:] if "method" in frame]
            for client, start in zip((one, two), before, strict=True)
        ]
        assert heard[0] == [params for params in heard[1] if "tokenUsage" not in params or params["turnId"] == turn_id]


async def test_after_unsubscribing_only_broadcasts_come(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        connected(app) as client,
    ):
        up.queue.append(text_turn("r1", "Hello."))
        thread_id = await start_thread(client)

        answers = [await client.request("thread/unsubscribe", {"threadId": thread_id}) for _ in range(2)]
        await start_turn(client, thread_id)
        await client.wait_for("thread/status/changed", status__type="idle")

        assert [answer["status"] for answer in answers] == ["unsubscribed", "notSubscribed"]
        assert client.order() == ["thread/started", "thread/status/changed", "thread/status/changed"]


async def test_a_loaded_thread_keeps_its_settings_when_another_client_resumes_it(tmp_path: Path) -> None:
    async with (
        running(make_home(tmp_path, "http://127.0.0.1:9/v1")) as app,
        connected(app) as one,
        connected(app) as two,
    ):
        thread_id = await start_thread(one, model="gpt-6-sol")

        resumed = await two.request("thread/resume", {"threadId": thread_id, "model": "gpt-5.5"})

        assert resumed["model"] == "gpt-6-sol"


async def test_a_client_that_leaves_with_requests_in_flight_hurts_nobody(tmp_path: Path) -> None:
    async with running(make_home(tmp_path, "http://127.0.0.1:9/v1")) as app:
        async with connected(app) as one:
            for _ in range(50):
                await one.post("thread/start", {})
        async with connected(app) as two:
            assert await start_thread(two)
