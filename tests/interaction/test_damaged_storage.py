"""Damage and full disks under a running server: a clear error where it hurts, and everything else goes on.

A full disk and a read-only home are made by seams, since no test may mount a file system: SQLite is told the largest
number of pages, or that it may not write, which are the errors that a disk gives; picture files meet a file where
their folder should be. The conformance kit's `disk` cases do the same on a real small file system.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app_server.bootstrap import App
from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    outputs,
    picture_home,
    refused,
    run_turn,
    start_thread,
    start_turn,
)
from tests.support.client import Frame
from tests.support.pictures import BLUE, png
from tests.support.server import connected, make_home, running, serving
from tests.support.upstream import Gate, ScriptedUpstream, image_reply, message, sse, text_turn

pytestmark = pytest.mark.anyio
DOCTOR = "app-server doctor"


Heal = Callable[[], Awaitable[None]]


async def set_pragma(app: App, statement: str) -> None:
    """Tell the writer's own connection."""
    log: Any = (await app.wiring()).storage.log
    await log._database.write(lambda connection: connection.execute(statement).fetchall())


async def fill_disk(app: App) -> Heal:
    """There is no page left; the answer gives space again."""
    log: Any = (await app.wiring()).storage.log
    (pages,) = await log._database.read(lambda connection: connection.execute("PRAGMA page_count").fetchone())
    await set_pragma(app, f"PRAGMA max_page_count={pages:d}")
    return lambda: set_pragma(app, "PRAGMA max_page_count=1000000")


async def make_read_only(app: App) -> Heal:
    """Nothing can be written, not even the beginning of a transaction; the answer makes it writable again."""
    log: Any = (await app.wiring()).storage.log
    connection = await log._database.write(lambda connection: connection)
    connection.execute("PRAGMA query_only=ON")

    async def heal() -> None:
        connection.execute("PRAGMA query_only=OFF")

    return heal


@asynccontextmanager
async def talking(folder: Path) -> AsyncIterator[tuple[ScriptedUpstream, App, Client]]:
    async with ScriptedUpstream() as up, running(picture_home(folder, up)) as app, connected(app) as client:
        yield up, app, client


@pytest.mark.parametrize(
    ("hurt", "words"),
    [(fill_disk, "is full; free some space"), (make_read_only, "is read-only; make")],
)
async def test_a_disk_that_refuses_in_the_middle_of_a_turn_fails_that_turn_and_leaves_the_rest(
    tmp_path: Path, hurt: Callable[[App], Awaitable[Heal]], words: str
) -> None:
    async with talking(tmp_path) as (up, app, client):
        other, thread_id = await start_thread(client), await start_thread(client)
        up.queue.append(text_turn("r0", "Before."))
        await run_turn(client, other)
        gate = Gate()
        up.queue.append(sse("r1", gate, message("m1", "x" * 9_000)))
        turn_id = await start_turn(client, thread_id)
        await gate.wait_reached()
        heal = await hurt(app)
        gate.release()
        turn = await ended(client, turn_id)
        assert (turn["status"], turn["error"]["codexErrorInfo"]) == ("failed", "other")
        assert words in turn["error"]["message"]
        begun, done = (
            [params["item"]["id"] for params in client.notifications(f"item/{what}")]
            for what in ("started", "completed")
        )
        assert sorted(begun) == sorted(done)
        read = await client.request("thread/read", {"threadId": other, "includeTurns": True})
        assert [turn["status"] for turn in read["thread"]["turns"]] == ["completed"]
        await heal()
        up.queue += [text_turn("r2", "Again."), text_turn("r3", "There.")]
        assert (await run_turn(client, thread_id))["status"] == "completed"
        assert (await run_turn(client, other))["status"] == "completed"


async def test_a_picture_that_cannot_be_saved_anywhere_is_a_failed_item_and_the_turn_goes_on(tmp_path: Path) -> None:
    async with talking(tmp_path) as (up, _, client):
        for name in ("generated_images", "blobs"):
            (tmp_path / "home" / name).write_text("in the way")
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "It could not be kept.")]
        turn = await run_turn(client, await start_thread(client))
        (item,) = pictures_of(client)
        assert turn["status"] == "completed"
        assert (item["status"], item["error"]["type"]) == ("failed", "saveFailed")
        assert "check the disk" in item["error"]["message"]
        assert "could not be stored" in str(outputs(up.posts()[1])[0]["output"])


async def test_a_home_that_turns_read_only_while_a_picture_is_made_fails_its_item_and_leaves_no_file(
    tmp_path: Path,
) -> None:
    async with talking(tmp_path) as (up, app, client):
        other = await start_thread(client)
        thread_id = await start_thread(client)
        picture = Gate()
        up.images.append(replace(image_reply(png()), hold=picture))
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "So it is.")]
        turn_id = await start_turn(client, thread_id)
        await picture.wait_reached()
        heal = await make_read_only(app)
        picture.release()
        turn = await ended(client, turn_id)
        await heal()
        assert turn["status"] == "failed"
        assert "is read-only" in turn["error"]["message"]
        (item,) = pictures_of(client)
        assert (item["status"], item["error"]["type"]) == ("failed", "saveFailed")
        assert "is read-only" in item["error"]["message"]
        assert list((tmp_path / "home" / "generated_images").rglob("*.png")) == []
        up.queue.append(text_turn("r3", "Here."))
        assert (await run_turn(client, other))["status"] == "completed"


def pictures_of(client: Client) -> list[Frame]:
    items = [params["item"] for params in client.notifications("item/completed")]
    return [item for item in items if item["type"] == "imageGeneration"]


def alter(path: Path) -> None:
    path.write_bytes(png(colour=BLUE))


@pytest.mark.parametrize(
    ("damage", "words"), [(alter, "was changed after it was stored"), (Path.unlink, "not there any more")]
)
async def test_a_picture_whose_file_is_not_what_was_stored_is_an_error_and_never_other_bytes(
    tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    async with talking(tmp_path) as (up, _, client):
        up.queue += [sse("r1", imagegen("call_1", prompt="red")), text_turn("r2", "Done.")]
        thread_id = await start_thread(client)
        await run_turn(client, thread_id)
        damage(Path(pictures_of(client)[0]["savedPath"]))
    async with talking(tmp_path) as (up, _, client):  # nothing is kept in memory any more
        await client.request("thread/resume", {"threadId": thread_id})
        code, told = await refused(client, "image/read", {"threadId": thread_id, "itemId": "call_1"})
        assert words in told, code
        up.queue += [sse("r3", imagegen("call_2", prompt="bluer", action="edit")), text_turn("r4", "It is gone.")]
        assert (await run_turn(client, thread_id, "Edit it"))["status"] == "completed"
        first, second = up.posts()
        assert "input_image" not in str(first.body["input"])
        assert up.posts("/images/edits") == []
        assert words in str(outputs(second)[-1]["output"])


async def test_on_a_broken_database_a_client_is_greeted_and_every_thread_method_says_what_to_do(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        path = home.home / "state.sqlite"
        path.write_bytes(b"garbage" * 1000)
        async with serving(home) as (_, client):
            for method, params in (
                ("thread/list", {}),
                ("thread/start", {}),
                ("thread/read", {"threadId": "019a0000-0000-7000-8000-000000000000"}),
                ("thread/resume", {"threadId": "019a0000-0000-7000-8000-000000000000"}),
            ):
                code, told = await refused(client, method, params)
                assert (code, str(path) in told, DOCTOR in told) == (-32603, True, True), (method, told)
            assert (await client.request("model/list", {}))["data"]
        assert path.read_bytes() == b"garbage" * 1000


async def test_a_broken_database_whose_threads_have_copies_is_made_again_and_every_client_is_told(
    tmp_path: Path,
) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [text_turn("r1", "One."), text_turn("r2", "Two.")]
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
        (home.home / "state.sqlite").write_bytes(b"garbage" * 1000)
        async with serving(home) as (app, client):
            assert [row["id"] for row in (await client.request("thread/list", {}))["data"]] == [thread_id]
            told = await client.wait_for("warning")
            async with connected(app) as later:
                assert await later.wait_for("warning") == told
            await client.request("thread/resume", {"threadId": thread_id})
            assert (await run_turn(client, thread_id))["status"] == "completed"
        assert told["threadId"] is None
        assert told["message"].startswith("The damaged database of this home was made anew. Saved 1 threads with ")
        assert f"; the broken database is kept at {home.home / 'state.sqlite.broken-'}" in told["message"]
        async with serving(home) as (_, client):
            read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
            assert client.notifications("warning") == []
        assert [turn["status"] for turn in read["thread"]["turns"]] == ["completed", "completed"]


async def test_a_database_of_which_the_page_of_one_thread_is_broken_serves_the_others(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        ids = []
        async with serving(home) as (_, client):
            for letter in "abc":
                up.queue.append(text_turn("r", "Yes."))
                ids.append(await start_thread(client))
                await run_turn(client, ids[-1], letter * 40_000)
        shutil.rmtree(home.home / "copies")
        path = home.home / "state.sqlite"
        data = bytearray(path.read_bytes())
        at = data.index(b"c" * 4000) // 4096 * 4096
        data[at - 4096 : at + 8 * 4096] = b"\xff" * (9 * 4096)
        path.write_bytes(data)
        async with serving(home) as (_, client):
            code, told = await refused(client, "thread/read", {"threadId": ids[2], "includeTurns": True})
            assert (code, DOCTOR in told) == (-32603, True)
            await client.request("thread/resume", {"threadId": ids[0]})
            up.queue.append(text_turn("r9", "Still here."))
            assert (await run_turn(client, ids[0]))["status"] == "completed"
