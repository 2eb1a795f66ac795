"""Threads that change their replica, because it ends, is dead or slept: who follows them loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from app_server.errors import InvalidRequest
from app_server.replicas.following import JOIN_S
from app_server.replicas.takeover import look
from app_server.storage.base import LOCAL_TENANT
from app_server.storage.cluster import Cluster
from app_server.threads.manager import ThreadManager
from tests.interaction.conversation import ended, refused, run_turn, start_thread, text
from tests.interaction.test_replicas import MemoryWorld, replica_of, replicas
from tests.support.server import connected
from tests.support.upstream import text_turn

pytestmark = pytest.mark.anyio


async def test_a_replica_that_ends_lets_others_have_the_threads_in_which_nothing_runs(tmp_path: Path) -> None:
    async with replicas(MemoryWorld(tmp_path), tmp_path) as many:
        client, other = many.clients
        many.up.queue += [text_turn("r1", "Here."), text_turn("r2", "There.")]
        thread_id = await start_thread(client)
        await run_turn(client, thread_id)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        with anyio.fail_after(10):
            await many.apps[0].drain(10)
        turn = await run_turn(other, thread_id)
        told = await client.wait_for("turn/completed", turn__id=turn["id"])

        assert (turn["status"], told["turn"]["status"]) == ("completed", "completed")
        assert await many.owner(thread_id) == replica_of(many.sources[1])


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
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        thread_id = await start_thread(owner)
        dead = replica_of(many.sources[0])
        deaf(world, dead)
        watcher = world.replica().storage(LOCAL_TENANT).cluster
        assert watcher is not None
        watcher.listen(lambda hint: world.shared.kill(dead) if hint.kind == "letter" else None)
        with anyio.fail_after(JOIN_S):
            reply = await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        assert reply["thread"]["id"] == thread_id


async def test_a_client_that_saw_more_elsewhere_goes_on_where_a_thread_is_followed_late(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue.append(text_turn("r1", "Here."))
        thread_id = await start_thread(owner)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        deaf(world, replica_of(many.sources[1]))
        await run_turn(owner, thread_id)
        last = owner.notifications("turn/completed")[-1]["seq"]
        async with connected(many.apps[1]) as late:
            reply = await late.request("thread/resume", {"threadId": thread_id, "sinceSeq": last})
            await late.request("thread/read", {"threadId": thread_id})

            assert reply["lastSeq"] == last
            assert [frame for frame in late.incoming if "seq" in (frame.get("params") or {})] == []
        assert other.notifications("turn/completed")[-1]["seq"] == last


async def test_who_comes_while_a_thread_changes_its_owner_joins_those_who_follow_it_already(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        first, other = many.clients
        thread_id = await start_thread(first)
        world.shared.kill(replica_of(many.sources[0]))
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        world.shared.live_owners.add(replica_of(many.sources[0]))  # it wakes up
        threads = many.apps[0].threads
        assert threads is not None
        async with connected(many.apps[0]) as second:
            live = threads.find(thread_id)
            assert live is not None
            live.lose()
            await second.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
            followed = threads.shown(thread_id)

            assert followed is not None
            assert (threads.find(thread_id), len(followed.followers)) == (None, 2)


def deaf(world: MemoryWorld, replica: str) -> None:
    """It hears nothing of the others any more."""
    world.shared.listeners = [row for row in world.shared.listeners if row[0] != replica]


async def test_a_letter_that_its_dead_owner_did_not_take_is_answered_by_the_next_one(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        thread_id = await start_thread(owner)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        dead = replica_of(many.sources[0])
        deaf(world, dead)
        third = world.replica().storage(LOCAL_TENANT).cluster
        assert third is not None
        answered = anyio.Event()
        third.listen(lambda hint: answered.set() if hint.kind == "answered" else None)
        await third.post("command", thread_id, {"follow": third.replica})
        world.shared.kill(dead)
        with anyio.fail_after(10):
            await answered.wait()


async def test_a_replica_that_was_not_the_fastest_to_take_over_does_not_follow_what_nobody_wants_here(
    tmp_path: Path,
) -> None:
    async with replicas(MemoryWorld(tmp_path), tmp_path) as many:
        thread_id = await start_thread(many.clients[0])
        threads = many.apps[1].threads
        assert threads is not None
        with pytest.raises(InvalidRequest, match="already has an active writer"):
            await threads.close_ownerless(thread_id)
        assert threads.shown(thread_id) is None


async def test_a_turn_that_cannot_be_kept_is_not_acknowledged(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        client = many.clients[0]
        thread_id = await start_thread(client)
        world.shared.kill(replica_of(many.sources[0]))  # it does not know yet
        await many.clients[1].request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        _, message = await refused(client, "turn/start", {"threadId": thread_id, "input": text("Hello")})

        assert "taken over by another writer" in message


async def test_a_turn_whose_owner_died_between_its_answer_and_its_first_record_runs_at_the_next_one(
    tmp_path: Path,
) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many, anyio.create_task_group() as tasks:
        client, other = many.clients
        many.up.queue.append(text_turn("r1", "Here."))
        thread_id = await start_thread(client)
        dying = world.replica().storage(LOCAL_TENANT)
        assert dying.cluster is not None
        cluster, posted = dying.cluster, anyio.Event()
        cluster.listen(lambda hint: posted.set() if hint.kind == "letter" else None)

        async def answer_and_die() -> None:
            await posted.wait()  # the first letter was of who resumed
            waiting = await cluster.waiting("command", thread_id)
            assert await cluster.take(waiting[0].letter_id)
            await cluster.answer(waiting[0].letter_id, {"result": {"turn": {"id": "never"}}})
            world.shared.kill(cluster.replica)

        world.shared.kill(replica_of(many.sources[0]))
        await dying.leases.acquire(thread_id)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        posted = anyio.Event()
        tasks.start_soon(answer_and_die)
        reply = await other.request("turn/start", {"threadId": thread_id, "input": text("Hello")})
        turn = await ended(other, reply["turn"]["id"])

        assert (turn["status"], turn["id"] == "never", len(many.up.posts())) == ("completed", False, 1)


async def test_a_turn_that_comes_while_its_thread_is_being_loaded_here_waits_for_that(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        client, other = many.clients
        many.up.queue.append(text_turn("r1", "Here."))
        thread_id = await start_thread(client)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        world.shared.kill(replica_of(many.sources[0]))
        await many.sources[1].storage(LOCAL_TENANT).leases.acquire(thread_id)  # as who loads it does first

        assert (await run_turn(other, thread_id))["status"] == "completed"
