"""A client that comes in the middle of a turn: it has what is open, and all of the text, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app_server.bootstrap import App
from tests.interaction.conversation import Client, ended, imagegen, kinds, picture_home, start_thread, start_turn
from tests.support.client import Frame
from tests.support.pictures import png
from tests.support.server import connected, running
from tests.support.upstream import (
    Event,
    Gate,
    Reply,
    ScriptedUpstream,
    completed,
    created,
    image_reply,
    item_added,
    item_done,
    sse,
    text_delta,
    text_turn,
)

pytestmark = pytest.mark.anyio
MESSAGE: Event = {"type": "message", "id": "m1", "role": "assistant", "content": []}
WHOLE: Event = {**MESSAGE, "content": [{"type": "output_text", "text": "One two three.", "annotations": []}]}
THOUGHT: Event = {"type": "reasoning", "id": "rs1", "summary": []}
PARTS = [{"type": "summary_text", "text": text} for text in ("First.", "Second.")]


def spoken(*halts: Gate) -> Reply:
    """A message of three pieces; the upstream halts behind the first two."""
    one, two = halts
    pieces = [text_delta("m1", "One "), one, text_delta("m1", "two "), two, text_delta("m1", "three.")]
    return Reply(events=[created("r1"), item_added(MESSAGE), *pieces, item_done(WHOLE), completed("r1")])


def thought(gate: Gate) -> Reply:
    """Reasoning of two parts; the upstream halts inside of the second."""
    summary = "response.reasoning_summary"

    def part(index: int, *texts: str | Gate) -> list[Any]:
        place = {"item_id": "rs1", "output_index": 0, "summary_index": index}
        begun = {"type": f"{summary}_part.added", **place, "part": {"type": "summary_text", "text": ""}}
        told = [
            text if isinstance(text, Gate) else {"type": f"{summary}_text.delta", **place, "delta": text}
            for text in texts
        ]
        return [begun, *told]

    events = [item_added(THOUGHT), *part(0, "First."), *part(1, "Sec", gate, "ond.")]
    return Reply(events=[created("r1"), *events, item_done({**THOUGHT, "summary": PARTS}), completed("r1")])


@asynccontextmanager
async def speaking(folder: Path, reply: Reply, gate: Gate) -> AsyncIterator[tuple[App, Client, str, str]]:
    """A turn that waits at the gate, and the client that began it; with the ids of thread and turn."""
    async with ScriptedUpstream() as up, running(picture_home(folder, up)) as app, connected(app) as first:
        up.queue += [reply, text_turn("r9", "Done.")]
        up.images.append(image_reply(png()))
        thread_id = await start_thread(first)
        turn_id = await start_turn(first, thread_id)
        await gate.wait_reached()
        yield app, first, thread_id, turn_id


async def resume(client: Client, thread_id: str, **params: Any) -> Frame:
    reply: Frame = await client.request("thread/resume", {"threadId": thread_id, **params})
    return reply


def heard(client: Client, since: int = 0) -> list[tuple[str, Any]]:
    """Beginnings, pieces and ends of items, in order: the method and what it is about."""
    told: list[tuple[str, Any]] = []
    for frame in client.incoming[since:]:
        method, params = frame.get("method", ""), frame.get("params") or {}
        if "item" in params:
            told.append((method.removeprefix("item/"), params["item"].get("text", params["item"]["type"])))
        elif "itemId" in params:
            told.append((method.removeprefix("item/"), params.get("delta", params.get("summaryIndex"))))
    return told


async def test_who_comes_in_mid_message_gets_its_beginning_and_all_of_its_text_once(tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with (
        speaking(tmp_path, spoken(one, two), one) as (app, _, thread_id, turn_id),
        connected(app) as early,
        connected(app) as late,
    ):
        first_reply = await resume(early, thread_id)
        one.release()
        await two.wait_reached()
        await early.wait_for("item/agentMessage/delta", delta="two ")
        second_reply = await resume(late, thread_id, excludeTurns=True)
        two.release()
        await ended(early, turn_id)
        await ended(late, turn_id)

        end = [("agentMessage/delta", "three."), ("completed", "One two three.")]
        assert heard(early) == [
            ("started", ""),
            ("agentMessage/delta", "One "),
            ("agentMessage/delta", "two "),
            *end,
        ]
        assert heard(late) == [("started", ""), ("agentMessage/delta", "One two "), *end]
        (turn,) = first_reply["thread"]["turns"]
        assert (turn["status"], kinds(turn["items"])) == ("inProgress", ["userMessage"])
        assert second_reply["thread"]["turns"] == []


async def test_a_read_and_the_lists_hold_what_is_finished(tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with speaking(tmp_path, spoken(one, two), one) as (_, first, thread_id, turn_id):
        read = await first.request("thread/read", {"threadId": thread_id, "includeTurns": True})
        items = await first.request("thread/items/list", {"threadId": thread_id})
        turns = await first.request("thread/turns/list", {"threadId": thread_id})
        one.release()
        two.release()
        await ended(first, turn_id)
        after = await first.request("thread/items/list", {"threadId": thread_id})

    assert kinds(read["thread"]["turns"][0]["items"]) == ["userMessage"]
    assert kinds([entry["item"] for entry in items["data"]]) == ["userMessage"]
    assert kinds(turns["data"][0]["items"]) == ["userMessage"]
    assert kinds([entry["item"] for entry in after["data"]]) == ["userMessage", "agentMessage"]


async def test_the_parts_of_a_thought_come_in_their_order(tmp_path: Path) -> None:
    gate = Gate()
    async with (
        speaking(tmp_path, thought(gate), gate) as (app, _, thread_id, turn_id),
        connected(app) as late,
    ):
        await resume(late, thread_id, excludeTurns=True)
        gate.release()
        await ended(late, turn_id)

        assert heard(late) == [
            ("started", "reasoning"),
            ("reasoning/summaryPartAdded", 0),
            ("reasoning/summaryTextDelta", "First."),
            ("reasoning/summaryPartAdded", 1),
            ("reasoning/summaryTextDelta", "Sec"),
            ("reasoning/summaryTextDelta", "ond."),
            ("completed", "reasoning"),
        ]


@pytest.mark.parametrize(
    ("exclude_turns", "in_reply", "told"),
    [(False, ["userMessage", "imageGeneration"], []), (True, [], [("started", "imageGeneration")])],
)
async def test_an_open_picture_is_in_the_reply_or_behind_it(
    tmp_path: Path, exclude_turns: bool, in_reply: list[str], told: list[tuple[str, Any]]
) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, running(picture_home(tmp_path, up)) as app, connected(app) as first:
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Here.")]
        up.images.append(Reply(body=image_reply(png()).body, hold=gate))
        thread_id = await start_thread(first)
        turn_id = await start_turn(first, thread_id)
        await gate.wait_reached()
        async with connected(app) as late:
            reply = await resume(late, thread_id, excludeTurns=exclude_turns)
            gate.release()
            await ended(late, turn_id)
            behind = heard(late)

    assert kinds([item for turn in reply["thread"]["turns"] for item in turn["items"]]) == in_reply
    assert behind[: len(told) + 1] == [*told, ("completed", "imageGeneration")]


async def test_who_follows_already_hears_nothing_twice_when_it_resumes(tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with speaking(tmp_path, spoken(one, two), one) as (_, first, thread_id, turn_id):
        await first.wait_for("item/agentMessage/delta", delta="One ")
        before = len(first.incoming)
        await resume(first, thread_id)
        one.release()
        two.release()
        await ended(first, turn_id)

        pieces = [("agentMessage/delta", "two "), ("agentMessage/delta", "three.")]
        assert heard(first, before) == [*pieces, ("completed", "One two three.")]


async def test_who_was_lost_in_mid_message_begins_it_anew_and_has_all_of_its_text(tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with speaking(tmp_path, spoken(one, two), one) as (app, first, thread_id, turn_id):
        begun = await first.wait_for("item/started", item__type="agentMessage")
        one.release()
        await two.wait_reached()
        await first.wait_for("item/agentMessage/delta", delta="two ")
        async with connected(app) as knows_it, connected(app) as missed_it:
            await resume(knows_it, thread_id, excludeTurns=True, sinceSeq=begun["seq"])
            await resume(missed_it, thread_id, excludeTurns=True, sinceSeq=begun["seq"] - 1)
            two.release()
            await ended(knows_it, turn_id)
            await ended(missed_it, turn_id)

            text = [
                ("agentMessage/delta", "One two "),
                ("agentMessage/delta", "three."),
                ("completed", "One two three."),
            ]
            assert heard(knows_it) == heard(missed_it) == [("started", ""), *text]
            starts = [
                [frame["params"].get("seq") for frame in client.incoming if frame.get("method") == "item/started"]
                for client in (knows_it, missed_it)
            ]
            assert starts == [[None], [begun["seq"]]]
