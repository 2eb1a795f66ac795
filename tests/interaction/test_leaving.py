"""Replicas that end, and replicas that died: what becomes of the threads that they had."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from app_server.replicas.following import JOIN_S
from app_server.replicas.takeover import look
from app_server.storage.cluster import Cluster
from app_server.threads.manager import ThreadManager
from tests.interaction.conversation import run_turn, start_thread
from tests.interaction.test_replicas import replicas
from tests.support.upstream import text_turn

pytestmark = pytest.mark.anyio


async def test_a_replica_that_ends_lets_others_have_the_threads_in_which_nothing_runs(tmp_path: Path) -> None:
    async with replicas(tmp_path) as many:
        client, other = many.clients
        many.up.queue += [text_turn("r1", "Here."), text_turn("r2", "There.")]
        thread_id = await start_thread(client)
        await run_turn(client, thread_id)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        with anyio.fail_after(10):
            await many.apps[0].drain(10)
        turn = await run_turn(other, thread_id)
        told = await client.wait_for("turn/completed", turn__id=turn["id"])
        cluster = many.sources[1].storage("local").cluster

        assert (turn["status"], told["turn"]["status"]) == ("completed", "completed")
        assert cluster is not None
        assert await cluster.owner(thread_id) == many.sources[1].replica


class Ownerless:
    """Two threads whose replica is gone, each of which can be closed when the other one is being closed, too."""

    def __init__(self) -> None:
        self.begun = {"a": anyio.Event(), "b": anyio.Event()}
        self.closed: set[str] = set()

    async def ownerless(self, limit: int) -> list[str]:
        return ["a", "b"]

    async def owner(self, thread_id: str) -> str | None:
        return None

    async def close_ownerless(self, thread_id: str) -> None:
        self.begun[thread_id].set()
        await self.begun["b" if thread_id == "a" else "a"].wait()
        self.closed.add(thread_id)


async def test_a_thread_whose_takeover_has_to_wait_holds_up_no_other() -> None:
    both: Any = Ownerless()
    with anyio.fail_after(5):
        await look(cast("Cluster", both), cast("ThreadManager", both))
    assert both.closed == {"a", "b"}


async def test_who_joins_a_thread_waits_for_its_owner_no_longer_than_there_is_one(tmp_path: Path) -> None:
    async with replicas(tmp_path) as many:
        owner, other = many.clients
        thread_id = await start_thread(owner)
        dead = many.sources[0].replica
        many.world.listeners = [row for row in many.world.listeners if row[0] != dead]  # it hears no letter
        watcher = many.world.replica().storage("local").cluster
        assert watcher is not None
        watcher.listen(lambda hint: many.world.kill(dead) if hint.kind == "letter" else None)
        with anyio.fail_after(JOIN_S):
            reply = await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        assert reply["thread"]["id"] == thread_id
