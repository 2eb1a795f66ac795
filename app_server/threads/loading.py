"""A stored thread on its way into memory: its records are read once, and what a dead process left open is closed.

`manager.py` holds the lease by then and keeps what comes of it. Nothing here decides who may load a thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app_server.errors import InvalidRequest
from app_server.threads.live_thread import LiveThread, ThreadDeps
from app_server.threads.replay import OWNER_LOST, advance, closing_records, open_pictures, replay
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.pictures.rescue import Rescued
    from app_server.storage.base import Lease, Record, ThreadLog, ThreadRow
    from app_server.threads.following import FollowedThread
    from app_server.threads.replay import ThreadState
    from app_server.turns.engine import Turn


@frozen
class Loaded:
    """A loaded thread; with what was read for it, when it was not loaded before."""

    live: LiveThread | FollowedThread
    """Of this process, or followed where another replica writes it."""
    records: Sequence[Record] = ()
    state: ThreadState | None = None
    """What these records tell, turns included. The caller's own."""

    @property
    def ours(self) -> LiveThread:
        """The thread of this process. Raises InvalidRequest where another replica has it by now: ask again."""
        if isinstance(self.live, LiveThread):
            return self.live
        raise InvalidRequest(
            f"thread {self.live.thread_id} has just got another writer; send the request again",
            data_code="threadHasWriter",
        )

    @property
    def fresh(self) -> bool:
        return self.state is not None


async def load_stored(row: ThreadRow, lease: Lease, log: ThreadLog, deps: ThreadDeps) -> Loaded:
    """The live thread of a stored one. A turn that a dead process left open is closed in the log first.

    One that was handed over stays open: the manager goes on with it."""
    records = await log.read(row.thread_id)
    state = replay(records)
    closing: list[Record] = []
    if state.handed_over is None:
        rescued = await _rescued(row.thread_id, state, deps)
        closing = closing_records(state, deps.clock.now_ms(), rescued, reason=OWNER_LOST)
    if closing:
        await log.append(lease, closing)
        closed = await log.read(row.thread_id, after_seq=state.last_seq)
        advance(state, closed)
        records += closed
    live = LiveThread(row=row, lease=lease, log=log, state=state, deps=deps, last_seq=state.last_seq)
    return Loaded(live=live, records=records, state=state)


def handed_over(loaded: Loaded, now_ms: int) -> Turn | None:
    """The turn of a thread that was just loaded to go on with, where its last replica left one."""
    if loaded.state is None or (handed := loaded.state.handed_over) is None:
        return None
    begun_at_ms = loaded.state.turns[handed["turnId"]].started_at_ms or now_ms
    return loaded.ours.continue_turn(handed["turnId"], begun_at_ms, handed["outputSchema"])


async def _rescued(thread_id: str, state: ThreadState, deps: ThreadDeps) -> dict[str, Rescued]:
    """Pictures that a dead process saved and did not record, by item."""
    if deps.rescue is None:
        return {}
    looked = {str(item["id"]): await deps.rescue(thread_id, item) for item in open_pictures(state)}
    return {item_id: found for item_id, found in looked.items() if found is not None}
