"""How long a cluster run let people wait: for the takeover of a turn whose replica was gone, and for answers. Pure.

A takeover lasts from the blow to the record that ends the turn with `ownerLost`, written by another replica. A request
counts as asked here, across, or while the thread's owner changed, by the lease rows around it.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app_server.storage import records as kinds
from app_server.storage.base import Record
from tests.cluster.client import Asked
from tests.cluster.stored import StoredThread
from tests.cluster.trouble import Blow


@dataclass(slots=True)
class Takeovers:
    """What became of the turns that were open when their replica was taken away."""

    taken_s: list[float] = field(default_factory=list)
    """From the blow to the end of the turn, for those that another replica closed."""
    faults: list[str] = field(default_factory=list)
    ended_by_themselves: int = 0
    """Their last record was on its way, or a drained replica let them end."""


def takeovers(threads: Mapping[str, StoredThread], blows: Sequence[Blow], within_s: float) -> Takeovers:
    """Judge each blow by the logs of the threads that it hit; a thread that is hit again counts from then on."""
    found = Takeovers()
    for place, blow in enumerate(blows):
        for thread_id in sorted(blow.threads & threads.keys()):
            end = _end_of_open_turn(threads[thread_id].records, blow.at_ms)
            if end is None or any(
                thread_id in later.threads and later.at_ms < end.at_ms for later in blows[place + 1 :]
            ):
                continue
            _judge(found, blow, thread_id, end, within_s)
    return found


def _judge(found: Takeovers, blow: Blow, thread_id: str, end: Record, within_s: float) -> None:
    took_s = (end.at_ms - blow.at_ms) / 1000
    was_lost = end.data.get("reason") == "ownerLost"
    what = f"thread {thread_id}, owned by {blow.replica}, {blow.how} at {blow.at_ms}"
    if blow.how == "drained":
        if end.data["status"] != "completed":
            found.faults.append(f"{what}: its turn ended as {end.data['status']}, not by itself")
    elif took_s > within_s:
        found.faults.append(f"{what}: its turn was open for {took_s:.2f} s more (record {end.seq}, {end.data})")
    if was_lost:
        found.taken_s.append(took_s)
    else:
        found.ended_by_themselves += 1


def _end_of_open_turn(records: Sequence[Record], at_ms: int) -> Record | None:
    """The end of the turn that was open at that time; None where there was none."""
    begun = [r for r in records if r.kind == kinds.TURN_STARTED and r.at_ms <= at_ms]
    if not begun:
        return None
    ends = (r for r in records if r.kind == kinds.TURN_COMPLETED and r.data["turnId"] == begun[-1].data["turnId"])
    return next((end for end in ends if end.at_ms > at_ms), None)


@dataclass(slots=True)
class Owners:
    """Who owned each thread, as it was looked up again and again."""

    at_ms: list[int] = field(default_factory=list)
    looks: list[Mapping[str, str | None]] = field(default_factory=list)

    def add(self, at_ms: int, look: Mapping[str, str | None]) -> None:
        self.at_ms.append(at_ms)
        self.looks.append(look)

    def place_of(self, asked: Asked, blows: Sequence[Blow]) -> str:
        """Where a request was served: `here`, `across` or `changing`."""
        done_ms = asked.sent_ms + asked.took_ms
        before, behind = bisect(self.at_ms, asked.sent_ms) - 1, bisect(self.at_ms, done_ms)
        if before < 0 or behind >= len(self.looks):
            return "changing"
        owners = {look.get(asked.thread_id) for look in self.looks[before : behind + 1]}
        if len(owners) > 1 or None in owners:
            return "changing"
        (owner,) = owners
        if any(blow.owner == owner and blow.at_ms < done_ms for blow in blows):
            return "changing"
        return "here" if owner == asked.owner else "across"


def by_place(asked: Sequence[Asked], owners: Owners, blows: Sequence[Blow]) -> dict[str, list[float]]:
    """Milliseconds of the requests, by method and place."""
    found: dict[str, list[float]] = {}
    for one in asked:
        found.setdefault(f"{one.method}, {owners.place_of(one, blows)}", []).append(one.took_ms)
    return found
