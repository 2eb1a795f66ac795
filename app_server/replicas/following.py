"""Threads that other replicas write and clients of this one follow: their logs are read as they grow, and shown here.

    join     ask the owner what is open, read the log, then show what comes, in order
    hint     records: read on from where we are      passing: show it, unless its item has ended
    end      nobody here follows any more · the thread comes here (`came_here`) · it is deleted

One task for each followed thread, so that a client hears everything of it in order, the reply to its own command too.
It is the manager's `Elsewhere`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio

from app_server.errors import AppServerError
from app_server.observability.logging import get_logger
from app_server.storage.base import StorageError
from app_server.storage.cluster import Hint
from app_server.threads.following import FollowedThread
from app_server.threads.replay import replay
from app_server.turns.emitter_forms import picture_forms

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.extension_api.services import Pictures
    from app_server.replicas.post import Post
    from app_server.rpc.hub import Hub
    from app_server.storage.base import Record, ThreadLog, ThreadRow
    from app_server.storage.cluster import Cluster, Letter
    from app_server.threads.live_thread import LiveThread

log = get_logger("replicas")
SAY_EVERY_S: Final = 5.0
JOIN_S: Final = 2.0
"""How long the owner is waited for; without its answer, text that runs right now is shown from its next piece on."""
JOIN_LOOK_S: Final = 0.25
REPLY_S: Final = 1.0
"""For how long the reply to a command goes before what the command brought about."""


class _Entry:
    """One followed thread, and what was heard of it and not shown yet."""

    def __init__(self, shown_seq: int | None = None, followers: set[int] | None = None) -> None:
        """`shown_seq`: of the last record that its followers here were shown; None: they begin with what is there."""
        self.shown_seq, self.followers = shown_seq, set() if followers is None else followers
        self.thread: FollowedThread | None = None
        self.heard: deque[Hint] = deque()
        self.wake = anyio.Event()
        self.begun = anyio.Event()
        """Set when there is a thread, or will be none."""
        self.scope = anyio.CancelScope()
        self.passed = 0
        """The number of the last passing hint that is shown, or is among the pieces of the owner's answer."""
        self.unused_looks = 0

    def hear(self, hint: Hint) -> None:
        self.heard.append(hint)
        self.wake.set()

    def begin(self, row: ThreadRow, records: Sequence[Record]) -> FollowedThread:
        """The thread as its followers were shown it; `records` are all that there are."""
        shown = records if self.shown_seq is None else records[: self.shown_seq]
        self.thread = FollowedThread(row, replay(shown), self.followers)
        return self.thread


class Following:
    """All threads of one tenant that are followed here."""

    def __init__(
        self,
        cluster: Cluster,
        log: ThreadLog,
        hub: Hub[Any],
        pictures: Pictures,
        post: Post,
        broadcast: Callable[[Hint], None],
        tasks: TaskGroup,
    ) -> None:
        """`broadcast` tells all clients here what another replica tells all of its."""
        self._cluster, self._log, self._hub, self._pictures = cluster, log, hub, pictures
        self._post, self._broadcast, self._tasks = post, broadcast, tasks
        self._entries: dict[str, _Entry] = {}
        self._replied: dict[str, anyio.Event] = {}
        """By letter: set when the client has the reply."""
        self.came: Callable[[str], None] = lambda thread_id: None
        """Called with each thread that comes here."""

    # -- the manager's seam
    def find(self, thread_id: str) -> FollowedThread | None:
        entry = self._entries.get(thread_id)
        return None if entry is None else entry.thread

    def knows(self, thread_id: str) -> bool:
        """Whether the thread is followed here, or about to be."""
        return thread_id in self._entries

    async def is_in_log(self, thread_id: str, turn_id: str) -> bool:
        """Whether a turn is in the log of a thread, of those that were shown here or behind them."""
        thread = self.find(thread_id)
        if thread is not None and turn_id in thread.state.turns:
            return True
        records = await self._log.read(thread_id, after_seq=0 if thread is None else thread.last_seq)
        return any(record.data.get("turnId") == turn_id for record in records)

    async def join(self, row: ThreadRow) -> FollowedThread | None:
        while True:
            entry = self._entries.get(row.thread_id)
            if entry is not None and entry.thread is not None:
                await self._read_on(entry.thread)  # whoever comes may have seen more of it at another replica
                if self._entries.get(row.thread_id) is entry:
                    return entry.thread
            elif entry is not None:
                await entry.begun.wait()
            elif await self._cluster.owner(row.thread_id) is None:
                return None
            elif row.thread_id not in self._entries:
                entry = self._entries[row.thread_id] = _Entry()  # hints are kept from here on
                return await self._begin(row, entry)

    def came_here(self, live: LiveThread, records: Sequence[Record]) -> None:
        self.came(live.thread_id)
        entry = self._entries.pop(live.thread_id, None)
        if entry is None:
            return
        entry.scope.cancel()
        thread = entry.thread or entry.begin(live.row, records)
        for record in records[thread.last_seq :]:
            self._show(thread, record)
        live.followers, live.left = thread.followers, thread.left

    def went(self, live: LiveThread) -> None:
        if live.followers:
            entry = self._entries[live.thread_id] = _Entry(live.last_seq, live.followers)
            self._tasks.start_soon(self._follow_on, live, entry)

    async def _follow_on(self, live: LiveThread, entry: _Entry) -> None:
        try:
            await self._begin(live.row, entry)
        except AppServerError as error:  # its clients resume it again
            log.warning("thread_not_followed_on", thread_id=live.thread_id, cause=error.message)

    async def _begin(self, row: ThreadRow, entry: _Entry) -> FollowedThread | None:
        try:
            pieces = await self._ask_owner(row.thread_id, entry)
            records = await self._log.read(row.thread_id)
        except BaseException:
            self._forget(row.thread_id, entry)
            raise
        finally:
            entry.begun.set()
        if self._entries.get(row.thread_id) is not entry:  # it came here meanwhile, or was deleted
            return None
        if not records:
            self._forget(row.thread_id, entry)
            return None
        thread = entry.begin(row, records)
        for piece in pieces:
            thread.hears(piece["method"], piece["params"])
        entry.hear(Hint(kind="again"))
        self._tasks.start_soon(self._run, entry, thread)
        return thread

    def _forget(self, thread_id: str, entry: _Entry) -> None:
        if self._entries.get(thread_id) is entry:
            del self._entries[thread_id]

    async def _ask_owner(self, thread_id: str, entry: _Entry) -> Sequence[Any]:
        """What its owner has told of open items; it tells us what is passing from then on."""
        letter_id = await self._cluster.post("command", thread_id, {"follow": self._cluster.replica})
        letter = await self._answered(letter_id, thread_id)
        await self._cluster.remove(letter_id)
        if letter is None or letter.answer is None or "pieces" not in letter.answer:
            return ()
        entry.passed = letter.answer["passed"]
        pieces: Sequence[Any] = letter.answer["pieces"]
        return pieces

    async def _answered(self, letter_id: str, thread_id: str) -> Letter | None:
        """The letter with its answer, or as it was when its owner was gone: who joins holds up whoever takes over."""
        letter: Letter | None = None
        with anyio.move_on_after(JOIN_S):
            while True:
                letter = await self._post.look(letter_id, JOIN_LOOK_S)
                if letter is None or letter.answer is not None or await self._cluster.owner(thread_id) is None:
                    break
        return letter

    # -- hints
    def hear(self, hint: Hint) -> bool:
        """A hint of one thread; False when it is not followed here."""
        if (entry := self._entries.get(hint.thread_id)) is None:
            return False
        entry.hear(hint)
        return True

    def again(self) -> None:
        """Hints may be lost: every log is looked at."""
        for entry in self._entries.values():
            entry.hear(Hint(kind="again"))

    def hear_reply(self, hint: Hint) -> bool:
        """An answer that a command here waits for: it takes its place among what is heard of its thread."""
        if (entry := self._entries.get(hint.thread_id)) is None or entry.thread is None:
            return False
        self._replied[hint.key] = anyio.Event()
        entry.hear(hint)
        return True

    def replied(self, letter_id: str) -> None:
        """The client has the reply: what comes behind it may be shown."""
        if (event := self._replied.pop(letter_id, None)) is not None:
            event.set()

    def drop(self, thread_id: str) -> None:
        """The thread is deleted."""
        if (entry := self._entries.pop(thread_id, None)) is not None:
            entry.scope.cancel()

    def status(self, thread_id: str, word: str) -> None:
        """Its owner says how the thread is."""
        if (thread := self.find(thread_id)) is not None and word != "notLoaded":
            thread.status_word = word

    # -- showing
    async def _run(self, entry: _Entry, thread: FollowedThread) -> None:
        with entry.scope:
            while True:
                while entry.heard:
                    await self._take(entry, thread, entry.heard.popleft())
                entry.wake = anyio.Event()
                await entry.wake.wait()

    async def _take(self, entry: _Entry, thread: FollowedThread, hint: Hint) -> None:
        match hint.kind:
            case "records" if hint.seq > thread.last_seq:
                await self._read_on(thread)
            case "again":
                await self._read_on(thread)
            case "answered":
                event = self._replied.get(hint.key)
                self._post.answered(hint.key)
                with anyio.move_on_after(REPLY_S):
                    if event is not None:
                        await event.wait()
            case "broadcast":
                self._broadcast(hint)
            case "passing" if hint.seq > entry.passed:
                entry.passed = hint.seq
                method, params = hint.data["method"], hint.data["params"]
                if thread.hears(method, params):
                    tell = self._hub.delta if "delta" in params else self._hub.notify_thread
                    tell(thread.thread_id, method, params)

    async def _read_on(self, thread: FollowedThread) -> None:
        try:
            records = await self._log.read(thread.thread_id, after_seq=thread.last_seq)
            row = await self._log.row(thread.thread_id) if records else None
        except StorageError as error:  # the next hint, or the look every few seconds, reads on
            log.warning("thread_not_followed_on", thread_id=thread.thread_id, cause=error.message)
            return
        for record in records:
            forms = await self._forms(record, thread.thread_id)
            if record.seq > thread.last_seq:  # else somebody else read it meanwhile
                self._show(thread, record, forms)
        thread.row = row or thread.row

    def _show(self, thread: FollowedThread, record: Record, forms: Sequence[Any] = ()) -> None:
        if (told := thread.grow(record)) is not None:
            self._hub.notify_thread(thread.thread_id, told[0], told[1], forms=forms)

    async def _forms(self, record: Record, thread_id: str) -> Sequence[Any]:
        """The richer forms of a finished picture, for clients that take them."""
        if record.kind != "item_completed" or "picture" not in record.data:
            return ()
        from app_server.extension_api.tools import PictureRef

        ids = {"threadId": thread_id, "turnId": record.data["turnId"]}
        picture = PictureRef.from_json(record.data["picture"])

        def wanted(message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
            return self._hub.wanted_forms(thread_id, message_bytes, thumbnail_bytes)

        forms = await picture_forms(record.data["item"], picture, wanted, self._pictures, ids)
        return [form.with_seq(record.seq) for form in forms]

    async def keep(self) -> None:
        """Say again and again what is followed, look for what no hint told, and leave what nobody follows."""
        while True:
            await anyio.sleep(SAY_EVERY_S)
            for thread_id, entry in list(self._entries.items()):
                if entry.thread is None:
                    continue
                entry.unused_looks = 0 if entry.thread.followers else entry.unused_looks + 1
                if entry.unused_looks > 1:
                    self.drop(thread_id)
                else:
                    self._cluster.tell(Hint(kind="following", thread_id=thread_id, key=self._cluster.replica))
                    entry.hear(Hint(kind="again"))
