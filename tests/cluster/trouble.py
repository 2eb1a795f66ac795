"""What happens to the replicas of a cluster run: killed one after another, one stopped and woken up, one drained.

    every few seconds    SIGKILL to one of those that are ready, and a new process in its place
    once                 SIGSTOP for longer than a lease lives, then SIGCONT
    once                 SIGTERM, and a new process when it has ended

Each is noted with the threads that the replica owned at that moment, as the table of leases says. A replica is only
taken away while another one is ready: somebody has to take its threads over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
import asyncpg

from tests.cluster.client import Connection, Seen, now_ms
from tests.cluster.replicas import Fleet, Replica
from tests.support.streams import websocket

STALL_AT, DRAIN_AT = 0.3, 0.6
"""Of the time."""
LONGER_THAN_A_LEASE_S = 3.0
OWNED = "SELECT thread_id FROM leases WHERE owner = $1 AND last_seq IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blow:
    """Something that took a replica away from its threads. `how`: killed, stopped or drained."""

    how: str
    replica: str
    owner: str
    at_ms: int
    threads: frozenset[str]


@dataclass(slots=True)
class Troubles:
    """What was done so far."""

    blows: list[Blow] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Of replicas that did not end as they should."""
    drains_s: list[float] = field(default_factory=list)


class Trouble:
    """Does it all, for so many seconds."""

    def __init__(self, fleet: Fleet, database: asyncpg.Pool, *, seconds: float, every_s: float) -> None:
        self.done = Troubles()
        self._fleet, self._database = fleet, database
        self._seconds, self._every_s = seconds, every_s

    async def welcome(self, replica: Replica) -> None:
        """Learn under which name it owns its threads, by a thread that is made there; then let clients in."""
        seen = Seen("welcome")
        async with websocket(replica.url) as stream, anyio.create_task_group() as tasks:
            connection = Connection(stream, replica, seen.take)
            tasks.start_soon(connection.read)
            await connection.initialize()
            thread_id = (await connection.ask("thread/start", {}))["thread"]["id"]
            replica.owner = await self._database.fetchval("SELECT owner FROM leases WHERE thread_id = $1", thread_id)
            connection.drop()
        self._fleet.let_in(replica)

    async def run(self) -> None:
        """Returns when the time is over and every replica is there again."""
        began_s = time.monotonic()
        plan = self._plan()
        async with anyio.create_task_group() as tasks:
            for at_s, what in plan:
                await anyio.sleep(max(0.0, began_s + at_s - time.monotonic()))
                chosen = await self._spare()
                if time.monotonic() - began_s > self._seconds:
                    break
                chosen.ready = False
                tasks.start_soon({"kill": self._kill, "stall": self._stall, "drain": self._drain}[what], chosen)

    def _plan(self) -> Iterator[tuple[float, str]]:
        single = {"stall": STALL_AT * self._seconds, "drain": DRAIN_AT * self._seconds}
        kills = [(at_s, "kill") for at_s in _steps(self._every_s, self._seconds)]
        return iter(sorted([*kills, *((at_s, what) for what, at_s in single.items())]))

    async def _spare(self) -> Replica:
        """One that may go, as soon as another one stays."""
        return random.choice(await self._fleet.several_ready(2))

    async def _kill(self, replica: Replica) -> None:
        at_ms = now_ms()
        await self._fleet.kill(replica)
        await self._note("killed", replica, at_ms)
        await self._again(replica)

    async def _stall(self, replica: Replica) -> None:
        at_ms = now_ms()
        self._fleet.stop(replica)
        await self._note("stopped", replica, at_ms)
        await anyio.sleep(self._fleet.wiring.ttl_s + LONGER_THAN_A_LEASE_S)
        self._fleet.go_on(replica)

    async def _drain(self, replica: Replica) -> None:
        await self._note("drained", replica, now_ms())
        began_s = time.monotonic()
        status = await self._fleet.drain(replica)
        self.done.drains_s.append(time.monotonic() - began_s)
        if status != 0:
            self.done.faults.append(f"{replica.name} ended with {status} after SIGTERM")
        await self._again(replica)

    async def _again(self, replica: Replica) -> None:
        place = self._fleet.now.index(replica)
        await self.welcome(await self._fleet.start(place))

    async def _note(self, how: str, replica: Replica, at_ms: int) -> None:
        rows = await self._database.fetch(OWNED, replica.owner)
        threads = frozenset(thread_id for (thread_id,) in rows)
        self.done.blows.append(Blow(how=how, replica=replica.name, owner=replica.owner, at_ms=at_ms, threads=threads))


def _steps(every_s: float, until_s: float) -> list[float]:
    count = int(until_s / every_s)
    return [every_s * (number + 0.7) for number in range(count)]
