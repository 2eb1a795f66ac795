"""A thread that another replica writes, as clients of this one see it; and the seam through which it is followed.

    Elsewhere        declared here, used by the thread manager, filled by `replicas/following`
    FollowedThread   what replies tell of such a thread; it grows by the records of the log alone

No client can tell it from a loaded thread, but that it takes no turn: requests for it go to its owner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from app_server.storage import records as kinds
from app_server.threads.joining import Notification, Pieces
from app_server.threads.missed import step
from app_server.threads.settings import environments
from app_server.threads.view import Status, status_object, thread_object

if TYPE_CHECKING:
    from app_server.storage.base import Record, ThreadRow
    from app_server.threads.live_thread import LiveThread
    from app_server.threads.replay import ThreadState
    from app_server.turns.context import Settings

BROADCAST: Final = frozenset({"thread/name/updated", "thread/reverted"})
"""What the owner tells every client, so followers are told already."""


class Elsewhere(Protocol):
    """The threads that other replicas write."""

    def find(self, thread_id: str) -> FollowedThread | None:
        """The thread, if it is followed here."""
        ...

    async def join(self, row: ThreadRow) -> FollowedThread | None:
        """Follow a thread from now on; None when nobody writes it any more."""
        ...

    def came_here(self, live: LiveThread, records: Sequence[Record]) -> None:
        """The thread is ours now, and these are all its records: its followers are told what they were not yet."""
        ...

    def went(self, live: LiveThread) -> None:
        """Another replica took the thread over: who follows it here goes on following."""
        ...


class FollowedThread:
    """A thread in another replica's memory."""

    def __init__(self, row: ThreadRow, state: ThreadState, followers: set[int]) -> None:
        assert state.settings is not None  # every log begins with thread_started
        self.row, self.state = row, state
        self.last_seq = state.last_seq
        """Of the newest record that was shown here."""
        self.pieces = Pieces()
        self.followers = followers
        self.left = False
        self.status_word = "active" if state.open_turn() is not None else "idle"

    @property
    def thread_id(self) -> str:
        return self.row.thread_id

    @property
    def settings(self) -> Settings:
        assert self.state.settings is not None
        return self.state.settings

    @property
    def usage(self) -> Mapping[str, Any] | None:
        return self.state.usage

    @property
    def status(self) -> Status:
        return status_object(self.status_word)

    def wire(self, turns: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The protocol's Thread object, as that of a loaded thread."""
        return thread_object(
            self.row, self.status, environments=environments(self.settings), turns=turns, accepts_input=True
        )

    def grow(self, record: Record) -> Notification | None:
        """Take the next record; what followers are told of it."""
        shown = step(self.thread_id, self.state, record)
        self.last_seq = record.seq
        match record.kind:
            case kinds.ITEM_COMPLETED:
                self.pieces.ended(record.data["item"]["id"])
            case kinds.TURN_STARTED:
                self.status_word = "active"
            case kinds.TURN_COMPLETED:
                self.pieces.clear()
                self.status_word = "systemError" if record.data["status"] == "failed" else "idle"
        return None if shown is None or shown[0] in BROADCAST else shown

    def hears(self, method: str, params: Mapping[str, Any]) -> bool:
        """Whether something passing is to be shown: a piece of an item that has ended is not."""
        item_id = params.get("itemId")
        if not isinstance(item_id, str):
            return True
        if not any(item_id in turn.open_items for turn in self.state.turns.values()):
            return False
        self.pieces.add(method, params)
        return True
