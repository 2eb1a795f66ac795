"""A process is killed before and after every append of a turn with a picture; the next one finds everything right."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.bootstrap import App
from app_server.storage import records as kinds
from app_server.storage.base import Record
from tests.interaction.conversation import Client, imagegen, outputs, picture_home, run_turn, start_thread, text
from tests.support.client import Frame, stdio_client
from tests.support.crashing_server import APPENDS
from tests.support.pictures import png
from tests.support.server import Home, serving
from tests.support.upstream import ScriptedUpstream, image_reply, sse, text_turn

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
SIDE_BY_SIDE = 2
DEATH_TIMEOUT_S = 20
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(kw_only=True)
class Crash:
    """One killed turn: what its client saw, and where it lies."""

    home: Home
    up: ScriptedUpstream
    thread_id: str = ""
    seen: list[tuple[str, Frame]]
    returncode: int | None = None


def durable(client: Client) -> list[tuple[str, Frame]]:
    return [(f["method"], f["params"]) for f in client.incoming if "method" in f and "seq" in (f.get("params") or {})]


async def picture_turn(folder: Path, up: ScriptedUpstream, when: str, number: int) -> Crash:
    """Run a turn with a picture in a child that dies at this boundary, or never."""
    home = picture_home(folder, up, top='server.inline_images = "never"')
    up.images.append(image_reply(png()))
    up.queue += [sse("r1", imagegen("call_1", prompt="a whale")), text_turn("r2", "Here it is.")]
    crash = Crash(home=home, up=up, seen=[])
    argv = (sys.executable, "-m", "tests.support.crashing_server", str(home.home), str(home.cwd), when, str(number))
    async with stdio_client(argv, env={"HOME": str(home.home), **home.env}, cwd=REPOSITORY) as child:
        await child.initialize()
        crash.thread_id = await start_thread(child, cwd=str(home.cwd))
        await child.post("turn/start", {"threadId": crash.thread_id, "input": text("Draw a whale")})
        if when == "never":
            await child.wait_for("turn/completed")
        else:
            with anyio.fail_after(DEATH_TIMEOUT_S):
                await child.closed.wait()
            crash.returncode = await child.stream.process.wait()
        crash.seen = durable(child)
    return crash


def without_previews(told: list[tuple[str, Frame]]) -> list[tuple[str, Frame]]:
    """As it was recorded: a thumbnail is live only."""
    items = [{name: part for name, part in params.get("item", {}).items() if name != "thumbnail"} for _, params in told]
    return [(method, {**params, "item": item}) for (method, params), item in zip(told, items, strict=True)]


def files_of(home: Home) -> set[str]:
    folder = home.home / "generated_images"
    return {str(path) for path in folder.rglob("*") if path.is_file()}


async def records_of(app: App, thread_id: str) -> list[Record]:
    return await (await app.wiring()).storage.log.read(thread_id)


def check_turn(turn: Mapping[str, Any], before: list[Record], after: list[Record]) -> None:
    """The turn is closed, and so is every item."""
    ended = [record for record in before if record.kind == kinds.TURN_COMPLETED]
    assert turn["status"] == ("completed" if ended else "interrupted")
    assert [item["id"] for item in turn["items"] if item.get("completedAtMs") is None] == []
    started = {record.data["item"]["id"] for record in before if record.kind == kinds.ITEM_STARTED}
    assert started <= {item["id"] for item in turn["items"]}
    completed = [record.data["item"]["id"] for record in after if record.kind == kinds.ITEM_COMPLETED]
    assert len(completed) == len(set(completed))


def check_picture(turn: Mapping[str, Any], before: list[Record], saved: set[str], asked: int) -> None:
    """A picture has its file, a file has its picture, and one that may have been paid for says so."""
    pictures = [item for item in turn["items"] if item["type"] == "imageGeneration"]
    assert saved == {item["savedPath"] for item in pictures if item["status"] == "completed"}
    assert asked <= 1
    paid = any(record.kind == kinds.PAID_CALL for record in before)
    for item in pictures:
        if item["status"] != "completed":
            assert (item["status"], item["error"]["type"]) == ("failed", "unknownOutcome" if paid else "cancelled")
    assert paid or not asked


async def check(crash: Crash) -> None:
    """Start again over the same home, in this process, and look at everything."""
    up, thread_id = crash.up, crash.thread_id
    asked = len(up.posts("/images/generations"))
    before_files = files_of(crash.home)
    async with serving(crash.home) as (app, client):
        before = await records_of(app, thread_id)
        reply = await client.request("thread/resume", {"threadId": thread_id, "sinceSeq": 0})
        after = await records_of(app, thread_id)
        await client.request("thread/read", {"threadId": thread_id})  # what was missed is here when its reply is
        told = durable(client)
        assert without_previews(told[: len(crash.seen)]) == without_previews(crash.seen)
        assert [seq["seq"] for _, seq in told] == sorted({seq["seq"] for _, seq in told})
        assert reply["thread"]["status"] == {"type": "idle"}
        if any(record.kind == kinds.TURN_STARTED for record in before):
            (turn,) = reply["thread"]["turns"]
            check_turn(turn, before, after)
            saved = files_of(crash.home)
            assert saved == before_files
            check_picture(turn, before, saved, asked)
            blobs = (await app.wiring()).storage.blobs
            assert await blobs.adopted_bytes() == sum(Path(path).stat().st_size for path in saved)
        up.queue[:] = [text_turn("r9", "As you say.")]
        assert (await run_turn(client, thread_id, "Well?"))["status"] == "completed"
    assert len(up.posts("/images/generations")) == asked
    history = up.posts()[-1].body["input"]
    calls = [item["call_id"] for item in history if item["type"] == "function_call"]
    assert [output["call_id"] for output in outputs(up.posts()[-1])] == calls


async def test_a_kill_at_any_record_of_a_picture_turn_loses_nothing_and_pays_nothing_twice(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        whole = await picture_turn(tmp_path / "whole", up, "never", 0)
        appends = (whole.home.cwd / APPENDS).read_text(encoding="utf-8").splitlines()
    assert {kinds.TURN_STARTED, kinds.PAID_CALL} <= {kind for line in appends for kind in line.split()}
    limiter = anyio.CapacityLimiter(SIDE_BY_SIDE)
    failures: list[str] = []

    async def kill_at(when: str, number: int) -> None:
        async with limiter, ScriptedUpstream() as up:
            try:
                crash = await picture_turn(tmp_path / f"{when}-{number}", up, when, number)
                assert crash.returncode == -signal.SIGKILL
                await check(crash)
            except Exception as error:
                failures.append(f"{when} append {number} ({appends[number]}): {_causes(error)}")

    async with anyio.create_task_group() as tasks:
        for number in range(len(appends)):
            for when in ("before", "after"):
                tasks.start_soon(kill_at, when, number)
    assert not failures, "\n".join(sorted(failures))


def _causes(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_causes(each) for each in error.exceptions)
    return f"{type(error).__name__}: {error}"
