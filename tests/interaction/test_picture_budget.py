"""Picture bytes reach each client within what it takes, live only, and are never in the log."""

from __future__ import annotations

import base64
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image

from tests.interaction.conversation import Client, imagegen, picture_home, run_turn, start_thread
from tests.support.client import Frame
from tests.support.pictures import as_base64, data_url, png
from tests.support.server import connected, running
from tests.support.upstream import ScriptedUpstream, image_call, image_reply, message, sse, text_turn

pytestmark = pytest.mark.anyio


def noise(edge_px: int) -> bytes:
    """A picture that does not get smaller when it is compressed: three bytes a pixel."""
    out = BytesIO()
    Image.frombytes("RGB", (edge_px, edge_px), random.Random(7).randbytes(edge_px * edge_px * 3)).save(out, "PNG")
    return out.getvalue()


BIG = noise(200)
"""120,000 bytes, 160,000 as base64."""


@asynccontextmanager
async def clients_on(
    tmp_path: Path, *asked: dict[str, Any], **home: Any
) -> AsyncIterator[tuple[ScriptedUpstream, list[Client], str]]:
    """Clients that all listen to one thread of the first of them."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(ScriptedUpstream())
        app = await stack.enter_async_context(running(picture_home(tmp_path, up, **home)))
        clients = [await stack.enter_async_context(connected(app, **options)) for options in asked]
        thread_id = await start_thread(clients[0])
        up.queue.append(text_turn("r0", "Hello."))
        await run_turn(clients[0], thread_id)
        for client in clients[1:]:
            await client.request("thread/resume", {"threadId": thread_id})
        yield up, clients, thread_id


async def drawn(up: ScriptedUpstream, clients: list[Client], thread_id: str, data: bytes) -> list[Frame]:
    """The finished item of one picture, as each client got it."""
    up.images.append(image_reply(data))
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
    await run_turn(clients[0], thread_id)
    return [(await one.wait_for("item/completed", item__type="imageGeneration"))["item"] for one in clients]


def form(item: Frame) -> str:
    """What of the picture is in an item."""
    return "inline" if item["result"] else "thumbnail" if "thumbnail" in item else "path"


@pytest.mark.parametrize(
    ("client", "seen"),
    [
        ({}, "inline"),
        ({"name": "codex_python_sdk"}, "inline"),
        ({"name": "codex-python-sdk"}, "thumbnail"),
        ({"name": "codex-gateway"}, "thumbnail"),
        ({"name": "codex_agent_sdk"}, "inline"),
        ({"name": "codex-gateway", "pictures": {"maxMessageBytes": 1_000_000}}, "inline"),
        ({"pictures": {"maxMessageBytes": 150_000}}, "thumbnail"),
        ({"pictures": {"maxMessageBytes": 20_000}}, "path"),
        ({"pictures": {"inline": "never"}}, "thumbnail"),
    ],
)
async def test_each_client_gets_the_richest_form_that_it_takes(
    tmp_path: Path, client: dict[str, Any], seen: str
) -> None:
    async with clients_on(tmp_path, client) as (up, clients, thread_id):
        (item,) = await drawn(up, clients, thread_id, BIG)
    assert (form(item), Path(item["savedPath"]).read_bytes()) == (seen, BIG)
    if seen == "inline":
        assert item["result"] == as_base64(BIG)
    if seen == "thumbnail":
        head, _, body = item["thumbnail"].partition(",")
        with Image.open(BytesIO(base64.b64decode(body))) as small:
            assert (head, max(small.size) <= 320) == ("data:image/webp;base64", True)
        assert len(item["thumbnail"]) < 24 * 1024


async def test_clients_of_one_thread_get_different_forms_of_one_picture(tmp_path: Path) -> None:
    asked = [{}, {"name": "codex-gateway"}, {"pictures": {"maxMessageBytes": 4000}}, {}]
    async with clients_on(tmp_path, *asked) as (up, clients, thread_id):
        items = await drawn(up, clients, thread_id, BIG)
    assert [form(item) for item in items] == ["inline", "thumbnail", "path", "inline"]
    rest = [{name: value for name, value in item.items() if name not in ("result", "thumbnail")} for item in items]
    assert rest == [rest[0]] * 4


async def test_every_frame_to_a_small_client_is_within_what_it_takes(tmp_path: Path) -> None:
    async with clients_on(tmp_path, {"name": "codex-python-sdk"}) as (up, clients, thread_id):
        up.queue.append(text_turn("r1", "I see."))
        picture = {"type": "image", "url": data_url(BIG)}
        await clients[0].request("turn/start", {"threadId": thread_id, "input": [picture]})
        await clients[0].wait_for("turn/completed")
        await drawn(up, clients, thread_id, BIG)
    assert max(len(orjson.dumps(frame)) for frame in clients[0].incoming) < 64 * 1024


async def test_a_hosted_picture_goes_the_same_way(tmp_path: Path) -> None:
    asked = [{}, {"name": "codex-gateway"}]
    async with clients_on(tmp_path, *asked, enable=()) as (up, clients, thread_id):
        up.queue.append(sse("r1", image_call("ig_1", BIG, "a fox"), message("m1", "There.")))
        await run_turn(clients[0], thread_id)
        items = [(await one.wait_for("item/completed", item__type="imageGeneration"))["item"] for one in clients]
    assert [form(item) for item in items] == ["inline", "thumbnail"]


@pytest.mark.parametrize(
    ("settings", "client", "seen"),
    [
        ('server.inline_images = "never"', {}, "thumbnail"),
        ('server.inline_images = "always"', {"name": "codex-gateway"}, "inline"),
        ('server.inline_images = "always"', {"pictures": {"inline": "never"}}, "thumbnail"),
    ],
)
async def test_the_servers_setting_rules_over_the_table(
    tmp_path: Path, settings: str, client: dict[str, Any], seen: str
) -> None:
    async with clients_on(tmp_path, client, top=settings) as (up, clients, thread_id):
        items = await drawn(up, clients, thread_id, BIG)
    assert [form(item) for item in items] == [seen]


async def test_the_feature_that_omits_media_leaves_the_path_for_everybody(tmp_path: Path) -> None:
    asked = [{}, {"name": "codex-gateway"}]
    flag = "omit_app_server_notification_media = true"
    async with clients_on(tmp_path, *asked, features=flag) as (up, clients, thread_id):
        up.queue.append(text_turn("r1", "I see."))
        await clients[0].request(
            "turn/start", {"threadId": thread_id, "input": [{"type": "image", "url": data_url(BIG)}]}
        )
        await clients[0].wait_for("turn/completed")
        items = await drawn(up, clients, thread_id, BIG)
    assert [form(item) for item in items] == ["path", "path"]
    assert as_base64(BIG)[:1000] not in orjson.dumps([client.incoming for client in clients]).decode()


async def test_bytes_are_neither_read_back_nor_logged(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = [{}]
    async with clients_on(tmp_path, *asked) as (up, clients, thread_id):
        client = clients[0]
        url = data_url(png(colour=(9, 9, 9)))
        up.queue.append(text_turn("r1", "I see."))
        await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "image", "url": url}]})
        await client.wait_for("turn/completed")
        await drawn(up, clients, thread_id, BIG)
        full = {"threadId": thread_id, "itemsView": "full", "limit": 100}
        page = {"limit": 100, "itemsView": "full"}
        replies = [
            await client.request("thread/read", {"threadId": thread_id, "includeTurns": True}),
            await client.request("thread/turns/list", full),
            await client.request("thread/items/list", {"threadId": thread_id, "limit": 100}),
            await client.request("thread/resume", {"threadId": thread_id, "initialTurnsPage": page}),
        ]
    pictures = [item for item in items_in(replies[2]) if item["type"] == "imageGeneration"]
    assert [(item["result"], "thumbnail" in item) for item in pictures] == [("", False)]
    stored = b"".join(path.read_bytes() for path in (tmp_path / "home").glob("state.sqlite*"))
    for text in (orjson.dumps(replies), stored):
        assert b"data:image" not in text
        assert as_base64(BIG)[:1000].encode() not in text
    assert BIG[1000:2000] not in stored


def items_in(reply: Frame) -> list[Frame]:
    """The items of thread/items/list."""
    return [entry["item"] for entry in reply["data"]]
