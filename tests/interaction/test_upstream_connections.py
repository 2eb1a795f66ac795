"""Connections to the provider: one is used for all turns of a quiet server; the end of an answer holds up no turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interaction.conversation import Client, ended, imagegen, picture_home, run_turn, start_thread, start_turn
from tests.support.server import serving
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    completed,
    created,
    item_added,
    message,
    sse,
    text_delta,
    text_turn,
)

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        yield up, client


async def test_five_turns_take_one_connection(talk: Talk) -> None:
    up, client = talk
    thread_id = await start_thread(client)
    for number in range(5):
        up.queue.append(text_turn(f"r{number}", "Hello."))
        await run_turn(client, thread_id)
    assert (len(up.posts()), up.connections) == (5, 1)


async def test_turns_with_pictures_take_no_more_connections_than_the_first_of_them(talk: Talk) -> None:
    up, client = talk
    thread_id = await start_thread(client)
    connections = []
    for number in range(3):
        up.queue += [sse(f"r{number}", imagegen(f"call_{number}", prompt="a fox")), text_turn(f"s{number}", "There.")]
        await run_turn(client, thread_id)
        connections.append(up.connections)
    assert connections == [connections[0]] * 3


async def test_an_answer_that_stays_open_behind_its_last_event_holds_up_no_turn(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    up.queue += [Reply(events=[created("r1"), *message("m1", "Hi."), completed("r1"), gate]), text_turn("r2", "Hi.")]
    thread_id = await start_thread(client)
    turns = [await run_turn(client, thread_id), await run_turn(client, thread_id)]
    assert ([turn["status"] for turn in turns], up.connections) == (["completed", "completed"], 2)


async def test_after_an_interrupt_the_next_turns_share_a_fresh_connection(talk: Talk) -> None:
    up, client = talk
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    up.queue.append(Reply(events=[created("r1"), item_added(item), text_delta("m1", "Once "), Gate()]))
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id)
    await client.wait_for("item/agentMessage/delta")
    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    statuses = [(await ended(client, turn_id))["status"]]
    for number in range(2):
        up.queue.append(text_turn(f"s{number}", "Hello."))
        statuses.append((await run_turn(client, thread_id))["status"])
    assert (statuses, up.connections) == (["interrupted", "completed", "completed"], 2)
