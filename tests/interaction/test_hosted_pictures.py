"""Pictures of the provider's own tool: checked, saved and shown like ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import Client, imagegen, picture_home, run_turn, start_thread, tool_names
from tests.support.client import Frame
from tests.support.pictures import BLUE, as_base64, data_url, png, webp
from tests.support.server import serving
from tests.support.upstream import (
    ScriptedUpstream,
    image_call,
    item_added,
    item_done,
    message,
    sse,
    text_turn,
)

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, enable=())) as (_, client):
        yield up, client


def finished(client: Client) -> Frame:
    """The one picture."""
    items: list[Frame] = [params["item"] for params in client.notifications("item/completed")]
    (item,) = [item for item in items if item["type"] == "imageGeneration"]
    return item


async def test_the_hosted_tool_is_offered_while_the_standalone_one_is_off(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "Hello."))

    await run_turn(client, await start_thread(client))

    assert up.posts()[0].body["tools"] == [{"type": "image_generation", "output_format": "png"}]


@pytest.mark.parametrize("status", ["completed", "generating", "in_progress"])
async def test_a_hosted_picture_counts_by_its_bytes_whatever_its_status(talk: Talk, status: str) -> None:
    up, client = talk
    up.queue.append(sse("r1", image_call("ig_1", png(colour=BLUE), "a whale", status), message("m1", "There.")))
    thread_id = await start_thread(client)

    turn = await run_turn(client, thread_id)

    item = finished(client)
    assert (turn["status"], item["status"], item["revisedPrompt"]) == ("completed", "completed", "a whale")
    assert item["result"] == as_base64(png(colour=BLUE))
    assert Path(item["savedPath"]).parts[-3:] == ("generated_images", thread_id, "ig_1.png")
    assert Path(item["savedPath"]).read_bytes() == png(colour=BLUE)


async def test_a_hosted_picture_is_sent_back_in_the_next_turn(talk: Talk) -> None:
    up, client = talk
    up.queue += [
        sse("r1", image_call("ig_1", png(), status="generating"), message("m1", "There.")),
        text_turn("r2", "Y"),
    ]
    thread_id = await start_thread(client)

    await run_turn(client, thread_id)
    await run_turn(client, thread_id)

    (call,) = [item for item in up.posts()[1].body["input"] if item["type"] == "image_generation_call"]
    assert (call["id"], call["status"], call["result"]) == ("ig_1", "completed", as_base64(png()))


@pytest.mark.parametrize("result", ["", "!!!", as_base64(b"no picture"), as_base64(png()[:30]), None, 5])
async def test_a_hosted_picture_without_usable_bytes_fails_its_item_and_the_turn_goes_on(
    talk: Talk, result: Any
) -> None:
    up, client = talk
    call = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}
    up.queue += [sse("r1", item_added(call), item_done(call), message("m1", "Hm.")), text_turn("r2", "Yes.")]
    thread_id = await start_thread(client)

    turn = await run_turn(client, thread_id)
    again = await run_turn(client, thread_id)

    item = finished(client)
    assert (turn["status"], again["status"], item["status"], item["result"]) == ("completed", "completed", "failed", "")
    assert item["error"]["type"] == "invalidResponse"
    assert "image_generation_call" not in [part["type"] for part in up.posts()[1].body["input"]]


async def test_a_hosted_picture_that_was_never_announced_is_started_first(talk: Talk) -> None:
    up, client = talk
    up.queue.append(sse("r1", image_call("ig_1", webp())[1], message("m1", "There.")))

    await run_turn(client, await start_thread(client))

    started = (await client.wait_for("item/started", item__id="ig_1"))["item"]
    assert (started["status"], started["result"]) == ("in_progress", "")
    assert Path(finished(client)["savedPath"]).suffix == ".webp"


async def test_a_hosted_picture_can_be_edited_by_the_standalone_tool_later(talk: Talk) -> None:
    up, client = talk
    up.queue += [
        sse("r1", image_call("ig_1", png(colour=BLUE)), message("m1", "There.")),
        sse("r2", imagegen("call_1", prompt="night", num_last_images_to_include=1)),
        text_turn("r3", "Done."),
    ]
    thread_id = await start_thread(client)
    await run_turn(client, thread_id)
    await client.request("experimentalFeature/enablement/set", {"enablement": {"imagegenext": True}})

    await run_turn(client, thread_id)

    assert tool_names(up.posts()[1]) == ["image_gen"]
    assert up.posts("/images/edits")[0].body["images"] == [{"image_url": data_url(png(colour=BLUE))}]
