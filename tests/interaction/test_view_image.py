"""The model looks at files, seen from a client and from the provider: items, what goes upstream, and how large."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app_server.bootstrap import App
from tests.interaction.conversation import Client, outputs, run_turn, start_thread, tool_names
from tests.support.pictures import BLUE, data_url, jpeg, png
from tests.support.server import Home, make_home, serving
from tests.support.upstream import Event, ScriptedUpstream, function_call, sse, text_turn

pytestmark = pytest.mark.anyio


@pytest.fixture
async def up() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
def home(tmp_path: Path, up: ScriptedUpstream) -> Home:
    made = make_home(tmp_path, up.base_url, enable=())
    made.extensions = ("extensions.view_image",)
    return made


@pytest.fixture
async def client(home: Home) -> AsyncIterator[Client]:
    async with serving(home) as (_, connected):
        yield connected


def look(call_id: str, **arguments: Any) -> list[Event]:
    return function_call(call_id, "view_image", arguments)


def sent_picture(part: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"].partition(",")[2])))


async def test_the_model_looks_at_a_file_and_the_client_sees_that_it_did(
    client: Client, up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.png").write_bytes(png())
    up.queue += [sse("r1", look("call_v", path="a.png")), text_turn("r2", "A square.")]
    thread_id = await start_thread(client, cwd=str(home.cwd))
    turn = await run_turn(client, thread_id, "look at a.png")

    assert turn["status"] == "completed"
    assert tool_names(up.posts()[0]) == ["view_image"]
    (output,) = outputs(up.posts()[1])
    assert output["output"] == [
        {"type": "input_image", "image_url": data_url(png()), "detail": "high"},
        {"type": "input_text", "text": "This picture is img_1."},
    ]
    shown = [
        (event, frame["item"])
        for event in ("item/started", "item/completed")
        for frame in client.notifications(event)
        if frame["item"]["type"] == "imageView"
    ]
    assert [(event, item["id"], item["path"]) for event, item in shown] == [
        ("item/started", "call_v", str(home.cwd / "a.png")),
        ("item/completed", "call_v", str(home.cwd / "a.png")),
    ]
    read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    assert shown[1][1] in read["thread"]["turns"][0]["items"]


async def test_a_file_that_cannot_be_shown_leaves_no_item_and_the_turn_goes_on(
    client: Client, up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.txt").write_text("words")
    up.queue += [sse("r1", look("call_v", path="missing.png"), look("call_w", path="a.txt")), text_turn("r2", "No.")]
    turn = await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
    assert turn["status"] == "completed"
    assert [output["output"] for output in outputs(up.posts()[1])] == [
        f"unable to read the picture at `{home.cwd / 'missing.png'}`: there is no such file; check the path",
        f"unable to use the picture at `{home.cwd / 'a.txt'}`: the bytes are plain text; PNG, JPEG, WebP and GIF "
        "pictures are taken",
    ]
    assert not any(frame["item"]["type"] == "imageView" for frame in client.notifications("item/started"))


async def test_a_picture_is_sent_as_it_was_when_it_was_looked_at(
    client: Client, up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.png").write_bytes(png())
    up.queue += [sse("r1", look("call_v", path="a.png")), text_turn("r2", "Red."), text_turn("r3", "Still red.")]
    thread_id = await start_thread(client, cwd=str(home.cwd))
    await run_turn(client, thread_id)
    (home.cwd / "a.png").unlink()
    await run_turn(client, thread_id)
    assert outputs(up.posts()[2])[0]["output"][0]["image_url"] == data_url(png())


async def test_a_picture_that_is_looked_at_twice_has_one_name(client: Client, up: ScriptedUpstream, home: Home) -> None:
    (home.cwd / "a.png").write_bytes(png())
    (home.cwd / "copy.png").write_bytes(png())
    (home.cwd / "other.png").write_bytes(png(colour=BLUE))
    up.queue += [
        sse("r1", look("call_1", path="a.png")),
        sse("r2", look("call_2", path="copy.png"), look("call_3", path="other.png")),
        text_turn("r3", "Seen."),
    ]
    await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
    names = [output["output"][1]["text"] for output in outputs(up.posts()[2])]
    assert names == ["This picture is img_1.", "This picture is img_1.", "This picture is img_2."]


async def test_large_pictures_go_to_the_model_as_copies_within_its_limits(
    client: Client, up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.png").write_bytes(png(3840, 2160))
    (home.cwd / "b.jpg").write_bytes(jpeg(7000, 3000))
    up.queue += [
        sse("r1", look("call_1", path="a.png"), look("call_2", path="b.jpg", detail="original")),
        text_turn("r2", "Large."),
    ]
    attached = {"type": "localImage", "path": str(home.cwd / "b.jpg")}
    small = {**attached, "detail": "low"}
    thread_id = await start_thread(client, cwd=str(home.cwd))
    await client.request("turn/start", {"threadId": thread_id, "input": [attached, small]})
    await client.wait_for("turn/completed")
    message = next(item for item in reversed(up.posts()[1].body["input"]) if item.get("role") == "user")
    parts = [part for part in message["content"] if part["type"] == "input_image"]
    parts += [output["output"][0] for output in outputs(up.posts()[1])]
    assert [(sent_picture(part).size, part["detail"]) for part in parts] == [
        ((2048, 878), "high"),
        ((512, 220), "high"),
        ((2048, 1152), "high"),
        ((4854, 2080), "original"),
    ]


async def test_a_model_that_the_catalogue_does_not_know_never_gets_the_label_original(
    client: Client, up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.png").write_bytes(png())
    up.queue += [sse("r1", look("call_1", path="a.png", detail="original")), text_turn("r2", "Seen.")]
    await run_turn(client, await start_thread(client, cwd=str(home.cwd), model="somebody-elses-model"))
    assert outputs(up.posts()[1])[0]["output"][0]["detail"] == "high"


async def test_what_was_sent_before_stays_the_same_to_the_byte_from_request_to_request(
    up: ScriptedUpstream, home: Home
) -> None:
    (home.cwd / "a.png").write_bytes(png(3000, 2000))
    up.queue += [
        sse("r1", look("call_1", path="a.png")),
        text_turn("r2", "Red."),
        text_turn("r3", "Again."),
        text_turn("r4", "And again."),
    ]
    async with serving(home) as (_, client):
        thread_id = await start_thread(client, cwd=str(home.cwd))
        await run_turn(client, thread_id, "look")
        await run_turn(client, thread_id, "and again")
    async with serving(home) as (_, client):  # a new process: nothing is kept but what is stored
        await client.request("thread/resume", {"threadId": thread_id})
        await run_turn(client, thread_id, "once more")
    inputs = [request.body["input"] for request in up.posts()]
    for earlier, later in pairwise(inputs):
        assert later[: len(earlier)] == earlier


@pytest.mark.parametrize("enabled", [True, False])
async def test_a_thread_may_switch_the_tool_off(client: Client, up: ScriptedUpstream, enabled: bool) -> None:
    up.queue.append(text_turn("r1", "Hello."))
    thread_id = await start_thread(client, config={"features.view_image": enabled})
    await run_turn(client, thread_id)
    assert tool_names(up.posts()[0]) == (["view_image"] if enabled else [])


async def test_the_extension_is_built_in_and_loaded_at_once(home: Home) -> None:
    home.extensions = None
    app = App(home.options())
    async with app.running():
        wiring = await app.wiring()
        states = {state.key: state for state in wiring.extensions(wiring.features.current()).states}
    state = states["view_image"]
    assert (state.origin, state.loaded, state.reason) == ("built-in", True, "view_image is on by default")
