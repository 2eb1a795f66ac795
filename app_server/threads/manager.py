"""The owner of all live threads: makes, loads, finds, names, archives, deletes and closes them.

A thread has one writer: its lease is taken before anything is loaded for writing, and given back when the thread is
unloaded. Reading needs no lease. Turns run in the task group that `bootstrap` hands in, so they outlive connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import anyio

from app_server.errors import InvalidRequest
from app_server.ids import parse_uuid, uuid7
from app_server.observability.logging import get_logger
from app_server.observability.watch import WATCH
from app_server.storage import records as kinds
from app_server.storage.base import Lease, LeaseHeld, Record, Storage, StorageError, ThreadPage, ThreadQuery, ThreadRow
from app_server.threads.fork import forked_records, settings_of
from app_server.threads.live_thread import LiveThread, ThreadDeps, with_meta
from app_server.threads.loading import Loaded, handed_over, load_stored
from app_server.threads.making import first_record, new_row
from app_server.threads.naming import canonical, check_id, shown_id
from app_server.threads.replay import ThreadState, advance, closing_records, replay
from app_server.threads.unloading import Unloader, unused
from app_server.threads.view import NOT_LOADED, thread_object

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.clock import Clock
    from app_server.threads.following import Elsewhere, FollowedThread
    from app_server.turns.context import Settings
    from app_server.turns.engine import Turn

log = get_logger("threads")


class ThreadManager:
    """All threads of the process. Methods are called on the event loop."""

    def __init__(self, storage: Storage, ephemeral: Storage, deps: ThreadDeps, turns: TaskGroup) -> None:
        self._storage, self._ephemeral, self._deps, self._turns = storage, ephemeral, deps, turns
        self._clock: Clock = deps.clock
        self._live: dict[str, LiveThread] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()
        """By thread id, for as long as somebody holds or awaits one."""
        self.elsewhere: Elsewhere | None = None
        """The threads of other replicas, where there are any."""
        self.unloader = Unloader(lambda: self._live.values(), self._close, turns, deps.clock)

    # -- finding
    @property
    def loaded(self) -> list[str]:
        """Ids of loaded threads, oldest first."""
        return list(self._live)

    def find(self, thread_id: str) -> LiveThread | None:
        return self._live.get(canonical(thread_id))

    def shown(self, thread_id: str) -> LiveThread | FollowedThread | None:
        """The thread as clients here see it live: loaded, or followed at another replica."""
        live = self.find(thread_id)
        return live if live is not None or self.elsewhere is None else self.elsewhere.find(canonical(thread_id))

    async def require(self, thread_id: str) -> LiveThread:
        """A loaded thread. Raises InvalidRequest that tells a stored one from an unknown one."""
        if (live := self.find(thread_id)) is not None:
            return live
        stored = await self._row(thread_id) is not None
        hint = "; it is stored, resume it with thread/resume first" if stored else ""
        raise InvalidRequest(f"thread not found: {shown_id(thread_id)}{hint}", data_code="threadNotFound")

    async def row(self, thread_id: str) -> ThreadRow:
        """The index row of any thread, loaded or not. Raises InvalidRequest."""
        check_id(thread_id)
        if (live := self.find(thread_id)) is not None:
            return live.row
        if (row := await self._row(thread_id)) is None:
            raise InvalidRequest(
                f"thread not loaded: {shown_id(thread_id)}; no such thread is stored", data_code="threadNotFound"
            )
        return row

    async def _row(self, thread_id: str) -> ThreadRow | None:
        known = parse_uuid(thread_id)
        return await self._storage.log.row(known) if known else None

    async def page(self, query: ThreadQuery) -> ThreadPage:
        """A page of the index."""
        return await self._storage.log.page(query)

    async def state(self, thread_id: str) -> ThreadState:
        """The thread as its records tell it, turns included."""
        row = await self.row(thread_id)
        return replay(await self._storage_of(row).log.read(row.thread_id))

    async def shown_records(self, live: LiveThread | FollowedThread, read: Sequence[Record] = ()) -> list[Record]:
        """All records whose notifications were sent: when this returns, every later one is still to come.

        read: those that were read before, from the first one on."""
        log, records = self._storage_of(live.row).log, list(read)
        while (seen := records[-1].seq if records else 0) < live.last_seq:
            more = await log.read(live.thread_id, after_seq=seen)
            if not more:  # it was deleted meanwhile
                break
            records += more
        while records and records[-1].seq > live.last_seq:  # durable, but not shown yet
            records.pop()
        return records

    def wire(self, row: ThreadRow) -> dict[str, Any]:
        """A row of thread/list."""
        if (live := self.shown(row.thread_id)) is not None:
            return {**live.wire(), "canAcceptDirectInput": None}
        return thread_object(row, NOT_LOADED, environments=None)

    # -- making and loading
    async def create(
        self, settings: Settings, *, originator: str, ephemeral: bool, meta: Mapping[str, Any]
    ) -> LiveThread:
        """A new thread, durable on return, not listed before its first turn."""
        row = new_row(uuid7(), settings, self._clock.now_ms(), originator=originator, ephemeral=ephemeral, meta=meta)
        return await self._begin(row, [first_record(settings, originator)], ThreadState(settings=settings))

    async def _begin(self, row: ThreadRow, records: Sequence[Record], state: ThreadState) -> LiveThread:
        """Store and keep a thread that begins with these records; `state` is what they tell."""
        storage = self._storage_of(row)
        lease, last_seq = await storage.log.create(row, records)
        live = LiveThread(row=row, lease=lease, log=storage.log, state=state, deps=self._deps, last_seq=last_seq)
        self._keep(live)
        return live

    async def fork(
        self,
        source: ThreadRow,
        choose: Callable[[Settings], Settings],
        *,
        originator: str,
        ephemeral: bool,
        last_turn_id: str | None,
        before_turn_id: str | None,
    ) -> tuple[LiveThread, ThreadState]:
        """A new thread with another one's turns, up to one of them; a turn that runs there is interrupted here.

        choose: from the settings there to those here. The state is the caller's own."""
        records = await self._storage_of(source).log.read(source.thread_id)
        settings = choose(settings_of(records))
        now = self._clock.now_ms()
        begin = first_record(settings, originator)
        named = [] if source.name is None else [Record(kind=kinds.NAME_SET, data={"name": source.name})]
        copied = [begin, *named, *forked_records(records, last_turn_id=last_turn_id, before_turn_id=before_turn_id)]
        state = replay(copied)
        closing = closing_records(state, now)
        advance(state, closing)
        row = new_row(
            uuid7(),
            settings,
            now,
            originator=originator,
            ephemeral=ephemeral,
            meta={"forkedFromId": source.thread_id, "threadSource": source.meta.get("threadSource")},
            preview=source.preview if state.turns else None,
        )
        live = await self._begin(replace(row, name=source.name), [*copied, *closing], state)
        await self._storage.blobs.share(source.thread_id, live.thread_id)
        return live, state

    async def load(self, thread_id: str, *, follow: bool = True) -> Loaded:
        """The live thread, loading it if needed. A turn that a dead process left open is closed first.

        follow: where another replica writes it, it is followed there.

        Raises InvalidRequest for an unknown or archived thread, or one that another process writes.
        """
        check_id(thread_id)
        thread_id = canonical(thread_id)
        async with self._locks.setdefault(thread_id, anyio.Lock()):
            if (live := self._live.get(thread_id)) is not None:
                return Loaded(live=live)
            row = await self._row(thread_id)
            if row is None:
                raise InvalidRequest(
                    f"thread not found: {thread_id}; list the stored ones with thread/list", data_code="threadNotFound"
                )
            if row.archived:
                raise InvalidRequest(
                    f"thread {thread_id} is archived; call thread/unarchive before you resume it",
                    data_code="threadArchived",
                )
            lease = await (self._lease_or_follow(row) if follow else self._lease(row.thread_id))
            if not isinstance(lease, Lease):
                return Loaded(live=lease)
            row = await self._row(thread_id) or row
            loaded = await load_stored(row, lease, self._storage.log, self._deps)
            if self.elsewhere is not None:
                self.elsewhere.came_here(loaded.ours, loaded.records)
            self._keep(loaded.ours)
            if (turn := handed_over(loaded, self._clock.now_ms())) is not None:
                self.run(loaded.ours, turn)
            return loaded

    async def _lease_or_follow(self, row: ThreadRow) -> Lease | FollowedThread:
        try:
            return await self._storage.leases.acquire(row.thread_id)
        except LeaseHeld:
            followed = None if self.elsewhere is None else await self.elsewhere.join(row)
            return followed or await self._lease(row.thread_id)

    async def close_ownerless(self, thread_id: str) -> None:
        """Take over a thread whose writer is gone: its turn is closed; it stays loaded only where clients follow it."""
        row = await self._row(thread_id)
        if row is not None and not row.archived:
            loaded = await self.load(thread_id, follow=False)  # another replica that was faster has it
            async with self._locks.setdefault(row.thread_id, anyio.Lock()):
                if isinstance(loaded.live, LiveThread) and unused(loaded.live):
                    await self.unload(row.thread_id)
            return
        with suppress(LeaseHeld):  # another replica was faster
            await self._storage.leases.release(await self._storage.leases.acquire(thread_id))

    async def _lease(self, thread_id: str) -> Lease:
        try:
            return await self._storage.leases.acquire(thread_id)
        except LeaseHeld:
            raise InvalidRequest(
                f"thread {thread_id} already has an active writer; use it there, or end that process first",
                data_code="threadHasWriter",
            ) from None

    def run(self, live: LiveThread, turn: Turn, *, after_s: float = 0.0) -> None:
        """Let a prepared turn run, as a task of the server; `after_s` is a pause before its first notification."""
        self._turns.start_soon(self._run_turn, live, turn, after_s)

    async def _run_turn(self, live: LiveThread, turn: Turn, after_s: float) -> None:
        if after_s:
            await anyio.sleep(after_s)
        await live.run_turn(turn)
        if turn.handed_over and self.elsewhere is not None:
            async with self._locks.setdefault(live.thread_id, anyio.Lock()):
                self._live.pop(live.thread_id, None)
                live.mute()
                with suppress(StorageError):  # it runs out
                    await self._storage.leases.abandon(live.lease)
                self.elsewhere.went(live)
        self.unloader.let_leave(live)

    # -- changing
    async def set_name(self, thread_id: str, name: str) -> int:
        """Name a thread, loaded or not; returns the seq of the record."""
        now = self._clock.now_ms()
        record = Record(kind=kinds.NAME_SET, data={"name": name})
        return (await self._note(thread_id, record, lambda row: replace(row, name=name, updated_at_ms=now)))[1]

    async def note(self, thread_id: str, record: Record) -> None:
        """Append one record to a thread, loaded or not. Raises InvalidRequest when another process writes it."""
        await self._note(thread_id, record, None)

    async def set_meta(self, thread_id: str, changes: Mapping[str, Any]) -> tuple[ThreadRow, int]:
        """Change members of a thread's meta, loaded or not; null removes one. Returns the seq as well."""
        record = Record(kind=kinds.META_SET, data={"meta": dict(changes)})
        return await self._note(thread_id, record, lambda row: replace(row, meta=with_meta(row.meta, changes)))

    async def _note(
        self, thread_id: str, record: Record, change: Callable[[ThreadRow], ThreadRow] | None
    ) -> tuple[ThreadRow, int]:
        """Append through the live thread, or under a lease that nobody who loads the thread meanwhile shares."""
        thread_id = (await self.row(thread_id)).thread_id
        async with self._locks.setdefault(thread_id, anyio.Lock()):
            if (live := self._live.get(thread_id)) is not None:
                seq = await live.append(record)
                return live.row, seq
            lease = await self._lease(thread_id)
            try:
                row = await self.row(thread_id)
                changed = change(row) if change is not None else row
                seq = await self._storage.log.append(lease, [record], row=changed if change is not None else None)
            finally:
                await self._storage.leases.release(lease)
            return changed, seq

    async def set_archived(self, thread_id: str, archived: bool) -> ThreadRow:
        """Archive or unarchive; a loaded thread is stopped and unloaded first."""
        row = await self.row(thread_id)
        if row.meta.get("ephemeral"):
            raise InvalidRequest(
                f"thread {row.thread_id} is ephemeral and is not stored; delete it instead", data_code="threadEphemeral"
            )
        if not archived and not row.archived:
            raise InvalidRequest(f"thread {row.thread_id} is not archived", data_code="threadNotArchived")
        await self.unload(thread_id)
        row = await self.row(thread_id)
        lease = await self._lease(row.thread_id)
        changed = replace(row, archived=archived)
        try:
            record = Record(kind=kinds.ARCHIVED_SET, data={"archived": archived})
            await self._storage.log.append(lease, [record], row=changed)
        finally:
            await self._storage.leases.release(lease)
        return changed

    async def delete(self, thread_id: str) -> None:
        """Remove a thread for good, its pictures with it unless another thread shares them."""
        row = await self.row(thread_id)
        await self.unload(thread_id)
        if not row.meta.get("ephemeral"):
            lease = await self._lease(row.thread_id)
            await self._storage.log.delete(lease)
            await self._storage.leases.release(lease)
        await self._storage.blobs.release(row.thread_id)
        self._deps.audience.forget_thread(row.thread_id)

    def _keep(self, live: LiveThread) -> None:
        self._live[live.thread_id] = live
        WATCH.lease("taken")
        live.on_lost = lambda: self._let_go(live)

    def _let_go(self, live: LiveThread) -> None:
        """Another process took the thread over while this one stalled: it is not ours any more, as after `unload`.

        Its turn, if one runs, ends by itself: nothing that it appends is kept."""
        if self._live.get(live.thread_id) is live:
            del self._live[live.thread_id]
            WATCH.lease("lost")
            log.warning("thread_taken_over", thread_id=live.thread_id)
            if self.elsewhere is not None:
                live.mute()
                self.elsewhere.went(live)
                return
            params = {"threadId": live.thread_id, "status": NOT_LOADED}
            self._deps.audience.broadcast("thread/status/changed", params)

    async def unload(self, thread_id: str) -> None:
        """Stop the thread's turn, forget it in memory, give the lease back; nothing happens when it is not loaded.

        An ephemeral thread is gone then, its log with it."""
        live = self.find(thread_id)
        if live is None:
            return
        await live.stop()
        self._live.pop(live.thread_id, None)
        if live.row.meta.get("ephemeral"):
            await self._ephemeral.log.delete(live.lease)
        else:
            await self._storage.leases.release(live.lease)
        params = {"threadId": live.thread_id, "status": NOT_LOADED}
        self._deps.audience.broadcast("thread/status/changed", params)

    async def _close(self, live: LiveThread) -> None:
        """Unload a thread that is not in use, and tell everybody."""
        async with self._locks.setdefault(live.thread_id, anyio.Lock()):
            if self._live.get(live.thread_id) is live and unused(live):
                with suppress(StorageError):  # a disk that refuses: the lease ends with the process
                    await self.unload(live.thread_id)
                self._deps.audience.broadcast("thread/closed", {"threadId": live.thread_id})

    @property
    def running(self) -> list[LiveThread]:
        """Threads with a turn that runs."""
        return [live for live in self._live.values() if live.active is not None]

    async def settled(self) -> None:
        """Wait until no turn runs here any more; threads and their turns go on at other replicas, if there are any."""
        if self.elsewhere is not None:
            async with anyio.create_task_group() as leaving:
                for live in [live for live in self._live.values() if not live.row.meta.get("ephemeral")]:
                    leaving.start_soon(self._leave, live, self.elsewhere)
        while running := self.running:
            await running[0].settled()

    async def _leave(self, live: LiveThread, elsewhere: Elsewhere) -> None:
        """Let other replicas have a thread as soon as nothing runs in it; who follows it here follows it on there."""
        while self._live.get(live.thread_id) is live:
            live.hand_over()
            await live.settled()
            async with self._locks.setdefault(live.thread_id, anyio.Lock()):
                if self._live.get(live.thread_id) is live and live.active is None:
                    del self._live[live.thread_id]
                    with suppress(StorageError):  # it runs out
                        await self._storage.leases.release(live.lease)
                    elsewhere.went(live)

    async def aclose(self) -> None:
        """Interrupt every turn and wait for their ends; give the leases back."""
        async with anyio.create_task_group() as tasks:
            for live in self._live.values():
                tasks.start_soon(live.stop)
        for live in list(self._live.values()):
            with suppress(StorageError):  # a disk that refuses: the lease ends with the process
                await self._storage_of(live.row).leases.release(live.lease)
        self._live.clear()

    def _storage_of(self, row: ThreadRow) -> Storage:
        """Ephemeral threads leave nothing on the disk: their log is in memory."""
        return self._ephemeral if row.meta.get("ephemeral") else self._storage
