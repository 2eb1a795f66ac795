"""Words that come while a turn runs: they join it, and nothing that was said is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    picture_home,
    refused,
    run_turn,
    start_thread,
    start_turn,
    text,
    users_words,
)
from tests.support.pictures import png
from tests.support.server import serving
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    Streamed,
    created,
    image_reply,
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


def half_said(words: str, gate: Gate) -> Reply:
    """An answer that stands still in the middle of its message."""
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    return Reply(events=[created("r1"), item_added(item), text_delta("m1", words), gate])


async def half_way(talk: Talk) -> tuple[str, str]:
    """A turn in the middle of its first message: thread and turn."""
    up, client = talk
    gate = Gate()
    up.queue.append(half_said("Half ", gate))
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id, "Tell me a story")
    await client.wait_for("item/agentMessage/delta")
    await gate.wait_reached()
    return thread_id, turn_id


async def test_a_steer_cuts_the_stream_and_its_words_are_answered_in_the_same_turn(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "A short one."))

    reply = await client.request(
        "turn/steer", {"threadId": thread_id, "expectedTurnId": turn_id, "input": text("Shorter")}
    )
    turn = await ended(client, turn_id)

    assert reply == {"turnId": turn_id}
    assert (turn["status"], [item["text"] for item in turn["items"]]) == ("completed", ["A short one."])
    assert users_words(up.posts()[1]) == ["Tell me a story", "Shorter"]
    assert up.posts()[0].hung_up.is_set()
    assert client.order().count("turn/completed") == 1


async def test_a_message_that_a_steer_cut_is_completed_as_dropped_commentary(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "A short one."))

    await client.request("turn/steer", {"threadId": thread_id, "expectedTurnId": turn_id, "input": text("Shorter")})
    dropped = (await client.wait_for("item/completed", item__id="m1"))["item"]
    await ended(client, turn_id)

    assert (dropped["text"], dropped["phase"], dropped["status"]) == ("Half ", "commentary", "dropped")
    assert "Half " not in orjson.dumps(up.posts()[1].body["input"]).decode()


async def test_turn_start_while_a_turn_runs_is_a_steer(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "A short one."))

    again = await start_turn(client, thread_id, "Shorter")
    await ended(client, turn_id)

    assert again == turn_id
    assert users_words(up.posts()[1]) == ["Tell me a story", "Shorter"]


async def test_a_message_that_was_whole_before_the_steer_stays(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    whole: list[Streamed] = [created("r1"), *message("m1", "Whole."), gate]
    up.queue += [Reply(events=whole), text_turn("r2", "More.")]
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id)
    await gate.wait_reached()
    await client.wait_for("item/completed", item__id="m1")

    await start_turn(client, thread_id, "Go on")
    await ended(client, turn_id)

    assistant = [item["content"][0]["text"] for item in up.posts()[1].body["input"] if item.get("role") == "assistant"]
    assert assistant == ["Whole."]


async def test_a_steer_while_a_tool_runs_waits_for_the_tool(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    up.images.append(replace(image_reply(png()), hold=gate))
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id, "Draw")
    await gate.wait_reached()

    await client.request("turn/steer", {"threadId": thread_id, "expectedTurnId": turn_id, "input": text("In red")})
    gate.release()
    turn = await ended(client, turn_id)

    picture = (await client.wait_for("item/completed", item__type="imageGeneration"))["item"]
    tail = [(item["type"], item.get("role")) for item in up.posts()[1].body["input"][-3:]]
    assert (picture["status"], turn["status"]) == ("completed", "completed")
    assert tail == [("function_call", None), ("function_call_output", None), ("message", "user")]


async def test_a_hosted_picture_that_a_steer_cut_is_closed_before_the_next_answer(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    item = {"type": "image_generation_call", "id": "ig_1", "status": "in_progress"}
    up.queue += [Reply(events=[created("r1"), item_added(item), gate]), text_turn("r2", "Stopped.")]
    thread_id = await start_thread(client)
    turn_id = await start_turn(client, thread_id, "Draw")
    await gate.wait_reached()
    await client.wait_for("item/started", item__id="ig_1")

    await start_turn(client, thread_id, "No, do not")
    await ended(client, turn_id)

    ends = [params["item"]["id"] for params in client.notifications("item/completed")]
    assert ends.index("ig_1") < ends.index("msg_r2")


async def test_the_user_messages_of_a_steered_turn_are_items(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "A short one."))

    await start_turn(client, thread_id, "Shorter", clientUserMessageId="second")
    await ended(client, turn_id)

    shown = [params["item"] for params in client.notifications("item/completed")]
    assert [item["clientId"] for item in shown if item["type"] == "userMessage"] == [None, "second"]


async def test_a_steer_of_another_turn_is_refused(talk: Talk) -> None:
    _, client = talk
    thread_id, turn_id = await half_way(talk)

    answer = await refused(
        client, "turn/steer", {"threadId": thread_id, "expectedTurnId": "other", "input": text("Hi")}
    )

    assert answer == (-32600, f"expected active turn id `other` but found `{turn_id}`")


async def test_a_steer_without_a_turn_is_refused(talk: Talk) -> None:
    _, client = talk
    thread_id = await start_thread(client)

    answer = await refused(client, "turn/steer", {"threadId": thread_id, "expectedTurnId": "x", "input": text("Hi")})

    assert answer == (-32600, "no active turn to steer")


async def test_an_empty_steer_is_refused_and_the_turn_goes_on(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)

    answer = await refused(client, "turn/steer", {"threadId": thread_id, "expectedTurnId": turn_id, "input": []})

    assert answer == (-32600, "input must not be empty")
    assert not up.posts()[0].hung_up.is_set()


async def test_words_right_behind_an_interrupt_begin_a_turn_of_their_own(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "Yes."))

    await client.post("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    second = await start_turn(client, thread_id, "Something else")
    turn = await ended(client, second)

    assert second != turn_id
    assert turn["status"] == "completed"
    assert users_words(up.posts()[1]) == ["Tell me a story", "Something else"]
    ends = [params["turn"]["id"] for params in client.notifications("turn/completed")]
    begins = [params["turn"]["id"] for params in client.notifications("turn/started")]
    assert ends == begins == [turn_id, second]


async def test_words_of_a_steer_survive_an_interrupt_that_follows_at_once(talk: Talk) -> None:
    up, client = talk
    thread_id, turn_id = await half_way(talk)
    up.queue.append(text_turn("r2", "Yes."))

    await client.post("turn/steer", {"threadId": thread_id, "expectedTurnId": turn_id, "input": text("Remember 7")})
    await client.post("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
    assert (await ended(client, turn_id))["status"] == "interrupted"
    await run_turn(client, thread_id, "Which number?")

    assert users_words(up.posts()[-1]) == ["Tell me a story", "Remember 7", "Which number?"]
