"""`GET /images/<sha256>` beside a websocket: a signed address shows one picture to whoever has it, for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from app_server.bootstrap import App
from app_server.pictures.links import PICTURE_ROUTE
from app_server.transport.websocket import serve_websocket
from tests.interaction.conversation import Client, imagegen, picture_home, run_turn, start_thread
from tests.support.client import ws_client
from tests.support.pictures import png
from tests.support.server import running
from tests.support.upstream import ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def listening(app: App) -> AsyncIterator[str]:
    """The server at a port; yields the address of its websocket."""
    async with serve_websocket(
        "127.0.0.1", 0, app.serve, routes={}, signed_routes={PICTURE_ROUTE: app.picture}, ready=lambda: True
    ) as bound:
        app.http_base = f"http://{bound.authority}"
        yield str(bound)


@asynccontextmanager
async def with_picture(tmp_path: Path) -> AsyncIterator[tuple[Client, str, httpx.AsyncClient]]:
    """A client over a websocket, the sha256 of a picture in its thread, and a plain HTTP client."""
    async with (
        ScriptedUpstream() as up,
        running(picture_home(tmp_path, up)) as app,
        listening(app) as address,
        ws_client(address) as client,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        await client.initialize()
        up.images.append(image_reply(png()))
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
        await run_turn(client, await start_thread(client))
        item = (await client.wait_for("item/completed", item__id="call_1"))["item"]
        yield client, item["sha256"], http


async def test_a_signed_address_shows_the_picture_without_a_login(tmp_path: Path) -> None:
    async with with_picture(tmp_path) as (client, sha256, http):
        link = await client.request("image/url", {"sha256": sha256})
        reply = await http.get(link["url"])
    assert (link["path"] in link["url"], link["mimeType"], link["totalBytes"]) == (True, "image/png", len(png()))
    names = ("content-type", "x-content-type-options", "cache-control")
    assert (reply.status_code, reply.content) == (200, png())
    kind, sniffing, caching = (reply.headers[name] for name in names)
    assert (kind, sniffing, caching.startswith("private, max-age=")) == ("image/png", "nosniff", True)


async def test_without_a_good_signature_nothing_is_told_of_what_is_stored(tmp_path: Path) -> None:
    async with with_picture(tmp_path) as (client, sha256, http):
        link = (await client.request("image/url", {"sha256": sha256, "expiresInS": 60}))["url"]
        other = "f" * 64
        answers = {
            "no signature": link.partition("?")[0],
            "another picture": link.replace(sha256, other),
            "no picture, no signature": link.partition("?")[0].replace(sha256, other),
            "a longer life": link.replace("expires=", "expires=9"),
            "another signature": link[:-1] + ("1" if link.endswith("0") else "0"),
        }
        refused = {name: (await http.get(url)).status_code for name, url in answers.items()}
        elsewhere = [(await http.get(link.replace(sha256, path))).status_code for path in ("..%2fauth.json", "")]
        posted = await http.post(link)
        foreign = await http.get(link, headers={"Origin": "https://example.com"})
    assert refused == dict.fromkeys(answers, 403)
    assert (elsewhere, posted.status_code, foreign.status_code) == ([404, 404], 405, 403)


async def test_an_address_of_a_deleted_picture_leads_nowhere(tmp_path: Path) -> None:
    async with with_picture(tmp_path) as (client, sha256, http):
        link = (await client.request("image/url", {"sha256": sha256}))["url"]
        await client.request("image/delete", {"sha256": sha256})
        reply = await http.get(link)
    assert (reply.status_code, reply.text) == (404, "This picture is not there any more.\n")
