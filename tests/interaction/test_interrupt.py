"""Interrupting a turn: at once, with every item closed and the next turn told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    outputs,
    picture_home,
    refused,
    run_turn,
    said,
    start_thread,
    start_turn,
    text,
)
from tests.support.pictures import png
from tests.support.server import serving
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    created,
    image_reply,
    item_added,
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


async def mid_text(talk: Talk) -> tuple[str, str]:
    """A turn whose message has begun: thread and turn."""
    up, client = talk
    gate = Gate()
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    up.queue.append(Reply(events=[created("r1"), item_added(item), text_delta("m1", "Once "), gate]))
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id, "A story")
    await client.wait_for("item/agentMessage/delta")
    return thread_id, turn_id


async def mid_picture(talk: Talk) -> tuple[str, str]:
    """A turn whose picture is being made: thread and turn."""
    up, client = talk
    gate = Gate()
    up.images.append(replace(image_reply(png()), hold=gate))
    up.queue.append(sse("r1", imagegen("call_1", prompt="a fox")))
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id, "Draw")
    await gate.wait_reached()
    return thread_id, turn_id


async def test_an_interrupt_in_mid_text_ends_the_turn_and_hangs_up(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_text(talk)

    assert await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id}) == {}
    turn = await ended(client, turn_id)

    assert (turn["status"], turn["items"], turn["itemsView"]) == ("interrupted", [], "notLoaded")
    assert client.order()[-3:] == ["item/completed", "thread/status/changed", "turn/completed"]
    assert client.notifications("thread/status/changed")[-1]["status"] == {"type": "idle"}
    assert "error" not in client.order()
    assert up.posts()[0].hung_up.is_set()


async def test_an_interrupted_message_is_completed_with_the_text_shown_so_far(talk: Talk) -> None:
    _, client = talk
    thread_id, turn_id = await mid_text(talk)

    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})

    item = (await client.wait_for("item/completed", item__id="m1"))["item"]
    assert (item["text"], item["phase"], item["status"]) == ("Once ", "commentary", "dropped")


async def test_the_turn_after_an_interrupt_is_told_of_it(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_text(talk)
    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    await ended(client, turn_id)
    up.queue.append(text_turn("r2", "Fresh."))

    turn = await run_turn(client, thread_id, "Again")

    _, first, note, again = said(up.posts()[1])
    assert (turn["status"], first, again) == ("completed", "A story", "Again")
    assert note.startswith("<turn_aborted>")


async def test_an_interrupt_while_a_picture_is_made_cancels_the_item(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_picture(talk)

    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    turn = await ended(client, turn_id)

    item = (await client.wait_for("item/completed", item__id="call_1"))["item"]
    assert (turn["status"], item["status"], item["result"]) == ("interrupted", "cancelled", "")
    assert item["error"]["type"] == "cancelled"
    assert up.posts("/images/generations")[0].hung_up.is_set()


async def test_a_call_that_was_interrupted_is_answered_in_the_history(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_picture(talk)
    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    await ended(client, turn_id)
    up.queue.append(text_turn("r2", "Fresh."))

    await run_turn(client, thread_id, "Again")

    (output,) = outputs(up.posts()[1])
    assert output["call_id"] == "call_1"
    assert output["output"].startswith("aborted by user after ")
    assert [words.split(">")[0] for words in said(up.posts()[1])][-2:] == ["<turn_aborted", "Again"]


async def test_an_interrupt_before_the_provider_answered_ends_the_turn(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    up.queue.append(replace(text_turn("r1", "Never."), hold=gate))
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id)
    await gate.wait_reached()

    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})

    assert (await ended(client, turn_id))["status"] == "interrupted"


async def test_an_archive_while_a_turn_runs_interrupts_it_first(talk: Talk) -> None:
    _, client = talk
    thread_id, turn_id = await mid_text(talk)

    assert await client.request("thread/archive", {"threadId": thread_id}) == {}

    assert (await ended(client, turn_id))["status"] == "interrupted"
    assert (await client.wait_for("thread/archived"))["threadId"] == thread_id


async def test_an_unarchive_of_a_thread_in_use_is_refused_and_its_turn_goes_on(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_text(talk)

    code, message = await refused(client, "thread/unarchive", {"threadId": thread_id})

    assert (code, message) == (-32600, f"thread {thread_id} is not archived")
    assert not up.posts()[0].hung_up.is_set()
    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})


async def test_an_interrupt_without_a_turn_is_refused(talk: Talk) -> None:
    _, client = talk
    thread_id = await start_thread(client)

    answer = await refused(client, "turn/interrupt", {"threadId": thread_id, "turnId": "x"})

    assert answer == (-32600, "no active turn to interrupt")


async def test_an_interrupt_of_another_turn_is_refused_and_the_turn_goes_on(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await mid_text(talk)

    answer = await refused(client, "turn/interrupt", {"threadId": thread_id, "turnId": "other"})

    assert answer == (-32600, f"expected active turn id `other` but found `{turn_id}`")
    assert not up.posts()[0].hung_up.is_set()


async def test_two_interrupts_of_one_turn_end_it_once(talk: Talk) -> None:
    _, client = talk
    thread_id, turn_id = await mid_text(talk)

    first = await client.post("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    await client.post("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    await client.result(first)
    await ended(client, turn_id)

    assert client.order().count("turn/completed") == 1


async def test_an_interrupt_in_the_moment_of_the_start_still_shows_the_whole_turn(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r2", "Fresh."))
    thread_id = await start_thread(client)
    await client.post("turn/start", {"threadId": thread_id, "input": text("First words")})
    await client.post("thread/archive", {"threadId": thread_id})
    turn = (await client.wait_for("turn/completed"))["turn"]
    await client.wait_for("thread/archived")
    await client.request("thread/unarchive", {"threadId": thread_id})
    await client.request("thread/resume", {"threadId": thread_id})

    page = await client.request("thread/turns/list", {"threadId": thread_id})

    assert turn["status"] == "interrupted"
    assert [(each["id"], each["status"]) for each in page["data"]] == [(turn["id"], "interrupted")]
    assert page["data"][0]["items"][0]["content"][0]["text"] == "First words"
