"""Threads that leave the memory by themselves, and everybody who hears of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app_server.bootstrap import App
from app_server.clock import SystemClock
from app_server.threads.unloading import IDLE_S
from tests.interaction.conversation import Client, refused, run_turn, start_thread, start_turn
from tests.support.server import connected, make_home
from tests.support.upstream import Gate, ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio


@dataclass
class FakeClock(SystemClock):
    """A clock whose seconds pass when the test says so."""

    passed_s: float = 0.0

    def monotonic_s(self) -> float:
        return self.passed_s


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[tuple[App, FakeClock, Client, ScriptedUpstream]]:
    """A server under a clock of the test's, and a client that looks on."""
    clock = FakeClock()
    async with (
        ScriptedUpstream() as up,
        App(make_home(folder, up.base_url).options(), clock).running() as app,
        connected(app) as onlooker,
    ):
        yield app, clock, onlooker, up


async def look(app: App) -> None:
    """What the server does every minute."""
    await (await app.wiring()).threads.unloader.look()


async def loaded(client: Client) -> list[str]:
    ids: list[str] = (await client.request("thread/loaded/list", {}))["data"]
    return ids


def goodbyes(client: Client) -> list[tuple[str, str]]:
    """Threads that are not loaded any more, and those that were closed, as the client heard of them."""
    return [
        (frame["method"], frame["params"]["threadId"])
        for frame in client.incoming
        if frame.get("method") == "thread/closed"
        or (frame.get("method") == "thread/status/changed" and frame["params"]["status"] == {"type": "notLoaded"})
    ]


async def test_an_ephemeral_thread_that_nobody_follows_any_more_is_closed_at_once(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, _, onlooker, up):
        up.queue.append(text_turn("r1", "A title"))
        async with connected(app) as client:
            thread_id = await start_thread(client, ephemeral=True)
            await run_turn(client, thread_id)
            reply = await client.request("thread/unsubscribe", {"threadId": thread_id})
            await onlooker.wait_for("thread/closed", threadId=thread_id)
            again = await client.request("thread/unsubscribe", {"threadId": thread_id})
            code, message = await refused(client, "thread/read", {"threadId": thread_id})

        assert (reply, again) == ({"status": "unsubscribed"}, {"status": "notLoaded"})
        assert await loaded(onlooker) == []
        assert goodbyes(onlooker) == [("thread/status/changed", thread_id), ("thread/closed", thread_id)]
        assert (code, message) == (-32600, f"thread not loaded: {thread_id}; no such thread is stored")


async def test_a_running_turn_ends_before_its_ephemeral_thread_is_closed(tmp_path: Path) -> None:
    gate = Gate()
    async with watched(tmp_path) as (app, _, onlooker, up), connected(app) as client:
        up.queue.append(replace(text_turn("r1", "A title"), hold=gate))
        thread_id = await start_thread(client, ephemeral=True)
        await start_turn(client, thread_id)
        await gate.wait_reached()
        await client.request("thread/unsubscribe", {"threadId": thread_id})
        assert await loaded(onlooker) == [thread_id]
        gate.release()
        await onlooker.wait_for("thread/closed", threadId=thread_id)

        words = [params["status"]["type"] for params in onlooker.notifications("thread/status/changed")]
        assert words == ["active", "idle", "notLoaded"]
        assert await loaded(onlooker) == []


async def test_an_ephemeral_thread_stays_while_somebody_else_follows_it(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, _, onlooker, _), connected(app) as one, connected(app) as other:
        thread_id = await start_thread(one, ephemeral=True)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        await one.request("thread/unsubscribe", {"threadId": thread_id})
        assert await loaded(onlooker) == [thread_id]
        await other.request("thread/unsubscribe", {"threadId": thread_id})
        await onlooker.wait_for("thread/closed", threadId=thread_id)


async def test_a_client_that_was_lost_finds_its_ephemeral_thread_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, clock, onlooker, up):
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Again.")]
        async with connected(app) as client:
            thread_id = await start_thread(client, ephemeral=True)
            await run_turn(client, thread_id)
        await look(app)
        clock.passed_s = IDLE_S - 1
        await look(app)
        async with connected(app) as client:
            resumed = await client.request("thread/resume", {"threadId": thread_id})
            turn = await run_turn(client, thread_id)

        assert (len(resumed["thread"]["turns"]), turn["status"]) == (1, "completed")
        assert goodbyes(onlooker) == []


async def test_a_stored_thread_is_unloaded_after_half_an_hour_without_a_follower(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, clock, onlooker, up):
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Again.")]
        left, followed = await start_thread(onlooker), await start_thread(onlooker)
        await run_turn(onlooker, left)
        await onlooker.request("thread/unsubscribe", {"threadId": left})
        await look(app)
        clock.passed_s = IDLE_S - 1
        await look(app)
        still = await loaded(onlooker)
        clock.passed_s = IDLE_S
        await look(app)

        assert (still, await loaded(onlooker)) == ([left, followed], [followed])
        assert goodbyes(onlooker) == [("thread/status/changed", left), ("thread/closed", left)]
        await onlooker.request("thread/resume", {"threadId": left})
        assert (await run_turn(onlooker, left))["status"] == "completed"


async def test_work_in_a_thread_puts_its_unloading_off(tmp_path: Path) -> None:
    async with watched(tmp_path) as (app, clock, onlooker, up):
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Again.")]
        thread_id = await start_thread(onlooker)
        await run_turn(onlooker, thread_id)
        await onlooker.request("thread/unsubscribe", {"threadId": thread_id})
        await look(app)
        onlooker.skip()
        await start_turn(onlooker, thread_id)
        await onlooker.wait_for("thread/status/changed", status__type="idle")
        clock.passed_s = IDLE_S
        await look(app)
        assert await loaded(onlooker) == [thread_id]
        clock.passed_s = 2 * IDLE_S
        await look(app)
        assert await loaded(onlooker) == []
