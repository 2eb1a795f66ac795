"""The load of a cluster run: one visitor for each thread, who talks and draws in it, and watchers who follow some.

A visitor asks for a turn, waits for its end, and asks for the next one. Now and then it loses its connection in the
middle, and each time it comes back at another replica by chance, from the last record that it saw. A watcher only
follows. A refusal that says "try elsewhere" is followed as a person would: after a moment, anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from tests.cluster.client import LOST, Asked, Connection, Refused, Seen, a_moment, now_ms, opened, resume
from tests.cluster.replicas import Fleet

DRAWS_EVERY = 4
"""Turns: three of text, one with a picture."""
DROPS = 0.35
"""Share of turns in which the visitor loses its connection."""
DROP_WITHIN_S = 4.0
WATCHER_STAYS_S = 6.0


@dataclass(slots=True)
class Load:
    """What all visitors share."""

    fleet: Fleet
    tasks: TaskGroup
    limit_s: float
    """How long any turn may take, with the death of its replica in between."""
    asked: list[Asked] = field(default_factory=list)
    ending: bool = False
    """No turn is begun any more."""


class Client:
    """A client that stays with its thread whatever happens to its connections."""

    def __init__(self, load: Load, seen: Seen) -> None:
        self.load, self.seen = load, seen
        self.connection: Connection | None = None

    async def connected(self) -> Connection:
        """A connection on which the thread is followed; made anew where the last one is gone."""
        while self.connection is None or self.connection.gone:
            self.drop()
            try:
                self.connection = await opened(self.load.fleet, self.seen, self.load.tasks)
                if self.seen.thread_id:
                    await resume(self.connection, self.seen, self.load.asked.append)
            except LOST:
                await a_moment()
            except Refused as refusal:
                self.seen.refused[refusal.kind] += 1
                self.drop()
                await a_moment()
        return self.connection

    def drop(self) -> None:
        if self.connection is not None:
            self.connection.drop()
            self.connection = None

    async def until(self, holds: Callable[[], bool], what: str, *, drop_at_s: float = float("inf")) -> bool:
        """Follow until it holds; False, and a note, when that takes longer than anything may."""
        end_s = time.monotonic() + self.load.limit_s
        while not holds():
            connection = await self.connected()
            if holds():
                break
            now_s = time.monotonic()
            if now_s > end_s:
                self.seen.stuck.append(f"{what}, at {connection.replica.name}, {now_ms()}")
                return False
            if now_s > drop_at_s:
                drop_at_s = float("inf")
                self.drop()
                continue
            with anyio.move_on_after(min(1.0, end_s - now_s, max(0.0, drop_at_s - now_s)) + 0.001):
                await connection.heard()
        return True


async def visit(load: Load, seen: Seen, begun: Callable[[], None]) -> None:
    """Talk and draw in a new thread until the load ends, then wait for the end of what runs."""
    client = Client(load, seen)
    while not seen.thread_id:
        try:
            reply = await (await client.connected()).ask("thread/start", {})
            seen.thread_id = reply["thread"]["id"]
        except LOST:
            client.drop()
        except Refused as refusal:
            seen.refused[refusal.kind] += 1
            client.drop()
            await a_moment()
    begun()
    number = 0
    while not load.ending:
        number += 1
        await _turn(client, f"{seen.name}.{number}", draws=number % DRAWS_EVERY == 0)
    await client.until(lambda: not seen.running, "the end of the last turn")
    client.drop()


async def _turn(client: Client, key: str, *, draws: bool) -> None:
    load, seen = client.load, client.seen
    words = f"{'draw' if draws else 'talk'} {key}"
    connection = await client.connected()
    sent_ms, began_s = now_ms(), time.monotonic()
    try:
        asked = {"threadId": seen.thread_id, "input": [{"type": "text", "text": words}]}
        reply = await connection.ask("turn/start", asked)
    except LOST:
        seen.unknown.append(key)
        client.drop()
        await client.until(lambda: not seen.running, f"the end of what runs after {key} had no answer")
        return
    except Refused as refusal:
        seen.refused[refusal.kind] += 1
        seen.unknown.append(key)
        client.drop()
        await a_moment()
        return
    turn_id = reply["turn"]["id"]
    seen.acknowledged[turn_id] = key
    load.asked.append(
        Asked(
            method="turn/start",
            thread_id=seen.thread_id,
            owner=connection.replica.owner,
            sent_ms=sent_ms,
            took_ms=(time.monotonic() - began_s) * 1000,
        )
    )
    drop_at_s = time.monotonic() + random.uniform(0, DROP_WITHIN_S) if random.random() < DROPS else float("inf")
    ended = await client.until(
        lambda: seen.turns.get(turn_id, "inProgress") != "inProgress", f"the end of turn {turn_id}", drop_at_s=drop_at_s
    )
    if not ended:
        client.drop()


async def watch(load: Load, seen: Seen) -> None:
    """Follow a thread of somebody else, from now on, at one replica and then at another one."""
    client = Client(load, seen)
    while not load.ending:
        stays_s = random.uniform(0.5, 1.5) * WATCHER_STAYS_S
        with anyio.move_on_after(stays_s):
            while True:
                await (await client.connected()).heard()
        client.drop()
    await client.connected()
    await client.until(lambda: not seen.running, "the end of the last turn")
    client.drop()
