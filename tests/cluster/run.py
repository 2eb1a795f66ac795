"""One cluster run from its begin to its verdict: starts all it needs, lets load and trouble go, looks at what is left.

`__main__` runs the long one, `test_cluster_short` a short one. PostgreSQL and the processes end with it.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import orjson
from anyio.abc import Process, TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from app_server.storage import records as kinds
from app_server.storage.cluster import LEASE_TTL_S
from tests.cluster.client import LOST, Connection, Refused, Seen, now_ms, opened
from tests.cluster.judgement import StoredPicture, faults, picture_fault, stored_pictures
from tests.cluster.latency import Owners, by_place, takeovers
from tests.cluster.replicas import ROOT, Fleet, Wiring
from tests.cluster.report import Figures, spread
from tests.cluster.stored import Provided, StoredThread, left_letters, read_threads
from tests.cluster.trouble import Trouble, Troubles
from tests.cluster.visitors import Load, visit, watch
from tests.support import postgres

OWNERS_EVERY_S = 0.5
MAX_LINE_BYTES = 16 * 1024 * 1024
READS_AT_ONCE = 8
WATCHED = 4
"""Every fourth thread has a watcher beside its visitor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of everything."""

    seconds: float = 120.0
    replicas: int = 4
    threads: int = 64
    trouble_every_s: float = 5.0
    ttl_s: float = LEASE_TTL_S
    slack_s: float = 1.0
    """How much longer than a lease a takeover may last."""

    @property
    def limit_s(self) -> float:
        """Nothing may take longer: two deaths in a row, and the turn itself on a busy machine."""
        return 3 * self.ttl_s + 30


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of a run."""

    plan: Plan
    figures: Figures
    faults: list[str]


@dataclass(slots=True)
class Outside:
    """The process of the provider and the object store."""

    process: Process
    told: Mapping[str, Any] = field(default_factory=dict)

    async def ask(self) -> Mapping[str, Any]:
        """One line of JSON for one line."""
        assert self.process.stdin is not None
        await self.process.stdin.send(b"\n")
        return await self.read()

    async def read(self) -> Mapping[str, Any]:
        assert self.process.stdout is not None
        lines = BufferedByteReceiveStream(self.process.stdout)
        told: Mapping[str, Any] = orjson.loads(await lines.receive_until(b"\n", MAX_LINE_BYTES))
        return told


@asynccontextmanager
async def outside() -> AsyncIterator[Outside]:
    """It runs while the block does."""
    argv = [sys.executable, "-m", "tests.cluster.outside"]
    async with await anyio.open_process(argv, cwd=ROOT, stdin=subprocess.PIPE, stderr=None, env=os.environ) as process:
        made = Outside(process)
        try:
            made.told = await made.read()
            yield made
        finally:
            process.terminate()


async def cluster_run(plan: Plan, folder: Path) -> Outcome:
    """Run it. Skips, as pytest does, where there is no PostgreSQL."""
    url = await postgres.cluster().new_database()
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as database, outside() as world:
        wiring = Wiring(provider=world.told["provider"], blobs=world.told["blobs"], database=url, ttl_s=plan.ttl_s)
        async with anyio.create_task_group() as tasks:
            async with Fleet(wiring, folder, plan.replicas, tasks).running() as fleet:
                run = _Run(plan, fleet, database, world, tasks)
                await run.go()
            outcome = await run.outcome()
            tasks.cancel_scope.cancel()
        return outcome


class _Run:
    """The parts of one run."""

    def __init__(self, plan: Plan, fleet: Fleet, database: asyncpg.Pool, world: Outside, tasks: TaskGroup) -> None:
        self._plan, self._fleet, self._database, self._world, self._tasks = plan, fleet, database, world, tasks
        self._load = Load(fleet, tasks, plan.limit_s)
        self._trouble = Trouble(fleet, database, seconds=plan.seconds, every_s=plan.trouble_every_s)
        self._owners = Owners()
        self._seen: list[Seen] = []
        self._threads: dict[str, StoredThread] = {}
        self._faults: list[str] = []
        self._pictures_read = 0
        self._took_s = 0.0

    async def go(self) -> None:
        """Everything up to the last look."""
        for replica in self._fleet.all:
            await self._trouble.welcome(replica)
        began_s = time.monotonic()
        async with anyio.create_task_group() as looking:
            looking.start_soon(self._look_at_owners)
            async with anyio.create_task_group() as visitors:
                for number in range(self._plan.threads):
                    visitors.start_soon(self._visitor, number, visitors)
                await self._trouble.run()
                left_s = self._plan.seconds - (time.monotonic() - began_s)
                await anyio.sleep(max(0.0, left_s))
                self._load.ending = True
            looking.cancel_scope.cancel()
        self._took_s = time.monotonic() - began_s
        self._threads = await read_threads(self._database)
        await self._read_pictures()

    async def _visitor(self, number: int, visitors: TaskGroup) -> None:
        """One thread, and for some of them a watcher."""

        async def watcher(seen: Seen) -> None:
            await watch(self._load, seen)
            self._seen.append(seen)

        mine = Seen(f"t{number}")

        def begun() -> None:
            if number % WATCHED == 0:
                visitors.start_soon(watcher, Seen(f"watcher of t{number}", thread_id=mine.thread_id))

        await visit(self._load, mine, begun)
        self._seen.append(mine)

    async def _look_at_owners(self) -> None:
        while True:
            at_ms = now_ms()
            rows = await self._database.fetch("SELECT thread_id, owner FROM leases WHERE expires > clock_timestamp()")
            self._owners.add(at_ms, dict(map(tuple, rows)))
            await anyio.sleep(OWNERS_EVERY_S)

    # -- pictures
    async def _read_pictures(self) -> None:
        """Each picture that an item says was made, from a replica by chance."""
        limiter = anyio.CapacityLimiter(READS_AT_ONCE)
        async with anyio.create_task_group() as readers:
            for stored in stored_pictures(self._threads):
                readers.start_soon(self._read_picture, stored, limiter)

    async def _read_picture(self, stored: StoredPicture, limiter: anyio.CapacityLimiter) -> None:
        async with limiter:
            try:
                connection = await opened(self._fleet, Seen("reader"), self._tasks)
                data = await _picture(connection, stored.sha256)
                connection.drop()
            except (*LOST, Refused) as error:
                self._faults.append(f"the picture of {stored.key} could not be read: {error!r}")
                return
            self._pictures_read += 1
            if (fault := picture_fault(stored, data)) is not None:
                self._faults.append(fault)

    # -- the verdict
    async def outcome(self) -> Outcome:
        """What came of it; the replicas have ended."""
        told = await self._world.ask()
        provided = Provided(
            asked=told["asked"], went_on=told["went_on"], drawn=told["drawn"], unscripted=tuple(told["unscripted"])
        )
        troubles, plan = self._trouble.done, self._plan
        taken = takeovers(self._threads, troubles.blows, plan.ttl_s + plan.slack_s)
        errors = [f"{replica.name} logged {line}" for replica in self._fleet.all for line in replica.errors]
        found = [*faults(self._threads, self._seen, provided), *self._faults, *troubles.faults, *taken.faults, *errors]
        letters = await left_letters(self._database)
        asked = by_place(self._load.asked, self._owners, troubles.blows)
        figures = {
            "run": self._size(troubles),
            "turns": self._turns(provided),
            "takeover (s)": {"of open turns": spread(taken.taken_s), "ended by themselves": taken.ended_by_themselves},
            "answers (ms)": {name: spread(values, 0) for name, values in sorted(asked.items())},
            "clients": self._clients(),
            "left": {"letters": letters, "faults": len(found)},
        }
        return Outcome(plan=plan, figures=figures, faults=found)

    def _size(self, troubles: Troubles) -> dict[str, Any]:
        plan, blows = self._plan, Counter(blow.how for blow in troubles.blows)
        return {
            "seconds": round(self._took_s, 1),
            "replicas": plan.replicas,
            "threads": plan.threads,
            "lease (s)": plan.ttl_s,
            "processes": len(self._fleet.all),
            **dict(sorted(blows.items())),
            "drains (s)": ", ".join(f"{one:.1f}" for one in troubles.drains_s) or "none",
        }

    def _turns(self, provided: Provided) -> dict[str, Any]:
        ends = [
            f"{record.data['status']}{' ' + record.data['reason'] if 'reason' in record.data else ''}"
            for thread in self._threads.values()
            for record in thread.records
            if record.kind == kinds.TURN_COMPLETED
        ]
        pictures = Counter(
            f"{item['status']}{' ' + item['error']['type'] if item.get('error') else ''}"
            for thread in self._threads.values()
            for record in thread.records
            if record.kind == kinds.ITEM_COMPLETED and (item := record.data["item"])["type"] == "imageGeneration"
        )
        return {
            **dict(sorted(Counter(ends).items())),
            **{f"pictures {how}": count for how, count in sorted(pictures.items())},
            "pictures read back": self._pictures_read,
            "records": sum(len(thread.records) for thread in self._threads.values()),
            "provider asked": sum(provided.asked.values()) + sum(provided.went_on.values()),
        }

    def _clients(self) -> dict[str, Any]:
        streamed = [pair for seen in self._seen for pair in seen.streamed]
        refused: Counter[str] = Counter()
        for seen in self._seen:
            refused.update(seen.refused)
        return {
            "clients": len(self._seen),
            "connections": sum(seen.connections for seen in self._seen),
            "notifications with a record": sum(len(seen.rows) for seen in self._seen),
            "turns acknowledged": sum(len(seen.acknowledged) for seen in self._seen),
            "turns without an answer": sum(len(seen.unknown) for seen in self._seen),
            "messages whole by their pieces": f"{sum(one == whole for one, whole in streamed)} of {len(streamed)}",
            **{f"refused: {what}": count for what, count in refused.most_common(12)},
        }


async def _picture(connection: Connection, sha256: str) -> bytes:
    data = b""
    offset: int | None = 0
    while offset is not None:
        piece = await connection.ask("image/read", {"sha256": sha256, "offset": offset})
        data += base64.b64decode(piece["data"])
        offset = piece["nextOffset"]
    return data
