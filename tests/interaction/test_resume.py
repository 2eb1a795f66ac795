"""Another process on the same home: history and pictures come back, a crash is closed, one process writes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    Client,
    imagegen,
    kinds,
    outputs,
    picture_home,
    refused,
    run_turn,
    said,
    start_thread,
    start_turn,
    users_words,
)
from tests.support.client import RpcClient, stdio_client
from tests.support.pictures import BLUE, data_url, png
from tests.support.server import Home, make_home, serving
from tests.support.streams import ChildStream
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
SERVER = (sys.executable, "-m", "app_server", "--enable", "imagegenext")


def child_env(home: Home) -> Mapping[str, str]:
    return {"APP_SERVER_HOME": str(home.home), "HOME": str(home.home), **home.env}


async def kill(client: RpcClient[ChildStream]) -> None:
    client.stream.process.send_signal(signal.SIGKILL)
    await client.stream.process.wait()


async def picture_thread(client: Client, up: ScriptedUpstream) -> str:
    up.images.append(image_reply(png(colour=BLUE)))
    up.queue += [sse("r1", imagegen("call_1", prompt="a whale")), text_turn("r2", "Here it is.")]
    thread_id = await start_thread(client)
    await run_turn(client, thread_id, "Draw a whale")
    return thread_id


async def test_a_new_process_brings_back_the_whole_history(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            thread_id = await picture_thread(client, up)
            before = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
        async with serving(home) as (_, client):
            resumed = await client.request("thread/resume", {"threadId": thread_id})

    assert resumed["thread"]["turns"] == before["thread"]["turns"]
    (turn,) = resumed["thread"]["turns"]
    assert kinds(turn["items"]) == ["userMessage", "imageGeneration", "agentMessage"]
    assert (turn["status"], turn["itemsView"]) == ("completed", "full")
    picture = turn["items"][1]
    assert Path(picture["savedPath"]).read_bytes() == png(colour=BLUE)
    assert (picture["status"], picture["prompt"], picture["width"]) == ("completed", "a whale", 8)


async def test_the_next_turn_of_a_resumed_thread_sends_the_same_prefix_with_the_picture(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            thread_id = await picture_thread(client, up)
        up.queue.append(text_turn("r3", "Yes."))
        async with serving(home) as (_, client):
            await client.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
            await run_turn(client, thread_id, "Nice?")

    earlier, later = up.posts()[1].body["input"], up.posts()[2].body["input"]
    assert later[: len(earlier)] == earlier
    assert outputs(up.posts()[2])[0]["output"][0]["image_url"] == data_url(png(colour=BLUE))
    assert up.posts()[2].body["prompt_cache_key"] == thread_id


async def test_an_edit_in_a_new_process_sends_the_bytes_of_the_earlier_picture(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            thread_id = await picture_thread(client, up)
        edit = imagegen("call_2", prompt="at night", num_last_images_to_include=1)
        up.queue += [sse("r3", edit), text_turn("r4", "Night it is.")]
        async with serving(home) as (_, client):
            await client.request("thread/resume", {"threadId": thread_id})
            await run_turn(client, thread_id, "Make it night")

    (request,) = up.posts("/images/edits")
    assert request.body["images"] == [{"image_url": data_url(png(colour=BLUE))}]


async def test_a_resume_tells_notice_status_reply_and_usage_in_this_order(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            turn = await run_turn(client, thread_id)
        async with serving(home) as (_, client):
            await client.request("thread/resume", {"threadId": thread_id})
            usage = await client.wait_for("thread/tokenUsage/updated")

        tail = [frame.get("method", "reply") for frame in client.incoming][-4:]
        assert tail == ["deprecationNotice", "thread/status/changed", "reply", "thread/tokenUsage/updated"]
        assert (usage["turnId"], usage["tokenUsage"]["total"]["totalTokens"]) == (turn["id"], 135)


async def test_a_resume_without_turns_tells_no_notice_and_no_usage(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
        async with serving(home) as (_, client):
            reply = await client.request(
                "thread/resume", {"threadId": thread_id, "excludeTurns": True, "initialTurnsPage": {"limit": 1}}
            )
            await client.request("thread/loaded/list", {})  # what follows the first reply comes before the second one

        assert reply["thread"]["turns"] == []
        assert len(reply["initialTurnsPage"]["data"]) == 1
        assert client.order() == ["thread/status/changed"]


async def test_the_model_of_the_last_turn_comes_back(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id, model="gpt-6-luna", effort="low")
        async with serving(home) as (_, client):
            reply = await client.request("thread/resume", {"threadId": thread_id})

        assert (reply["model"], reply["reasoningEffort"]) == ("gpt-6-luna", "low")


async def test_an_orderly_end_in_mid_turn_leaves_an_interrupted_turn(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [replace(text_turn("r1", "Never."), hold=gate), text_turn("r2", "Fresh.")]
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await start_turn(client, thread_id, "first")
            await gate.wait_reached()
        async with serving(home) as (_, client):
            resumed = await client.request("thread/resume", {"threadId": thread_id})
            turn = await run_turn(client, thread_id, "second")

    assert [each["status"] for each in resumed["thread"]["turns"]] == ["interrupted"]
    assert turn["status"] == "completed"
    assert users_words(up.posts()[1]) == ["first", "second"]


async def test_a_picture_that_a_killed_process_left_open_is_closed_and_never_repeated(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        up.images.append(replace(image_reply(png()), hold=gate))
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "I will not repeat it.")]
        async with stdio_client(SERVER, env=child_env(home), cwd=home.cwd) as child:
            await child.initialize()
            thread_id = await start_thread(child)
            turn_id = await start_turn(child, thread_id, "Draw")
            await gate.wait_reached()
            await kill(child)
        async with serving(home) as (_, client):
            resumed = await client.request("thread/resume", {"threadId": thread_id})
            await run_turn(client, thread_id, "Well?")

    (turn,) = resumed["thread"]["turns"]
    picture = turn["items"][-1]
    assert (turn["id"], turn["status"], resumed["thread"]["status"]) == (turn_id, "interrupted", {"type": "idle"})
    assert (picture["status"], picture["error"]["type"]) == ("failed", "unknownOutcome")
    assert len(up.posts("/images/generations")) == 1
    assert [output["call_id"] for output in outputs(up.posts()[1])] == ["call_1"]
    told = [text for text in said(up.posts()[1]) if not text.startswith("<environment_context")]
    assert told[-2].startswith("<turn_aborted>")


async def test_a_message_that_a_killed_process_left_open_is_closed_as_dropped(tmp_path: Path) -> None:
    gate = Gate()
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(Reply(events=[created("r1"), item_added(item), text_delta("m1", "Half"), gate]))
        async with stdio_client(SERVER, env=child_env(home), cwd=home.cwd) as child:
            await child.initialize()
            thread_id = await start_thread(child)
            await start_turn(child, thread_id, "Hi")
            await child.wait_for("item/agentMessage/delta")
            await kill(child)
        async with serving(home) as (_, client):
            first = await client.request("thread/resume", {"threadId": thread_id})
        async with serving(home) as (_, client):
            again = await client.request("thread/resume", {"threadId": thread_id})

    (turn,) = first["thread"]["turns"]
    assert (turn["status"], turn["items"][-1]["status"]) == ("interrupted", "dropped")
    assert turn["items"][-1]["completedAtMs"] is not None
    assert again["thread"]["turns"] == first["thread"]["turns"]


async def test_a_thread_has_one_writing_process(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Mine now.")]
        async with serving(home) as (_, client):
            async with stdio_client(SERVER, env=child_env(home), cwd=home.cwd) as child:
                await child.initialize()
                thread_id = await start_thread(child)
                await run_turn(child, thread_id)
                calls: list[tuple[str, dict[str, Any]]] = [
                    ("thread/resume", {}),
                    ("thread/archive", {}),
                    ("thread/delete", {}),
                    ("thread/name/set", {"name": "x"}),
                ]
                answers = [await refused(client, name, {"threadId": thread_id, **rest}) for name, rest in calls]
                read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
            await client.request("thread/resume", {"threadId": thread_id})
            turn = await run_turn(client, thread_id)

    text = f"thread {thread_id} already has an active writer; use it there, or end that process first"
    assert answers == [(-32600, text)] * 4
    assert (read["thread"]["status"], len(read["thread"]["turns"])) == ({"type": "notLoaded"}, 1)
    assert turn["status"] == "completed"


async def test_a_stored_thread_has_to_be_resumed_before_a_turn(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
        async with serving(home) as (_, client):
            code, message = await refused(
                client, "turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "Hi"}]}
            )

    hint = "it is stored, resume it with thread/resume first"
    assert (code, message) == (-32600, f"thread not found: {thread_id}; {hint}")


async def test_a_turn_of_a_child_is_interrupted_when_its_input_ends(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(replace(text_turn("r1", "Never."), hold=gate))
        async with stdio_client(SERVER, env=child_env(home), cwd=home.cwd) as child:
            await child.initialize()
            thread_id = await start_thread(child)
            await start_turn(child, thread_id)
            await gate.wait_reached()
            await child.stream.close_input()
            await child.closed.wait()
        async with serving(home) as (_, client):
            page = await client.request("thread/turns/list", {"threadId": thread_id})

    assert child.stream.returncode == 0
    assert [each["status"] for each in page["data"]] == ["interrupted"]
