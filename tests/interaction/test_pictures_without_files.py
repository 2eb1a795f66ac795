"""A server whose storage keeps no files: clients and models work with pictures by item, sha256 and handle."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from app_server.bootstrap import App
from app_server.pictures.links import PICTURE_ROUTE
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres.source import open_postgres_source
from app_server.storage.registry import PlainSource
from app_server.transport.http import HttpRequest
from app_server.transport.websocket import serve_websocket
from tests.interaction.conversation import (
    Client,
    imagegen,
    outputs,
    picture_home,
    refused,
    run_turn,
    start_thread,
    text,
)
from tests.support import s3
from tests.support.pictures import BLUE, as_base64, data_url, png
from tests.support.postgres import cluster
from tests.support.server import Home, connected
from tests.support.upstream import ScriptedUpstream, function_call, image_call, image_reply, message, sse, text_turn

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, App, Client, Home]


@asynccontextmanager
async def running_without_files(home: Home) -> AsyncIterator[App]:
    """A server on this home whose pictures and threads are elsewhere."""
    world = MemoryStorageWorld(keeps_files=False)
    options = replace(home.options(), source=PlainSource(lambda tenant: world.process()))
    async with App(options).running() as app:
        yield app


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        home.extensions = ("extensions.image_generation", "extensions.view_image")
        async with running_without_files(home) as app, connected(app) as client:
            yield up, app, client, home


def picture_files(home: Home) -> list[Path]:
    return [path for path in home.home.rglob("*") if path.suffix in (".png", ".jpg", ".webp")]


async def test_a_picture_is_shown_read_listed_and_removed_without_a_file(talk: Talk) -> None:
    up, _, client, home = talk
    up.images.append(image_reply(png()))
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
    thread_id = await start_thread(client)
    turn = await run_turn(client, thread_id)
    item = (await client.wait_for("item/completed", item__id="call_1"))["item"]
    assert (turn["status"], item["status"], item["result"], item["handle"]) == (
        "completed", "completed", as_base64(png()), "img_1"
    )  # fmt: skip
    assert "savedPath" not in item
    (answer,) = outputs(up.posts()[1])
    assert "This picture is img_1; it is kept without a file" in str(answer["output"])
    assert str(home.home) not in str(answer["output"])

    (listed,) = (await client.request("image/list", {}))["data"]
    read = await client.request("image/read", {"threadId": thread_id, "itemId": "call_1"})
    assert ("path" in listed, listed["sha256"]) == (False, item["sha256"])
    assert base64.b64decode(read["data"]) == png()

    removed = await client.request("image/delete", {"threadId": thread_id, "itemId": "call_1"})
    assert removed["removed"] == 1
    assert (await client.request("image/list", {}))["data"] == []
    again = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    (kept,) = [i for t in again["thread"]["turns"] for i in t["items"] if i["type"] == "imageGeneration"]
    assert kept["removed"] == "deleted"
    assert picture_files(home) == []


async def test_a_picture_is_edited_by_its_handle(talk: Talk) -> None:
    up, _, client, _ = talk
    up.images += [image_reply(png()), image_reply(png(colour=BLUE))]
    up.queue += [
        sse("r1", imagegen("call_1", prompt="a fox")),
        text_turn("r2", "Done."),
        sse("r3", imagegen("call_2", prompt="a blue fox", referenced_images=["img_1"])),
        text_turn("r4", "Done."),
    ]
    thread_id = await start_thread(client)
    await run_turn(client, thread_id)
    await run_turn(client, thread_id, "make it blue")
    item = (await client.wait_for("item/completed", item__id="call_2"))["item"]
    assert (item["status"], item["handle"], item["result"]) == ("completed", "img_2", as_base64(png(colour=BLUE)))
    assert data_url(png()) in str(up.posts()[2].body)  # the model sees the first one in the second turn


async def test_an_attached_and_a_viewed_picture_are_kept_without_a_file_of_ours(talk: Talk) -> None:
    up, _, client, home = talk
    (home.cwd / "a.png").write_bytes(png(colour=BLUE))
    up.queue += [sse("r1", function_call("call_v", "view_image", {"path": "a.png"})), text_turn("r2", "Blue.")]
    thread_id = await start_thread(client, cwd=str(home.cwd))
    attached = [*text("what is this?"), {"type": "image", "url": data_url(png())}]
    await run_turn(client, thread_id, input=attached)
    again = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    (said,) = [i for t in again["thread"]["turns"] for i in t["items"] if i["type"] == "userMessage"]
    assert said["content"][1]["url"].startswith("urn:sha256:")
    assert data_url(png(colour=BLUE)) in str(up.posts()[1].body)
    assert picture_files(home) == []

    up.queue.append(text_turn("r3", "Red."))
    other = await start_thread(client)
    await run_turn(client, other, input=[said["content"][1]])  # a client may send the address back
    assert data_url(png()) in str(up.posts()[2].body)
    code, sentence = await refused(
        client, "turn/start", {"threadId": other, "input": [{"type": "image", "url": f"urn:sha256:{'0' * 64}"}]}
    )
    assert (code, sentence) == (
        -32600,
        "input[0].url: no stored picture has this sha256; send the picture itself as a data URL",
    )


async def test_a_picture_of_the_hosted_tool_is_told_to_the_model_by_its_handle(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, enable=())
        async with running_without_files(home) as app, connected(app) as client:
            up.queue += [sse("r1", image_call("ig_1", png(), "a whale"), message("m1", "There.")), text_turn("r2", "Y")]
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
            item = (await client.wait_for("item/completed", item__id="ig_1"))["item"]
            await run_turn(client, thread_id, "and now?")
    assert (item["status"], item["sha256"] != "", "savedPath" in item) == ("completed", True, False)
    assert "The picture img_1 is kept without a file" in str(up.posts()[1].body)
    assert picture_files(home) == []


async def test_a_signed_address_shows_a_picture_that_has_no_file(talk: Talk) -> None:
    up, app, client, _ = talk
    up.images.append(image_reply(png()))
    up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
    await run_turn(client, await start_thread(client))
    sha256 = (await client.wait_for("item/completed", item__id="call_1"))["item"]["sha256"]
    async with (
        serve_websocket(
            "127.0.0.1", 0, app.serve, routes={}, signed_routes={PICTURE_ROUTE: app.picture}, ready=lambda: True
        ) as bound,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        app.http_base = f"http://{bound.authority}"
        reply = await http.get((await client.request("image/url", {"sha256": sha256}))["url"])
    assert (reply.status_code, reply.content) == (200, png())


async def test_an_address_from_one_replica_leads_from_another_one_to_the_bucket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in s3.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    database, blobs = await cluster().new_database(), s3.blobs_url(s3.new_bucket())
    async with ScriptedUpstream() as up, httpx.AsyncClient(trust_env=False) as http:
        homes = [picture_home(tmp_path / name, up) for name in ("one", "two")]
        one, two = (
            App(replace(home.options(), source=open_postgres_source(database, blobs, home.home))) for home in homes
        )
        async with one.running(), two.running(), connected(one) as client:
            up.images.append(image_reply(png()))
            up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
            await run_turn(client, await start_thread(client))
            sha256 = (await client.wait_for("item/completed", item__id="call_1"))["item"]["sha256"]
            one.http_base = "http://balancer.example"
            address = (await client.request("image/url", {"sha256": sha256, "expiresInS": 60}))["path"]
            parts = urlsplit(address)
            reply = await two.picture(HttpRequest(path=parts.path, query=parts.query, headers={}))
            shown = await http.get(reply.headers["Location"])
    await cluster().drop(database)
    assert (reply.status, reply.body, shown.content, shown.headers["Content-Type"]) == (302, b"", png(), "image/png")
    assert 1 <= int(httpx.URL(reply.headers["Location"]).params["X-Amz-Expires"]) <= 60
    assert [file for home in homes for file in picture_files(home)] == []
