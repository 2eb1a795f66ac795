"""The load of a soak: visitors that come, work in threads of their own, go away in the middle of things, clean up.

One visit over a websocket: a turn of text, a picture, one with an attached picture, a turn that is interrupted, one
that goes on while its client drops the connection and another one resumes it, reading, forking, archiving,
unsubscribing, deleting. A visitor on pipes does the same without dropping. Every visit deletes what it made: what is
there afterwards was left behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

from tests.soak.client import SoakClient
from tests.soak.upstream import SoakUpstream
from tests.support.bell import Bell
from tests.support.pictures import data_url, png
from tests.support.streams import websocket

VISIT_TIMEOUT_S = 300.0
SLOW = "slowly, please"
DELTA = "item/agentMessage/delta"
Connect = Callable[[], AbstractAsyncContextManager[SoakClient]]


class Pace:
    """How long visitors rest between two steps: longer when the machine is busy; and the pauses of all."""

    def __init__(self) -> None:
        self.rest_s = 0.02
        self._paused = False
        self._resting = 0
        self._bell = Bell()

    async def step(self) -> None:
        await anyio.sleep(self.rest_s)

    async def between_visits(self) -> None:
        """Where visitors wait while a figure is taken at rest."""
        self._resting += 1
        self._bell.ring()
        await self._bell.until(lambda: not self._paused, VISIT_TIMEOUT_S, lambda: "the end of a pause")
        self._resting -= 1

    async def pause(self, visitors: int) -> None:
        """Return when so many visitors rest; they do until `go_on`."""
        self._paused = True
        await self._bell.until(lambda: self._resting == visitors, VISIT_TIMEOUT_S, lambda: "the end of all visits")

    def go_on(self) -> None:
        self._paused = False
        self._bell.ring()

    def adapt(self, cores_busy: float) -> None:
        """Keep clients and servers together below one core."""
        factor = 1.3 if cores_busy > 0.8 else 0.8 if cores_busy < 0.6 else 1.0
        self.rest_s = min(2.0, max(0.005, self.rest_s * factor))


@asynccontextmanager
async def over_websocket(url: str) -> AsyncIterator[SoakClient]:
    async with websocket(url) as stream, anyio.create_task_group() as tasks, SoakClient(stream, tasks) as client:
        yield client


class Visitor:
    """Visits again and again. `done` counts what it did."""

    def __init__(self, connect: Connect, up: SoakUpstream, pace: Pace, done: Counter[str], *, drops: bool) -> None:
        self._connect, self._up, self._pace, self._done, self._drops = connect, up, pace, done, drops

    async def run(self) -> None:
        """Until cancelled."""
        visits = 0
        while True:
            await self._pace.between_visits()
            await self._visit(visits)
            visits += 1

    async def _visit(self, number: int) -> None:
        async with self._connect() as client:
            ephemeral = number % 5 == 4
            thread_id = (await client.ask("thread/start", {"ephemeral": ephemeral}))["thread"]["id"]
            await self._turn(client, thread_id, "Hello there", "text")
            self._up.next_picture()
            await self._turn(client, thread_id, "draw a fox", "picture")
            picture = {"type": "image", "url": data_url(png(32, 32, (number % 256, number // 256 % 256, 7)))}
            await self._turn(client, thread_id, "What is this?", "attached picture", picture)
            await self._interrupted(client, thread_id)
            if not ephemeral:
                await self._looked_at(client, thread_id)
                if self._drops:
                    turn_id = await self._begin(client, thread_id, SLOW)
                    await client.hears(DELTA, client.heard[DELTA] + 5)
                    seq = client.seqs[thread_id]
            if ephemeral or not self._drops:
                await self._cleaned(client, thread_id, ephemeral=ephemeral)
                return
        async with self._connect() as client:  # the one above is gone; its turn goes on
            await self._resumed(client, thread_id, turn_id, seq)
            await self._cleaned(client, thread_id, ephemeral=False)

    async def _begin(self, client: SoakClient, thread_id: str, words: str, *more: Any) -> str:
        await self._pace.step()
        asked = {"threadId": thread_id, "input": [{"type": "text", "text": words}, *more]}
        return str((await client.ask("turn/start", asked))["turn"]["id"])

    async def _turn(self, client: SoakClient, thread_id: str, words: str, kind: str, *more: Any) -> None:
        status = await client.turn_end(await self._begin(client, thread_id, words, *more))
        assert status == "completed", f"a turn ({kind}) ended {status}"
        self._done[f"turns: {kind}"] += 1

    async def _interrupted(self, client: SoakClient, thread_id: str) -> None:
        turn_id = await self._begin(client, thread_id, SLOW)
        await client.hears(DELTA, client.heard[DELTA] + 3)
        await client.ask("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
        assert await client.turn_end(turn_id) == "interrupted"
        self._done["turns: interrupted"] += 1

    async def _looked_at(self, client: SoakClient, thread_id: str) -> None:
        """Reading, forking and archiving."""
        for method, params in (
            ("thread/read", {"threadId": thread_id, "includeTurns": True}),
            ("thread/list", {"limit": 10}),
            ("model/list", {}),
            ("thread/name/set", {"threadId": thread_id, "name": "A soaked thread"}),
        ):
            await self._pace.step()
            await client.ask(method, params)
        fork_id = (await client.ask("thread/fork", {"threadId": thread_id}))["thread"]["id"]
        await client.ask("thread/archive", {"threadId": fork_id})
        await client.ask("thread/unarchive", {"threadId": fork_id})
        await client.ask("thread/delete", {"threadId": fork_id})
        self._done["forks, archived and deleted"] += 1

    async def _resumed(self, client: SoakClient, thread_id: str, turn_id: str, seq: int) -> None:
        """Take a thread up again whose turn went on: what was missed comes, then what is new."""
        await client.ask("thread/resume", {"threadId": thread_id, "sinceSeq": seq, "excludeTurns": True})
        assert await client.turn_end(turn_id) == "completed"
        self._done["connections dropped in a turn, and resumed"] += 1

    async def _cleaned(self, client: SoakClient, thread_id: str, *, ephemeral: bool) -> None:
        await self._pace.step()
        if not ephemeral:  # one that nobody follows is gone already
            await client.ask("thread/unsubscribe", {"threadId": thread_id})
        await client.ask("thread/delete", {"threadId": thread_id})
        self._done["visits"] += 1
