"""Two server processes on PostgreSQL and an S3 store; the one that runs a turn with a picture is killed in the middle.

The other one takes the thread over within the life of a lease and a second. Here a lease lives for two seconds.
"""

from __future__ import annotations

import hashlib
import signal
import sys
from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.cluster.replicas import Fleet, Replica, Wiring
from tests.interaction.conversation import Client, imagegen, outputs, run_turn, start_thread, start_turn
from tests.support import postgres, s3
from tests.support.client import Frame, ws_client
from tests.support.pictures import png
from tests.support.replica_server import DIES_BEFORE
from tests.support.upstream import Gate, Reply, ScriptedUpstream, image_reply, sse, text_turn

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL"),
]
TTL_S = 2.0
TAKEOVER_S = TTL_S + 1.0
PICTURE = png(20, 10)


@dataclass
class Two:
    """The replica that runs the turn, the other one, and a client of each."""

    up: ScriptedUpstream
    owner: Replica
    client: Client
    other: Client
    thread_id: str = ""
    turn_id: str = ""
    gate: Gate = field(default_factory=Gate)


@asynccontextmanager
async def two_replicas(folder: Path, env: dict[str, str]) -> AsyncIterator[Two]:
    """`env`: what the first one is started with."""
    url = await postgres.cluster().new_database()
    async with ScriptedUpstream() as up, anyio.create_task_group() as tasks:
        wiring = Wiring(provider=up.base_url, database=url, blobs=s3.blobs_url(s3.new_bucket()), ttl_s=TTL_S)
        fleet = Fleet(wiring, folder, 2, tasks)
        try:
            first, second = await fleet.start(0, env), await fleet.start(1)
            async with ws_client(second.url) as other, ws_client(first.url) as client:
                for each in (client, other):
                    await each.initialize()
                yield Two(up, first, client, other)
        finally:
            await fleet.end()
            await postgres.cluster().drop(url)


async def begin(two: Two) -> None:
    """A turn that asks for a picture runs at the first replica, and a client follows it at the second one."""
    two.up.queue.append(sse("r1", imagegen("call_1", prompt="a whale")))
    two.thread_id = await start_thread(two.client)
    await two.other.request("thread/resume", {"threadId": two.thread_id, "excludeTurns": True})
    two.turn_id = await start_turn(two.client, two.thread_id, "Draw a whale")
    await two.up.wait_posts(1, "/images/generations")


async def taken_over(two: Two) -> Frame:
    """The end of the turn as the second replica tells it; the first one is dead."""
    closed: Frame = await two.other.wait_for("turn/completed", timeout_s=TAKEOVER_S, turn__id=two.turn_id)
    return closed


def told(client: Client) -> list[tuple[int, str]]:
    return [(f["params"]["seq"], f["method"]) for f in client.incoming if "seq" in (f.get("params") or {})]


def picture_of(client: Client) -> dict[str, Any]:
    (item,) = [f["item"] for f in client.notifications("item/completed") if f["item"]["type"] == "imageGeneration"]
    found: dict[str, Any] = item
    return found


async def check_thread(two: Two, closed: Frame, answer: str) -> None:
    """The turn is closed and all of it; the follower has heard everything once; the thread goes on, and nothing is paid
    again. `answer`: what the model is told of its call."""
    followed = told(two.other)
    two.other.incoming.clear()
    reply = await two.other.request("thread/resume", {"threadId": two.thread_id, "sinceSeq": 0})
    (turn,) = reply["thread"]["turns"]
    two.up.queue.append(text_turn("r2", "As you say."))
    again = await run_turn(two.other, two.thread_id, "Well?")

    assert (closed["turn"]["status"], closed["reason"]) == ("interrupted", "ownerLost")
    assert (turn["id"], turn["status"], again["status"]) == (two.turn_id, "interrupted", "completed")
    assert [item["id"] for item in turn["items"] if item.get("completedAtMs") is None] == []
    assert [row for row in told(two.other) if row[0] <= followed[-1][0]] == followed
    assert [answer in str(output["output"]) for output in outputs(two.up.posts()[-1])] == [True]
    assert len(two.up.posts("/images/generations")) == 1


async def test_a_picture_that_was_asked_for_and_not_answered_is_told_as_an_unknown_outcome(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, {}) as two:
        two.up.images.append(Reply(hold=two.gate))
        await begin(two)
        await two.gate.wait_reached()
        await two.other.wait_for("item/started", item__type="imageGeneration")
        two.owner.process.send_signal(signal.SIGKILL)
        closed = await taken_over(two)
        item = picture_of(two.other)

        assert (item["status"], item["error"]["type"]) == ("failed", "unknownOutcome")
        await check_thread(two, closed, "whether it was made and paid for is not known")


async def test_a_picture_whose_bytes_were_kept_when_its_maker_died_is_the_threads(tmp_path: Path) -> None:
    async with two_replicas(tmp_path, {DIES_BEFORE: "imageGeneration"}) as two:
        two.up.images.append(image_reply(PICTURE))
        await begin(two)
        with anyio.fail_after(10):
            assert await two.owner.process.wait() == -signal.SIGKILL
        closed = await taken_over(two)
        item = picture_of(two.other)
        read = await two.other.request("image/read", {"threadId": two.thread_id, "itemId": item["id"]})

        assert (item["status"], item["sha256"]) == ("completed", hashlib.sha256(PICTURE).hexdigest())
        assert b64decode(read["data"]) == PICTURE
        await check_thread(two, closed, "was made")
