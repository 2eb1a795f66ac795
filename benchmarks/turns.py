"""Turns as the benchmark runs them: one after another, or many threads at once, and what came of each.

A turn that does not complete raises `Failed`: a figure of failed turns would be worth nothing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.client import LIMIT_S, Client, Note
from benchmarks.directive import Directive, written

DELTA: Final = "item/agentMessage/delta"
STAMP: Final = re.compile(r"T(\d+);")


class Failed(Exception):
    """A server did not do what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn that completed."""

    sent_ns: int
    ended_ns: int
    notes: tuple[Note, ...]
    """What came from its start to its end."""

    @property
    def took_ms(self) -> float:
        """From the request to `turn/completed`."""
        return (self.ended_ns - self.sent_ns) / 1e6

    def deltas(self) -> list[Note]:
        """The pieces of the answer."""
        return [note for note in self.notes if note.method == DELTA]


def start_thread(client: Client) -> str:
    """A new thread's id."""
    return str(client.request("thread/start")["thread"]["id"])


def run_turn(client: Client, thread_id: str, directive: Directive, words: str = "go") -> Turn:
    """One turn, from its request to its end. Notifications that came before are dropped."""
    client.forget()
    sent_ns = time.monotonic_ns()
    client.reply(client.post("turn/start", _params(thread_id, directive, words))).result("turn/start")
    looked = 0
    ended: Note | None = None

    def over() -> bool:
        nonlocal looked, ended
        fresh, looked = client.notes[looked:], len(client.notes)
        ended = next((note for note in fresh if note.method == "turn/completed"), None)
        return ended is not None

    client.until(over)
    assert ended is not None
    _require_completed(ended)
    return Turn(sent_ns=sent_ns, ended_ns=ended.at_ns, notes=tuple(client.notes))


def run_side_by_side(client: Client, thread_ids: Sequence[str], each: int, directive: Directive) -> float:
    """Run `each` turns in every thread, all threads at once; returns turns per second."""
    left = dict.fromkeys(thread_ids, each)
    wanted = each * len(thread_ids)
    began_s, end_s = time.monotonic(), time.monotonic() + LIMIT_S
    client.forget()
    _start_turns(client, thread_ids, directive, left)
    done = 0
    while done < wanted:
        if time.monotonic() > end_s:
            raise Failed(f"Only {done} of {wanted} turns ended within {LIMIT_S:g} s.")
        client.read(1.0)
        ended = [note for note in client.notes if note.method == "turn/completed"]
        for reply in client.replies.values():
            reply.result("turn/start")
        client.forget()
        for note in ended:
            _require_completed(note)
        done += len(ended)
        again = [thread_id for note in ended if left[thread_id := str(note.params["threadId"])]]
        _start_turns(client, again, directive, left)
    return wanted / (time.monotonic() - began_s)


def _start_turns(client: Client, thread_ids: Sequence[str], directive: Directive, left: dict[str, int]) -> None:
    for thread_id in thread_ids:
        left[thread_id] -= 1
    if thread_ids:
        client.post_all([("turn/start", _params(thread_id, directive, "go")) for thread_id in thread_ids])


def _params(thread_id: str, directive: Directive, words: str) -> dict[str, Any]:
    return {"threadId": thread_id, "input": [{"type": "text", "text": f"{words} {written(directive)}"}]}


def _require_completed(ended: Note) -> None:
    turn = ended.params["turn"]
    if turn.get("status") != "completed":
        raise Failed(f"A turn ended as {turn.get('status')}: {turn.get('error')}")
