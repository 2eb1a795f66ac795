"""Several replicas of one server over one storage: a client of any of them has the same threads, turns and pictures."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import anyio
import pytest
from anyio.lowlevel import checkpoint

from app_server.bootstrap import App
from app_server.storage.base import LOCAL_TENANT, StorageSource
from app_server.storage.memory import MemoryStorageWorld
from app_server.storage.postgres.database import PostgresDatabase
from app_server.storage.postgres.source import PostgresSource
from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    picture_home,
    refused,
    run_turn,
    start_thread,
    start_turn,
)
from tests.support.client import Frame
from tests.support.pictures import png
from tests.support.postgres import ask
from tests.support.postgres import cluster as postgres
from tests.support.server import connected
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    completed,
    created,
    function_call,
    image_reply,
    item_added,
    item_done,
    text_delta,
    text_turn,
)

pytestmark = pytest.mark.anyio
MESSAGE: dict[str, Any] = {"type": "message", "id": "m1", "role": "assistant", "content": []}
WHOLE = {**MESSAGE, "content": [{"type": "output_text", "text": "One two three.", "annotations": []}]}


class World(Protocol):
    """What the replicas share."""

    def replica(self) -> StorageSource: ...

    async def dies(self, source: StorageSource) -> None:
        """A replica is gone: nothing that it writes is kept from now on."""
        ...

    async def letters(self) -> int:
        """How many are there."""
        ...


class MemoryWorld:
    def __init__(self, folder: Path) -> None:
        self.shared = MemoryStorageWorld(home=folder)

    def replica(self) -> StorageSource:
        return self.shared.replica()

    async def dies(self, source: StorageSource) -> None:
        self.shared.kill(replica_of(source))

    async def letters(self) -> int:
        return sum(len(letters) for letters in self.shared.letters.values())


class PostgresWorld:
    """A database; pictures are in this process's memory. Who is dead has lost its leases to nobody."""

    def __init__(self, folder: Path, url: str) -> None:
        self._url, self._blobs = url, MemoryStorageWorld(home=folder).process().blobs

    def replica(self) -> StorageSource:
        return PostgresSource(PostgresDatabase(self._url), lambda tenant: self._blobs)

    async def dies(self, source: StorageSource) -> None:
        gone = (
            "UPDATE leases SET owner = owner || ' dead', expires = clock_timestamp() WHERE owner = $1 RETURNING owner"
        )
        await ask(self._url, gone, replica_of(source))

    async def letters(self) -> int:
        return int((await ask(self._url, "SELECT count(*) FROM letters"))[0][0])


def replica_of(source: StorageSource) -> str:
    cluster = source.storage(LOCAL_TENANT).cluster
    assert cluster is not None
    return cluster.replica


@pytest.fixture(params=["memory", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        return MemoryWorld(tmp_path)
    return PostgresWorld(tmp_path, await postgres().new_database())


@dataclass
class Replicas:
    """Two replicas, each with a client of its own."""

    up: ScriptedUpstream
    sources: list[StorageSource]
    apps: list[App]
    clients: list[Client]

    async def owner(self, thread_id: str) -> str | None:
        """The replica that has the thread, as the last one sees it."""
        cluster = self.sources[-1].storage(LOCAL_TENANT).cluster
        assert cluster is not None
        return await cluster.owner(thread_id)


@asynccontextmanager
async def replicas(world: World, folder: Path) -> AsyncIterator[Replicas]:
    async with ScriptedUpstream() as up, AsyncExitStack() as stack:
        made = Replicas(up, [world.replica() for _ in range(2)], [], [])
        for number, source in enumerate(made.sources):
            home = picture_home(folder / str(number), up)
            app = await stack.enter_async_context(App(replace(home.options(), source=source)).running())
            made.apps.append(app)
            client = await stack.enter_async_context(connected(app))
            await client.request("thread/loaded/list", {})  # the replica is built, and hears the others
            made.clients.append(client)
        yield made


def spoken(*gates: Gate) -> Reply:
    """A message of three pieces; the upstream halts behind the first two."""
    one, two = gates
    pieces = [text_delta("m1", "One "), one, text_delta("m1", "two "), two, text_delta("m1", "three.")]
    return Reply(events=[created("r1"), item_added(MESSAGE), *pieces, item_done(WHOLE), completed("r1")])


def of_thread(client: Client, method: str) -> list[Any]:
    return client.notifications(method)


def seqs(client: Client) -> list[int]:
    """The numbers of all records that this client was told of."""
    return [frame["params"]["seq"] for frame in client.incoming if "seq" in frame.get("params", {})]


def said(client: Client, item_id: str) -> str:
    pieces = of_thread(client, "item/agentMessage/delta")
    return "".join(piece["delta"] for piece in pieces if piece["itemId"] == item_id)


async def test_a_turn_that_is_started_at_another_replica_runs_at_the_owner_and_both_clients_see_all_of_it(
    world: World, tmp_path: Path
) -> None:
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue += [text_turn("r1", "Hello there.")]
        thread_id = await start_thread(owner)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn = await run_turn(other, thread_id)
        await ended(owner, turn["id"])

        def numbered(client: Client) -> list[tuple[str, int]]:
            return [(f["method"], f["params"]["seq"]) for f in client.incoming if "seq" in f.get("params", {})]

        assert turn["status"] == "completed"
        assert numbered(other) == [row for row in numbered(owner) if row[1] > 1]
        methods = [frame.get("method", "reply") for frame in other.incoming]
        assert methods.index("turn/started") > max(i for i, name in enumerate(methods) if name == "reply")
        assert await many.owner(thread_id) == replica_of(many.sources[0])


async def test_a_client_that_comes_to_another_replica_in_the_middle_of_a_message_has_all_of_its_text_once(
    world: World, tmp_path: Path
) -> None:
    one, two = Gate(), Gate()
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue += [spoken(one, two)]
        thread_id = await start_thread(owner)
        turn_id = await start_turn(owner, thread_id)
        await one.wait_reached()
        await owner.wait_for("item/agentMessage/delta")
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        begun = await other.wait_for("item/started", item__type="agentMessage")
        one.open.set()
        await two.wait_reached()
        await other.wait_until(lambda: said(other, begun["item"]["id"]) == "One two ", "the second piece")
        two.open.set()
        done = await other.wait_for("item/completed", item__type="agentMessage")
        await ended(other, turn_id)

        assert (said(other, begun["item"]["id"]), done["item"]["text"]) == ("One two three.", "One two three.")


async def test_an_interrupt_from_another_replica_ends_the_turn(world: World, tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue += [spoken(one, two)]
        thread_id = await start_thread(owner)
        turn_id = await start_turn(owner, thread_id)
        await one.wait_reached()
        assert await other.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id}) == {}
        turn = await ended(owner, turn_id)

        assert turn["status"] == "interrupted"


async def test_what_the_owner_refuses_is_refused_in_its_words_at_another_replica(world: World, tmp_path: Path) -> None:
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        thread_id = await start_thread(owner)
        params = {"threadId": thread_id, "turnId": "019a0000-0000-7000-8000-000000000001"}

        assert await refused(other, "turn/interrupt", params) == await refused(owner, "turn/interrupt", params)
        assert await world.letters() == 0


async def test_names_and_new_threads_are_told_to_clients_of_every_replica_once(world: World, tmp_path: Path) -> None:
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        thread_id = await start_thread(owner)
        await other.wait_for("thread/started", thread__id=thread_id)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        await other.request("thread/name/set", {"threadId": thread_id, "name": "Foxes"})
        await owner.wait_for("thread/name/updated", threadName="Foxes")
        await other.wait_for("thread/name/updated", threadName="Foxes")
        await other.request("thread/read", {"threadId": thread_id})

        assert len(other.notifications("thread/name/updated")) == 1
        assert len(owner.notifications("thread/name/updated")) == 1


async def test_another_replica_closes_the_turn_of_a_dead_one_without_a_gap(world: World, tmp_path: Path) -> None:
    one, two = Gate(), Gate()
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue += [spoken(one, two), text_turn("r2", "Again.")]
        thread_id = await start_thread(owner)
        reply = await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn_id = await start_turn(owner, thread_id)
        await one.wait_reached()
        await other.wait_for("item/agentMessage/delta")
        await world.dies(many.sources[0])
        closed = await other.wait_for("turn/completed", turn__id=turn_id)
        item = of_thread(other, "item/completed")[-1]["item"]
        again = await run_turn(other, thread_id)

        assert (closed["turn"]["status"], closed["reason"]) == ("interrupted", "ownerLost")
        assert (item["type"], again["status"]) == ("agentMessage", "completed")
        told = seqs(other)
        assert told == sorted(set(told))
        assert min(told) > reply["lastSeq"]


async def test_an_owner_that_slept_is_fenced_off_and_its_clients_go_on_at_the_new_one(
    world: World, tmp_path: Path
) -> None:
    one, two = Gate(), Gate()
    async with replicas(world, tmp_path) as many:
        sleeper, other = many.clients
        many.up.queue += [spoken(one, two), text_turn("r2", "Again.")]
        thread_id = await start_thread(sleeper)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn_id = await start_turn(sleeper, thread_id)
        await one.wait_reached()
        await world.dies(many.sources[0])
        await other.wait_for("turn/completed", turn__id=turn_id)
        if isinstance(world, MemoryWorld):
            world.shared.live_owners.add(replica_of(many.sources[0]))  # it wakes up
        one.open.set()
        two.open.set()
        closed = await sleeper.wait_for("turn/completed", turn__id=turn_id)
        again = await run_turn(sleeper, thread_id)
        await ended(other, again["id"])

        assert (closed["reason"], again["status"]) == ("ownerLost", "completed")
        assert many.apps[0]._wiring is not None
        assert many.apps[0]._wiring.threads.find(thread_id) is None
        assert seqs(sleeper) == sorted(set(seqs(sleeper)))


async def test_a_picture_is_shown_to_a_client_of_another_replica(world: World, tmp_path: Path) -> None:
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        call = Reply(events=[created("r1"), *imagegen("call_1", prompt="A fox."), completed("r1")])
        many.up.queue += [call, text_turn("r2", "There.")]
        many.up.images.append(image_reply(png()))
        thread_id = await start_thread(owner)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn = await run_turn(other, thread_id, "A fox, please.")
        ours = await owner.wait_for("item/completed", item__type="imageGeneration")
        theirs = await other.wait_for("item/completed", item__type="imageGeneration")

        assert (turn["status"], ours) == ("completed", theirs)


async def test_a_question_of_a_thread_is_answered_by_a_client_of_another_replica(world: World, tmp_path: Path) -> None:
    tool = {"name": "weather", "description": "The weather.", "inputSchema": {"type": "object", "properties": {}}}
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        call = Reply(events=[created("r1"), *function_call("call_1", "weather", {}), completed("r1")])
        many.up.queue += [call, text_turn("r2", "Sunny.")]
        thread_id = await start_thread(owner, dynamicTools=[tool])
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        await owner.request("thread/unsubscribe", {"threadId": thread_id})
        turn_id = await start_turn(other, thread_id)
        asked = await other.wait_for_request("item/tool/call")
        await other.reply(asked.id, {"success": True, "contentItems": [{"type": "inputText", "text": "Sun."}]})
        turn = await ended(other, turn_id)

        assert turn["status"] == "completed"
        outputs = [item for item in many.up.posts()[-1].body["input"] if item["type"] == "function_call_output"]
        assert "Sun." in str(outputs)
        assert await world.letters() == 0


async def test_a_command_that_nobody_took_is_served_where_the_client_is_when_the_owner_is_gone(tmp_path: Path) -> None:
    world = MemoryWorld(tmp_path)
    async with replicas(world, tmp_path) as many:
        owner, other = many.clients
        many.up.queue += [text_turn("r1", "Here.")]
        thread_id = await start_thread(owner)
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        posted = anyio.Event()
        world.shared.listeners = [row for row in world.shared.listeners if row[0] != replica_of(many.sources[0])]
        watcher = world.replica().storage("local").cluster
        assert watcher is not None
        watcher.listen(lambda hint: posted.set() if hint.kind == "letter" else None)
        async with anyio.create_task_group() as tasks:
            done: list[Frame] = []

            async def turn() -> None:
                done.append(await run_turn(other, thread_id))

            tasks.start_soon(turn)
            await posted.wait()
            await world.dies(many.sources[0])

        assert done[0]["status"] == "completed"
        assert len(many.up.posts()) == 1


async def test_a_replica_that_ends_takes_no_thread_any_more(world: World, tmp_path: Path) -> None:
    async with replicas(world, tmp_path) as many:
        source: StorageSource = many.sources[0]
        source.drain()

        code, message = await refused(many.clients[0], "thread/start", {})
        assert (code, "another one serves you" in message) == (-32603, True)
        assert await start_thread(many.clients[1])


async def test_a_turn_of_a_replica_that_ends_goes_on_at_another_behind_its_last_item(
    world: World, tmp_path: Path
) -> None:
    tool = {"name": "weather", "description": "The weather.", "inputSchema": {"type": "object", "properties": {}}}
    async with replicas(world, tmp_path) as many:
        leaving, other = many.clients
        call = Reply(events=[created("r1"), *function_call("call_1", "weather", {}), completed("r1")])
        many.up.queue += [call, text_turn("r2", "Sunny."), text_turn("r3", "Still here.")]
        thread_id = await start_thread(leaving, dynamicTools=[tool])
        await other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        turn_id = await start_turn(leaving, thread_id)
        asked = await leaving.wait_for_request("item/tool/call")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(many.apps[0].drain, 10)
            await checkpoint()
            await leaving.reply(asked.id, {"success": True, "contentItems": [{"type": "inputText", "text": "Sun."}]})
        turn = await ended(other, turn_id)
        code, _ = await refused(leaving, "thread/start", {})
        again = await run_turn(other, thread_id)

        assert (turn["status"], turn["items"][0]["text"], again["status"]) == ("completed", "Sunny.", "completed")
        assert code == -32603
        assert len(other.notifications("turn/started")) == 2
        assert await many.owner(thread_id) == replica_of(many.sources[1])
        assert len(many.up.posts()) == 3
        assert seqs(other) == sorted(set(seqs(other)))
