"""The settings for saved pictures, seen from a client: where they go, when no more are made, when old ones leave."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from app_server.pictures.quota import DAY_S, sweep
from tests.interaction.conversation import Client, imagegen, outputs, picture_home, run_turn, start_thread
from tests.support.client import Frame
from tests.support.pictures import png
from tests.support.server import connected, running, serving
from tests.support.upstream import ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio


async def draw(up: ScriptedUpstream, client: Client, thread_id: str, call_id: str = "call_1") -> None:
    up.images.append(image_reply(png()))
    up.queue += [sse(f"r-{call_id}", imagegen(call_id, prompt="A Red Fox")), text_turn(f"t-{call_id}", "Done.")]
    await run_turn(client, thread_id)


async def stored_item(client: Client, thread_id: str) -> Frame:
    """The one picture of a thread as it is read back."""
    data = (await client.request("thread/items/list", {"threadId": thread_id}))["data"]
    (item,) = [entry["item"] for entry in data if entry["item"]["type"] == "imageGeneration"]
    return dict(item)


async def test_pictures_go_to_the_configured_folder_and_are_deleted_with_their_thread(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    top = f'image_generation.save_dir = "{folder.as_posix()}"\nimage_generation.name_template = "{{slug}}/{{call}}"'
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, top=top)) as (_, client):
        thread_id = await start_thread(client)
        await draw(up, client, thread_id)
        saved = folder / "a-red-fox" / "call_1.png"
        assert (await stored_item(client, thread_id))["savedPath"] == str(saved)
        await client.request("thread/archive", {"threadId": thread_id})
        assert saved.read_bytes() == png()
        await client.request("thread/delete", {"threadId": thread_id})
        assert not saved.exists()


async def test_a_relative_folder_is_one_of_the_home(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, top='image_generation.save_dir = "art"')
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await draw(up, client, thread_id)
            assert (home.home / "art" / thread_id / "call_1.png").read_bytes() == png()


async def test_from_the_quota_on_no_picture_is_asked_for_and_the_model_is_told_why(tmp_path: Path) -> None:
    big = png() + bytes(1024 * 1024)
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up, top="image_generation.quota_mb = 1")
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            up.images.append(image_reply(big))
            up.queue += [sse("r1", imagegen("call_1", prompt="one")), text_turn("r2", "Done.")]
            await run_turn(client, thread_id)
            up.queue += [sse("r3", imagegen("call_2", prompt="two")), text_turn("r4", "No room.")]
            await run_turn(client, thread_id)
            told = outputs(up.posts()[-1])[-1]["output"]
            kept = await stored_item(client, thread_id)
            await client.request("image/delete", {"threadId": thread_id, "itemId": "call_1"})
            await draw(up, client, thread_id, "call_3")
    assert told.startswith("no picture was asked for: the saved pictures take 1.0 MiB of the 1 MiB that quota_mb")
    assert (kept["id"], kept["bytes"]) == ("call_1", len(big))
    assert [request.body["prompt"] for request in up.posts("/images/generations")] == ["one", "A Red Fox"]


async def test_an_expired_picture_is_gone_and_its_item_says_so(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, running(picture_home(tmp_path, up)) as app, connected(app) as client:
        thread_id = await start_thread(client)
        await draw(up, client, thread_id)
        path = Path((await stored_item(client, thread_id))["savedPath"])
        wiring = await app.wiring()

        class NextWeek:
            def now_ms(self) -> int:
                return app.clock.now_ms() + 7 * DAY_S * 1000

            def monotonic_s(self) -> float:
                return 0.0

        assert await sweep(wiring.gallery, NextWeek(), 8) == 0
        assert path.exists()
        assert await sweep(wiring.gallery, NextWeek(), 6) == 1
        item = await stored_item(client, thread_id)
        assert (path.exists(), item["removed"], "savedPath" in item) == (False, "expired", False)
        up.queue.append(text_turn("r9", "It is gone."))
        assert (await run_turn(client, thread_id, "What was it?"))["status"] == "completed"


async def test_the_sweep_runs_at_the_start_where_the_settings_ask_for_it(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        async with serving(picture_home(tmp_path, up)) as (_, client):
            thread_id = await start_thread(client)
            await draw(up, client, thread_id)
            path = Path((await stored_item(client, thread_id))["savedPath"])
        async with running(picture_home(tmp_path, up, top="image_generation.retention_days = 1")) as app:
            today = app.clock

            class InTwoDays:
                def now_ms(self) -> int:
                    return today.now_ms() + 2 * DAY_S * 1000

                def monotonic_s(self) -> float:
                    return today.monotonic_s()

            app.clock = InTwoDays()
            await app.wiring()
            with anyio.fail_after(10):
                while path.exists():
                    await anyio.lowlevel.checkpoint()
