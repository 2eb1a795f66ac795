"""A connection that is lost at any moment: what was missed is sent again once, in order, and the turn never waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.bootstrap import App
from tests.interaction.conversation import Client, ended, imagegen, picture_home, run_turn, start_thread, start_turn
from tests.support.client import Frame, RpcFailure
from tests.support.pictures import png
from tests.support.server import connected, running, serving
from tests.support.upstream import Gate, ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio
Told = tuple[str, Frame]


def durable(client: Client) -> list[Told]:
    """What came with a number, in order, as it was recorded: a thumbnail is live only."""
    told = [
        (f["method"], dict(f["params"])) for f in client.incoming if "method" in f and "seq" in (f.get("params") or {})
    ]
    for _, params in told:
        if "item" in params:
            params["item"] = {name: value for name, value in params["item"].items() if name != "thumbnail"}
    return told


def last_seen(client: Client) -> int:
    told = durable(client)
    return int(told[-1][1]["seq"]) if told else 0


async def heard(client: Client, count: int) -> list[Told]:
    """The first so many notifications with a number."""
    await client.wait_until(lambda: len(durable(client)) >= count, f"{count} durable notifications")
    return durable(client)[:count]


def script(up: ScriptedUpstream) -> None:
    """A turn with a picture and a message that is streamed."""
    up.images.append(image_reply(png()))
    up.queue += [sse("r1", imagegen("call_1", prompt="a whale")), text_turn("r2", "Here it is.")]


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[ScriptedUpstream, App, Client, str]]:
    """A server with a thread and one client that never goes away, which tells the whole sequence. No picture bytes."""
    async with ScriptedUpstream() as up:
        home = picture_home(folder, up, top='server.inline_images = "never"')
        async with running(home) as app, connected(app) as watcher:
            yield up, app, watcher, await start_thread(watcher)


async def resumed(client: Client, thread_id: str, since_seq: int) -> Frame:
    params = {"threadId": thread_id, "excludeTurns": True, "sinceSeq": since_seq}
    reply: Frame = await client.request("thread/resume", params)
    return reply


async def test_a_client_that_leaves_at_any_notification_and_comes_back_has_all_of_them_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as (up, app, watcher, thread_id):
        script(up)
        await run_turn(watcher, thread_id, "Draw a whale")
        count = len(durable(watcher))
        for leave_after in range(count + 1):
            script(up)
            since = last_seen(watcher)
            before = len(durable(watcher))
            async with connected(app) as first:
                await resumed(first, thread_id, since)
                turn_id = await start_turn(watcher, thread_id, "Draw a whale")
                parts = await heard(first, leave_after)
            async with connected(app) as second:
                await resumed(second, thread_id, parts[-1][1]["seq"] if parts else since)
                await ended(watcher, turn_id)
                rest = durable(watcher)[before + leave_after :]
                assert (parts, await heard(second, len(rest))) == (durable(watcher)[before:][:leave_after], rest)
                assert durable(second) == rest


async def test_a_client_that_resumes_again_and_again_while_the_model_speaks_misses_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path) as (up, app, watcher, thread_id), connected(app) as client:
        script(up)
        turn_id = await start_turn(watcher, thread_id, "Draw a whale")
        while "turn/completed" not in client.order():
            await resumed(client, thread_id, last_seen(client))
            await client.request("thread/unsubscribe", {"threadId": thread_id})
        await ended(watcher, turn_id)
        assert durable(client) == durable(watcher)


async def test_a_turn_goes_on_while_nobody_listens(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, running(picture_home(tmp_path, up)) as app:
        up.queue.append(replace(text_turn("r1", "Hello."), hold=gate))
        async with connected(app) as client:
            thread_id = await start_thread(client)
            turn_id = await start_turn(client, thread_id)
            await gate.wait_reached()
            since = last_seen(client)
        gate.release()
        async with connected(app) as client:
            await resumed(client, thread_id, since)
            turn = await ended(client, turn_id)
            assert (turn["status"], turn["items"][0]["text"]) == ("completed", "Hello.")


async def test_what_a_dead_process_did_not_say_is_said_by_the_next_one(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        up.queue.append(replace(text_turn("r1", "Never."), hold=gate))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            turn_id = await start_turn(client, thread_id)
            await gate.wait_reached()
            since = last_seen(client)
        async with serving(home) as (_, client):
            reply = await resumed(client, thread_id, since)
            turn = await ended(client, turn_id)
            assert (turn["status"], last_seen(client)) == ("interrupted", reply["lastSeq"])


async def test_names_goals_and_reverted_turns_are_among_the_missed(tmp_path: Path) -> None:
    async with watched(tmp_path) as (up, app, watcher, thread_id):
        up.queue.append(text_turn("r1", "Hello."))
        turn = await run_turn(watcher, thread_id)
        since = last_seen(watcher)
        before = len(durable(watcher))
        await watcher.request("thread/name/set", {"threadId": thread_id, "name": "Whales"})
        await watcher.request("thread/goal/set", {"threadId": thread_id, "objective": "draw"})
        await watcher.request("thread/goal/clear", {"threadId": thread_id})
        await watcher.request("thread/settings/update", {"threadId": thread_id, "model": "gpt-6-luna"})
        await watcher.request("thread/revert", {"threadId": thread_id, "beforeTurnId": turn["id"]})
        await watcher.wait_for("thread/reverted")
        async with connected(app) as client:
            await resumed(client, thread_id, since)
            assert await heard(client, 5) == durable(watcher)[before:]
            assert [name for name, _ in durable(client)] == [
                "thread/name/updated",
                "thread/goal/updated",
                "thread/goal/cleared",
                "thread/settings/updated",
                "thread/reverted",
            ]


async def test_a_snapshot_and_what_follows_it_have_no_gap(tmp_path: Path) -> None:
    async with watched(tmp_path) as (up, app, watcher, thread_id), connected(app) as client:
        script(up)
        turn_id = await start_turn(watcher, thread_id, "Draw a whale")
        await watcher.wait_for("item/started", item__type="imageGeneration")
        reply = await client.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        await ended(watcher, turn_id)
        await ended(client, turn_id)
        later = [told for told in durable(watcher) if told[1]["seq"] > reply["lastSeq"]]
        assert durable(client) == later


async def test_a_place_that_the_log_does_not_have_is_refused_with_what_to_do(tmp_path: Path) -> None:
    async with watched(tmp_path) as (_, _, watcher, thread_id):
        with pytest.raises(RpcFailure) as failure:
            await resumed(watcher, thread_id, 99)
    data: Any = failure.value.data
    assert (failure.value.code, data) == (-32600, {"code": "seqGone", "lastSeq": 1})
    assert failure.value.message == (
        "nothing can be sent from sinceSeq 99 on: the log of this thread ends at 1; "
        "resume without sinceSeq and read the thread anew"
    )


async def test_a_client_that_missed_nothing_is_told_nothing(tmp_path: Path) -> None:
    async with watched(tmp_path) as (up, app, watcher, thread_id), connected(app) as client:
        up.queue.append(text_turn("r1", "Hello."))
        await run_turn(watcher, thread_id)
        with anyio.fail_after(5):
            await resumed(client, thread_id, last_seen(watcher))
        assert durable(client) == []
