"""Calls of the standalone image tool inside a turn: order, parallel calls, failures, what the model gets back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    outputs,
    picture_home,
    run_turn,
    start_thread,
    start_turn,
    tool_names,
)
from tests.support.pictures import BLUE, GREEN, RED, as_base64, data_url, jpeg, png
from tests.support.server import make_home, serving
from tests.support.upstream import Gate, Reply, ScriptedUpstream, function_call, image_reply, message, sse, text_turn

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        yield up, client


def picture_items(client: Client) -> list[dict[str, Any]]:
    """The finished pictures, in the order in which they were finished."""
    items = [params["item"] for params in client.notifications("item/completed")]
    return [item for item in items if item["type"] == "imageGeneration"]


async def draw(talk: Talk, **arguments: Any) -> str:
    """One turn with one call, then a last word; the thread's id."""
    up, client = talk
    up.queue += [sse("r1", imagegen("call_1", **arguments)), text_turn("r2", "Done.")]
    thread_id = await start_thread(client)
    await run_turn(client, thread_id, "Draw")
    return thread_id


async def test_the_notifications_of_a_picture_turn_come_in_the_order_of_the_protocol(talk: Talk) -> None:
    await draw(talk, prompt="a fox")

    assert talk[1].order() == [
        "account/updated",
        "thread/started",
        "thread/status/changed",
        "turn/started",
        "item/started",
        "item/completed",
        "item/started",
        "item/completed",
        "thread/tokenUsage/updated",
        "account/rateLimits/updated",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "thread/tokenUsage/updated",
        "account/rateLimits/updated",
        "thread/readState/changed",
        "thread/status/changed",
        "turn/completed",
    ]


async def test_the_picture_reaches_the_client_as_item_with_bytes_and_path(talk: Talk) -> None:
    up, client = talk
    up.images.append(image_reply(png(colour=BLUE)))

    await draw(talk, prompt="a fox")

    started = (await client.wait_for("item/started", item__type="imageGeneration"))["item"]
    (item,) = picture_items(client)
    assert (started["status"], started["result"], item["status"]) == ("in_progress", "", "completed")
    assert item["result"] == as_base64(png(colour=BLUE))
    assert Path(item["savedPath"]).read_bytes() == png(colour=BLUE)
    assert (item["transparentBackground"], item["generationId"], item["failure"]) == (False, "generation-1", None)


async def test_the_images_request_carries_login_client_and_turn(talk: Talk) -> None:
    up, client = talk
    await draw(talk, prompt="a fox")

    (request,) = up.posts("/images/generations")
    turn_id = client.notifications("turn/completed")[0]["turn"]["id"]
    names = ("chatgpt-account-id", "originator", "x-codex-image-turn-id")
    assert [request.headers[name] for name in names] == ["account-1", "tests", turn_id]
    assert request.headers["authorization"].startswith("Bearer ")
    assert (request.body["prompt"], request.body["model"], request.body["background"]) == (
        "a fox",
        "gpt-image-2",
        "auto",
    )


async def test_the_service_name_of_a_thread_is_its_originator(talk: Talk) -> None:
    up, client = talk
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]

    await run_turn(client, await start_thread(client, serviceName="my-editor"))

    assert {request.headers["originator"] for request in up.requests} == {"my-editor"}


async def test_outputs_stand_in_the_order_of_the_calls_however_the_tools_end(talk: Talk) -> None:
    up, client = talk
    slow = Gate()
    up.images += [replace(image_reply(png(colour=RED)), hold=slow), image_reply(png(colour=BLUE))]
    first, second = imagegen("call_1", prompt="red"), function_call("call_2", "no_such_tool", {})
    up.queue += [sse("r1", first, second), text_turn("r2", "Both.")]
    thread_id = await start_thread(client)

    turn_id = await start_turn(client, thread_id)
    await slow.wait_reached()
    slow.release()
    await ended(client, turn_id)

    kinds = [item["type"] for item in up.posts()[1].body["input"][-4:]]
    assert kinds == ["function_call", "function_call", "function_call_output", "function_call_output"]
    assert [output["call_id"] for output in outputs(up.posts()[1])] == ["call_1", "call_2"]


async def test_two_pictures_of_one_response_are_made_side_by_side(talk: Talk) -> None:
    up, client = talk
    one, two = Gate(), Gate()
    up.images += [replace(image_reply(png(colour=RED)), hold=one), replace(image_reply(png(colour=GREEN)), hold=two)]
    up.queue += [
        sse("r1", imagegen("call_1", prompt="one"), imagegen("call_2", prompt="two")),
        text_turn("r2", "Both."),
    ]
    thread_id = await start_thread(client)

    turn_id = await start_turn(client, thread_id)
    await one.wait_reached()
    await two.wait_reached()
    one.release()
    two.release()
    await ended(client, turn_id)

    assert {item["id"]: item["status"] for item in picture_items(client)} == {
        "call_1": "completed",
        "call_2": "completed",
    }
    assert [output["call_id"] for output in outputs(up.posts()[1])] == ["call_1", "call_2"]


async def test_a_tool_starts_before_its_response_is_complete(talk: Talk) -> None:
    up, client = talk
    open_end = Gate()
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox"), open_end), text_turn("r2", "Done.")]
    thread_id = await start_thread(client)

    turn_id = await start_turn(client, thread_id)
    picture = await client.wait_for("item/completed", item__type="imageGeneration")
    still_open = not open_end.open.is_set()
    open_end.release()
    turn = await ended(client, turn_id)

    assert (picture["item"]["status"], still_open, turn["status"]) == ("completed", True, "completed")


async def test_usage_is_told_after_the_tools_of_a_response(talk: Talk) -> None:
    await draw(talk, prompt="a fox")

    order = talk[1].order()
    assert order.index("thread/tokenUsage/updated") > order.index("item/completed", order.index("item/completed") + 1)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "size": "big"}, "size"),
        ({"prompt": "x", "num_last_images_to_include": 6}, "num_last_images_to_include"),
        ({"prompt": "x", "num_last_images_to_include": 1}, "no picture"),
        ({"prompt": "x", "action": "edit"}, "no picture"),
        ({"prompt": "x", "referenced_image_paths": ["/no/such.png"]}, "/no/such.png"),
    ],
)
async def test_wrong_arguments_are_told_to_the_model_without_item_or_request(
    talk: Talk, arguments: dict[str, Any], fragment: str
) -> None:
    up, client = talk

    await draw(talk, **arguments)

    (output,) = outputs(up.posts()[1])
    assert fragment in output["output"]
    assert picture_items(client) == []
    assert up.posts("/images/generations") + up.posts("/images/edits") == []


async def test_broken_arguments_are_told_to_the_model(talk: Talk) -> None:
    up, client = talk
    up.queue += [sse("r1", function_call("call_1", "imagegen", '{"prompt', "image_gen")), text_turn("r2", "Oh.")]

    turn = await run_turn(client, await start_thread(client))

    assert turn["status"] == "completed"
    assert "JSON" in outputs(up.posts()[1])[0]["output"]


@pytest.mark.parametrize(
    ("reply", "fragment"),
    [
        (Reply(status=400, body={"error": {"message": "Not that prompt", "code": "moderation_blocked"}}), "Not that"),
        (Reply(status=500, body={"error": {"message": "image backend failed"}}), "image backend failed"),
        (Reply(body={"created": 1, "data": []}), "image generation failed: "),
        (Reply(body={"created": 1, "data": [{"b64_json": "!!!"}]}), "image generation failed: "),
        (Reply(body={"created": 1, "data": [{"b64_json": as_base64(b"no picture")}]}), "image generation failed: "),
        (Reply(body="<html>"), "image generation failed: "),
        (Reply(cut=True), "image generation failed: "),
    ],
)
async def test_a_failed_picture_fails_its_item_and_the_turn_goes_on(talk: Talk, reply: Reply, fragment: str) -> None:
    up, client = talk
    up.images.append(reply)

    await draw(talk, prompt="a fox")

    (item,) = picture_items(client)
    (output,) = outputs(up.posts()[1])
    assert (item["status"], item["result"], item.get("savedPath")) == ("failed", "", None)
    assert item["error"]["message"]
    assert output["output"].startswith("image generation failed: ")
    assert fragment in output["output"]
    assert client.notifications("turn/completed")[0]["turn"]["status"] == "completed"


async def test_a_usage_limit_is_told_on_the_item(talk: Talk) -> None:
    up, client = talk
    body = {"error": {"type": "usage_limit_reached", "message": "Limit", "resets_at": 1_800_000_000}}
    up.images.append(Reply(status=429, headers={"x-codex-active-limit": "image_gen"}, body=body))

    await draw(talk, prompt="a fox")

    assert picture_items(client)[0]["failure"] == {
        "type": "usageLimitExceeded",
        "limitId": "image_gen",
        "resetsAt": 1_800_000_000,
    }


async def test_the_file_is_named_by_what_the_picture_is(talk: Talk) -> None:
    up, client = talk
    up.images.append(image_reply(jpeg()))

    await draw(talk, prompt="a fox")

    (item,) = picture_items(client)
    assert (Path(item["savedPath"]).suffix, item["mimeType"]) == (".jpg", "image/jpeg")
    assert outputs(up.posts()[1])[0]["output"][0]["image_url"] == data_url(jpeg(), "image/jpeg")


async def test_the_same_call_id_never_writes_over_an_earlier_picture(talk: Talk) -> None:
    up, client = talk
    up.images += [image_reply(png(colour=RED)), image_reply(png(colour=BLUE))]
    thread_id = await draw(talk, prompt="red")
    up.queue += [sse("r3", imagegen("call_1", prompt="blue")), text_turn("r4", "Done.")]

    await run_turn(client, thread_id, "Another")

    saved = [Path(item["savedPath"]).read_bytes() for item in picture_items(client)]
    assert saved == [png(colour=RED), png(colour=BLUE)]


async def test_a_picture_whose_folder_cannot_be_written_is_shown_all_the_same(talk: Talk, tmp_path: Path) -> None:
    up, client = talk
    (tmp_path / "home" / "generated_images").write_text("in the way")

    await draw(talk, prompt="a fox")

    (item,) = picture_items(client)
    (output,) = outputs(up.posts()[1])
    assert (item["status"], item.get("savedPath"), bool(item["result"])) == ("completed", None, True)
    assert "input_image" in [part["type"] for part in output["output"]]
    assert len(client.notifications("warning")) == 1


async def test_an_edit_by_action_takes_the_users_newest_picture_and_what_came_after(talk: Talk) -> None:
    up, client = talk
    up.images += [image_reply(png(colour=GREEN))]
    up.queue += [
        sse("r1", imagegen("call_1", prompt="green")),
        text_turn("r2", "Done."),
        sse("r3", imagegen("call_2", prompt="mix", action="edit")),
        text_turn("r4", "Mixed."),
    ]
    thread_id = await start_thread(client)
    picture = {"type": "image", "url": data_url(png(colour=RED))}
    reply = await client.request("turn/start", {"threadId": thread_id, "input": [picture]})
    await ended(client, reply["turn"]["id"])

    await run_turn(client, thread_id, "Mix them")

    (request,) = up.posts("/images/edits")
    urls = [image["image_url"] for image in request.body["images"]]
    assert urls == [data_url(png(colour=RED)), data_url(png(colour=GREEN))]


async def test_a_provider_without_namespaces_gets_and_calls_the_plain_function(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, provider="image_generation = true\nnamespace_tools = false")
        async with serving(home) as (_, client):
            call = function_call("call_1", "image_gen__imagegen", {"prompt": "a fox"})
            up.queue += [sse("r1", call), text_turn("r2", "Done.")]

            await run_turn(client, await start_thread(client))

            assert tool_names(up.posts()[0]) == ["image_gen__imagegen"]
            assert [item["status"] for item in picture_items(client)] == ["completed"]


async def test_words_before_a_picture_stay_and_the_last_words_end_the_turn(talk: Talk) -> None:
    up, client = talk
    up.queue += [
        sse("r1", message("m1", "I draw.", phase="commentary"), imagegen("call_1", prompt="x")),
        text_turn("r2", "Here."),
    ]

    turn = await run_turn(client, await start_thread(client))

    types = [params["item"]["type"] for params in client.notifications("item/completed")]
    assert types == ["userMessage", "agentMessage", "imageGeneration", "agentMessage"]
    assert [item["text"] for item in turn["items"]] == ["Here."]
