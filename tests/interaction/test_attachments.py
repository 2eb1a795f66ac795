"""Pictures that the user sends: checked, stored once, sent to the model, and never in a log."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    picture_home,
    refused,
    start_thread,
    text,
)
from tests.support.pictures import BLUE, GREEN, RED, data_url, jpeg, oversized_png, png
from tests.support.server import Home, serving
from tests.support.upstream import ScriptedUpstream, image_call, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as up:
        yield up


@pytest.fixture
def home(tmp_path: Path, up: ScriptedUpstream) -> Home:
    return picture_home(tmp_path, up)


@pytest.fixture
async def client(home: Home) -> AsyncIterator[Client]:
    async with serving(home) as (_, client):
        yield client


async def show(client: Client, up: ScriptedUpstream, *pictures: Any, **params: Any) -> str:
    """A turn with these input items; the thread's id."""
    up.queue.append(text_turn(f"r{len(up.requests)}", "I see."))
    thread_id = params.pop("threadId", None) or await start_thread(client)
    reply = await client.request("turn/start", {"threadId": thread_id, "input": [*text("Look"), *pictures], **params})
    assert (await ended(client, reply["turn"]["id"]))["status"] == "completed"
    return str(thread_id)


def last_parts(up: ScriptedUpstream) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = up.posts()[-1].body["input"][-1]["content"]
    return parts


def last_pictures(up: ScriptedUpstream) -> list[dict[str, Any]]:
    """The pictures of the newest message, without the texts that name them."""
    return [part for part in last_parts(up) if part["type"] == "input_image"]


def image(url: str) -> dict[str, Any]:
    return {"type": "image", "url": url}


async def test_a_data_url_is_sent_as_it_came(client: Client, up: ScriptedUpstream) -> None:
    await show(client, up, image(data_url(jpeg(), "image/jpeg")))

    assert last_parts(up)[0] == {"type": "input_text", "text": "Look"}
    assert last_pictures(up) == [{"type": "input_image", "image_url": data_url(jpeg(), "image/jpeg"), "detail": "high"}]


async def test_the_type_of_a_picture_is_found_by_its_content(client: Client, up: ScriptedUpstream) -> None:
    await show(client, up, image(data_url(jpeg(), "image/png")))

    assert last_pictures(up)[0]["image_url"] == data_url(jpeg(), "image/jpeg")


async def test_the_item_echoes_the_picture_as_the_client_sent_it(client: Client, up: ScriptedUpstream) -> None:
    await show(client, up, image(data_url(png())))

    item = (await client.wait_for("item/completed", item__type="userMessage"))["item"]
    assert item["content"][1]["url"] == data_url(png())


@pytest.mark.parametrize(
    ("url", "fragment"),
    [
        ("data:image/png;base64,!!!", "input[1].url holds invalid base64."),
        (data_url(b"just words"), "input[1].url"),
        (data_url(png()[:40]), "input[1].url"),
        (data_url(oversized_png()), "input[1].url"),
        ("data:image/png,raw", "input[1].url must be a data URL"),
        ("ftp://x/y.png", "input[1].url must be a data URL"),
        ("https://example.com/x.png", "remote image URLs are not supported; use an inline data URL instead"),
        ("http://127.0.0.1/x.png", "remote image URLs are not supported; use an inline data URL instead"),
        ("file:///no/such/file.png", "input[1].url: "),
    ],
)
async def test_a_picture_that_is_none_is_refused_before_a_turn_starts(
    client: Client, up: ScriptedUpstream, url: str, fragment: str
) -> None:
    thread_id = await start_thread(client)

    code, message = await refused(client, "turn/start", {"threadId": thread_id, "input": [*text("Look"), image(url)]})

    assert (code, fragment in message) == (-32600, True), message
    assert "turn/started" not in client.order()
    assert up.requests == []


async def test_a_local_picture_is_sent_between_its_name_and_an_end_mark(
    client: Client, up: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png(colour=GREEN))

    await show(client, up, image(data_url(png())), {"type": "localImage", "path": str(path)})

    name, picture, end = last_parts(up)[-3:]
    assert name["text"].startswith("<image name=[Image #2] ")
    assert f'path="{path}"' in name["text"]
    assert picture == {"type": "input_image", "image_url": data_url(png(colour=GREEN)), "detail": "high"}
    assert end == {"type": "input_text", "text": "</image>"}


async def test_a_local_picture_is_found_in_the_threads_folder(client: Client, up: ScriptedUpstream, home: Home) -> None:
    (home.cwd / "fox.png").write_bytes(png(colour=GREEN))

    await show(client, up, {"type": "localImage", "path": "fox.png"})

    assert last_pictures(up)[0]["image_url"] == data_url(png(colour=GREEN))


async def test_a_missing_local_picture_is_told_to_the_model_in_words(
    client: Client, up: ScriptedUpstream, tmp_path: Path
) -> None:
    await show(client, up, {"type": "localImage", "path": str(tmp_path / "gone.png")})

    (_, part) = last_parts(up)
    assert part["type"] == "input_text"
    assert part["text"].startswith("The attached picture could not be read: ")
    assert str(tmp_path / "gone.png") in part["text"]


async def test_a_picture_that_changes_after_it_was_sent_stays_as_it_was(
    client: Client, up: ScriptedUpstream, tmp_path: Path
) -> None:
    path = tmp_path / "fox.png"
    path.write_bytes(png(colour=GREEN))
    thread_id = await show(client, up, {"type": "localImage", "path": str(path)})
    path.write_bytes(png(colour=RED))

    await show(client, up, threadId=thread_id)

    first, second = (request.body["input"] for request in up.posts())
    assert second[: len(first)] == first


async def test_an_attached_picture_is_edited_by_its_original_bytes(client: Client, up: ScriptedUpstream) -> None:
    thread_id = await show(client, up, image(data_url(png(width=3000, height=20, colour=BLUE))))
    up.queue += [sse("r8", imagegen("call_1", prompt="night", num_last_images_to_include=1)), text_turn("r9", "Done.")]

    reply = await client.request("turn/start", {"threadId": thread_id, "input": text("Make it night")})
    await ended(client, reply["turn"]["id"])

    (request,) = up.posts("/images/edits")
    assert request.body["images"] == [{"image_url": data_url(png(width=3000, height=20, colour=BLUE))}]


async def test_a_message_may_be_pictures_alone(client: Client, up: ScriptedUpstream) -> None:
    thread_id = await start_thread(client)
    up.queue.append(text_turn("r1", "I see."))

    reply = await client.request(
        "turn/start", {"threadId": thread_id, "input": [image(data_url(png())), image(data_url(png(colour=BLUE)))]}
    )
    await ended(client, reply["turn"]["id"])

    assert [part["image_url"] for part in last_pictures(up)] == [data_url(png()), data_url(png(colour=BLUE))]


def traces(folder: Path, data: bytes) -> list[str]:
    """Database files that hold these bytes, raw or as base64 at any of its three offsets."""
    forms = [data] + [base64.b64encode(data[shift:])[:-4] for shift in range(3)]
    files = [path for path in folder.rglob("*") if path.is_file() and "sqlite" in path.name]
    assert files
    return [path.name for path in files if any(form in path.read_bytes() for form in forms)]


async def test_no_database_of_the_home_ever_holds_a_picture(home: Home, up: ScriptedUpstream) -> None:
    attached, made, hosted = (png(64, 64, (number, 7, 9)) for number in (31, 32, 33))
    async with serving(home) as (_, client):
        up.images.append(image_reply(made))
        up.queue.append(sse("r1", imagegen("call_1", prompt="a fox"), image_call("ig_1", hosted)))
        await show(client, up, image(data_url(attached)))
        whole = len([item for item in client.notifications("item/completed") if item["item"].get("savedPath")])
        running = [traces(home.home, picture) for picture in (attached, made, hosted)]

    assert whole == 2
    assert running == [[], [], []]
    assert [traces(home.home, picture) for picture in (attached, made, hosted)] == [[], [], []]


async def test_equal_attachments_are_stored_once(client: Client, up: ScriptedUpstream, home: Home) -> None:
    await show(client, up, image(data_url(png())), image(data_url(png())))

    files = [path for path in (home.home / "blobs").rglob("*") if path.is_file() and path.read_bytes() == png()]
    assert len(files) == 1
