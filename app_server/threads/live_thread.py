"""One loaded thread: its settings, its history in memory, at most one running turn. Owned by the thread manager.

It is the turn's sink: what the turn appends is durable (and the index row with it) before anything is shown. Appends of
one thread are in order, one at a time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from app_server.errors import InvalidRequest
from app_server.hooks.config import HookSetup
from app_server.ids import uuid7
from app_server.observability.watch import WATCH
from app_server.storage import records as kinds
from app_server.storage.base import Lease, LeaseLost, Record, ThreadLog, ThreadRow
from app_server.threads.broadcast import Nobody
from app_server.threads.joining import Pieces
from app_server.threads.replay import FULL_CONTEXT, HANDLE_PREFIX, ThreadState, advance, is_context_overflow
from app_server.threads.settings import environments, thread_settings, to_json, with_turn_overrides
from app_server.threads.view import NOT_LOADED, Status, status_object, thread_object
from app_server.turns.context import Moment, PictureUrls, RicherForm, Settings, TurnContext, UserMessage
from app_server.turns.running_history import RunningHistory
from app_server.turns.usage import add_usage
from app_server.values import field, frozen
from app_server.workspace.git import git_info

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.extension_api.services import Pictures
    from app_server.pictures.rescue import Rescued
    from app_server.protocol.turn import TurnStartParams
    from app_server.threads.broadcast import Audience
    from app_server.turns.engine import Ending, Turn, Work
    from features.resolution import FeatureSet

PREVIEW_CHARS = 200
OMIT_MEDIA = "omit_app_server_notification_media"
"""The feature that keeps picture bytes out of a thread's notifications, whoever listens."""


@frozen
class ThreadDeps:
    """What every live thread needs from the process."""

    audience: Audience
    clock: Clock
    pictures: Pictures
    urls: PictureUrls
    moment: Callable[[str, str, Settings, str], Moment]
    """(thread id, turn id, settings, originator) → what is true right now."""
    installation_id: str
    features: Callable[[Settings], FeatureSet]
    """The flags as a thread with these settings has them."""
    hooks: HookSetup = field(default_factory=HookSetup)
    reads_folders: bool = True
    """Whether the folder of a thread is one of this machine, which may be looked into."""
    went_on: Callable[[Callable[[], Awaitable[None]], Callable[[], bool]], None] | None = None
    """Where turns are counted: told of one that goes on here, how to wait for its end, and whether it is over."""
    rescue: Callable[[str, Mapping[str, Any]], Awaitable[Rescued | None]] | None = None
    """(thread id, open item) → the picture that a dead process saved for it."""


class LiveThread:
    """A thread in memory."""

    def __init__(
        self, *, row: ThreadRow, lease: Lease, log: ThreadLog, state: ThreadState, deps: ThreadDeps, last_seq: int
    ) -> None:
        assert state.settings is not None  # every log begins with thread_started
        self.row, self.lease = row, lease
        self.last_seq = last_seq
        """Of the newest record. What is shown of it is shown already, whenever another task looks."""
        self.settings: Settings = state.settings
        self.active: Turn | None = None
        self.status_word = "idle"
        self._log, self._deps = log, deps
        self._history = RunningHistory(state.history)
        self.usage: Mapping[str, Any] | None = state.usage
        self._windows, self._context_tokens = state.window, state.context_tokens
        self._total: dict[str, int] = dict(state.usage["total"]) if state.usage else {}
        self._handles = state.handles
        self.lost = False
        """Somebody else writes the thread now: nothing of ours is kept any more."""
        self.on_lost: Callable[[], None] = lambda: None
        self.followers: set[int] = set()
        """Connections that follow the thread, by number; `methods/thread` keeps it. The hub sends to them."""
        self.left = False
        """The last follower unsubscribed; who only lost its connection may come back."""
        self.pieces = Pieces()
        self._order = anyio.Lock(fast_acquire=True)
        self._held: list[tuple[Record, Callable[[int], None]]] = []
        """What joins the next append."""
        self._idle = anyio.Event()
        self._no_repository: str | None = None
        """The folder that was found to be in no repository."""

    @property
    def thread_id(self) -> str:
        return self.row.thread_id

    @property
    def status(self) -> Status:
        return NOT_LOADED if self.lost else status_object(self.status_word)

    def wire(self, turns: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """The protocol's Thread object of a loaded thread."""
        return thread_object(
            self.row, self.status, environments=environments(self.settings), turns=turns, accepts_input=True
        )

    # -- turns
    async def start_turn(self, message: UserMessage, params: TurnStartParams, *, begin: bool = False) -> Turn:
        """Prepare a conversation turn; it runs when the caller hands `run_turn` to a task. The slot is taken now.
        begin: it is in the log on return, and the caller calls `Turn.show_begin` before anything waits."""
        from app_server.turns.conversation import Conversation  # the rooms of turns are loaded with the first one

        settings = with_turn_overrides(self.settings, params)
        turn = self.start_work(Conversation(message), settings=settings, output_schema=params.output_schema)
        try:
            await self.change_settings(settings)
            if not self.row.preview:
                self.row = replace(self.row, preview=message.text[:PREVIEW_CHARS])
            if begin:
                with anyio.CancelScope(shield=True):  # what is in the log runs
                    await turn.begin()
        except BaseException:
            self._free(turn)
            raise
        return turn

    def continue_turn(self, turn_id: str, begun_at_ms: int, output_schema: Any) -> Turn:
        """Prepare to go on with a turn that another replica handed over."""
        from app_server.turns.conversation import Conversation  # the same

        turn = self.start_work(Conversation(None), output_schema=output_schema, goes_on=(turn_id, begun_at_ms))
        if self._deps.went_on is not None:
            self._deps.went_on(self.settled, lambda: self.active is not turn)
        return turn

    def start_work(
        self,
        work: Work,
        *,
        settings: Settings | None = None,
        output_schema: Any = None,
        goes_on: tuple[str, int] | None = None,
    ) -> Turn:
        """Prepare a turn of any work. Raises InvalidRequest while another one runs.

        goes_on: id and begin of the turn, where it has begun already."""
        from app_server.turns.engine import Turn  # the same

        if self.active is not None:
            raise InvalidRequest("a turn is running; wait for its end or interrupt it", data_code="turnRunning")
        turn_id, begun_at_ms = goes_on or (uuid7(), None)
        chosen = settings or self.settings
        originator = chosen.service_name or str(self.row.meta.get("originator") or "")
        ctx = TurnContext(
            thread_id=self.thread_id,
            turn_id=turn_id,
            settings=chosen,
            output_schema=output_schema,
            now=lambda: self._deps.moment(self.thread_id, turn_id, chosen, originator),
            clock=self._deps.clock,
            pictures=self._deps.pictures,
            installation_id=self._deps.installation_id,
            hooks=self._deps.hooks,
        )
        self._idle = anyio.Event()
        self.active = turn = Turn(
            ctx,
            self,
            self._deps.urls,
            work,
            on_status=self._set_status,
            on_end=self._on_end,
            begun_at_ms=begun_at_ms,
        )
        return turn

    async def change_settings(self, settings: Settings) -> None:
        """Make settings stick, and tell the subscribers when something changed."""
        if settings != self.settings:
            seq = await self.append(Record(kind=kinds.SETTINGS_CHANGED, data={"settings": to_json(settings)}))
            params = {"threadId": self.thread_id, "threadSettings": thread_settings(settings)}
            self.show("thread/settings/updated", params, seq=seq)

    async def revert(self, turn_id: str, log_state: ThreadState) -> int:
        """Forget a turn and all later ones; `log_state` is the thread as its log tells it, turns included."""
        record = Record(kind=kinds.REVERTED, data={"beforeTurnId": turn_id})
        seq = await self.append(record)
        advance(log_state, [record])
        self._history, self._windows = RunningHistory(log_state.history), log_state.window
        self._context_tokens = 0
        return seq

    async def run_turn(self, turn: Turn) -> None:
        """The task of a turn."""
        try:
            await turn.run()
        finally:
            self._free(turn)

    def _free(self, turn: Turn) -> None:
        if self.active is turn:
            self.active = None
            self._held.clear()
            self.pieces.clear()
            self._idle.set()

    def require_turn(self, turn_id: str, doing: str) -> Turn:
        """The running turn, which must be this one. Raises InvalidRequest in the reference's words."""
        if self.active is None:
            raise InvalidRequest(f"no active turn to {doing}", data_code="noActiveTurn")
        if self.active.ctx.turn_id != turn_id:
            raise InvalidRequest(
                f"expected active turn id `{turn_id}` but found `{self.active.ctx.turn_id}`", data_code="wrongTurn"
            )
        return self.active

    def hand_over(self) -> None:
        """Leave the running turn to another replica, where nothing of it is open."""
        if self.active is not None and not self.row.meta.get("ephemeral"):
            self.active.hand_over()

    async def stop(self) -> None:
        """Interrupt the running turn, if any, and wait until it has ended."""
        if (turn := self.active) is not None:
            turn.interrupt()
            await self.settled()

    async def settled(self) -> None:
        """Wait until the running turn, if any, has told its end."""
        if self.active is not None:
            await self._idle.wait()

    def _set_status(self, word: str) -> None:
        self.status_word = word
        params = {"threadId": self.thread_id, "status": self.status}
        self._deps.audience.broadcast("thread/status/changed", params)

    async def _on_end(self, ending: Ending) -> None:
        if self.active is not None:
            self._free(self.active)
        if ending.unread and (read_state := self.row.meta.get("readState")) is not None:
            params = {"threadId": self.thread_id, "readState": read_state}
            self._deps.audience.notify_thread(self.thread_id, "thread/readState/changed", params)

    # -- the turn's sink
    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def window(self) -> int:
        return self._windows

    @property
    def history(self) -> RunningHistory:
        return self._history

    async def append(self, *records: Record) -> int:
        """Durable on return, in order; the seq of the last one.

        A cancellation is seen before all of it or behind: what is durable is also known here, and shown.
        """
        self._deps.audience.settle(self.thread_id)
        async with self._order:
            held = self._held.copy()
            all_records = [*(record for record, _ in held), *records]
            row = self._row_after(all_records)
            try:
                with WATCH.commit():
                    last = await self._log.append(self.lease, all_records, row=row if row is not self.row else None)
            except LeaseLost:
                self.lose()
                raise
            del self._held[: len(held)]
            self.row, self.last_seq = row, last
            for record in all_records:
                self._take(record)
            for seq, (_, shown) in enumerate(held, last - len(all_records) + 1):
                shown(seq)
            return last

    def lose(self) -> None:
        """Somebody else writes the thread now. Its turn ends: nothing more of it would be kept."""
        if not self.lost:
            self.lost = True
            self.on_lost()
            if self.active is not None:
                self.active.interrupt()

    def mute(self) -> None:
        """Tell nobody anything any more."""
        self._deps = replace(self._deps, audience=Nobody())

    def later(self, record: Record, shown: Callable[[int], None]) -> None:
        self._held.append((record, shown))

    def _take(self, record: Record) -> None:
        """What a durable record changes in memory."""
        match record.kind:
            case kinds.HISTORY:
                self._history.extend(record.data["items"])
            case kinds.ITEM_COMPLETED:
                self.pieces.ended(record.data["item"]["id"])
            case kinds.COMPACTED:
                self._history = RunningHistory(record.data["history"])
                self._windows, self._context_tokens = self._windows + 1, 0
            case kinds.TOKEN_USAGE:
                self.usage, self._context_tokens = record.data, record.data["last"]["totalTokens"]
            case kinds.TURN_COMPLETED if is_context_overflow(record.data["error"]):
                self._context_tokens = FULL_CONTEXT
            case kinds.SETTINGS_CHANGED:
                self.settings = replace(self.settings, **record.data["settings"])

    def show(
        self, method: str, params: Mapping[str, Any], *, forms: Sequence[RicherForm] = (), seq: int | None = None
    ) -> None:
        shown = () if forms and self._omits_media() else forms
        if seq is not None:
            params = {**params, "seq": seq}
            shown = [form.with_seq(seq) for form in shown]
        self._deps.audience.notify_thread(self.thread_id, method, params, forms=shown)

    def delta(self, method: str, params: Mapping[str, Any]) -> None:
        if WATCH.observer is not None:
            WATCH.observer.metrics.deltas.total += 1
        self.pieces.add(method, params)
        self._deps.audience.delta(self.thread_id, method, params)

    def wanted_forms(self, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        if self._omits_media():
            return frozenset()
        return self._deps.audience.wanted_forms(self.thread_id, message_bytes, thumbnail_bytes)

    def _omits_media(self) -> bool:
        return self._deps.features(self.settings).enabled(OMIT_MEDIA)

    def next_handle(self) -> str:
        self._handles += 1
        return f"{HANDLE_PREFIX}{self._handles}"

    def add_usage(self, last: Mapping[str, int]) -> Mapping[str, int]:
        self._total = add_usage(self._total, last)
        return self._total

    def _repository(self, cwd: str) -> dict[str, Any]:
        """What the thread's row says of its repository; a folder that is none is asked once."""
        if not self._deps.reads_folders or self._no_repository == cwd:
            return {}
        found = git_info(Path(cwd))
        self._no_repository = cwd if found is None else None
        return {"gitInfo": found}

    def _row_after(self, records: Sequence[Record]) -> ThreadRow:
        """The index row once these records are in: the same object when nothing of it changes."""
        row, now = self.row, self._deps.clock.now_ms()
        for record in records:
            match record.kind:
                case kinds.TURN_STARTED:
                    meta = row.meta if row.meta.get("gitInfo") else with_meta(row.meta, self._repository(row.cwd))
                    row = replace(row, listed=True, updated_at_ms=now, recency_at_ms=now, meta=meta)
                case kinds.TURN_COMPLETED:
                    meta = row.meta
                    if record.data["answered"]:
                        meta = {**meta, "readState": _unread(meta.get("readState"), record.data["turnId"])}
                    row = replace(row, updated_at_ms=now, meta=meta)
                case kinds.SETTINGS_CHANGED:
                    settings = record.data["settings"]
                    row = replace(
                        row,
                        model=settings["model"],
                        model_provider=settings["model_provider"],
                        cwd=settings["cwd"],
                        meta={**row.meta, "reasoningEffort": settings["effort"]},
                    )
                case kinds.META_SET:
                    row = replace(row, meta=with_meta(row.meta, record.data["meta"]))
                case kinds.NAME_SET:
                    row = replace(row, name=record.data["name"], updated_at_ms=now)
        return row


def with_meta(meta: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changed members of a row's meta; null removes one."""
    return {key: value for key, value in {**meta, **changes}.items() if value is not None}


def _unread(before: Mapping[str, Any] | None, turn_id: str) -> dict[str, Any]:
    """The read state after one more turn: the first unread one stays, the revision is new."""
    first = before.get("firstUnread") if before else None
    return {"firstUnread": first or {"type": "turn", "turnId": turn_id}, "revision": uuid7()}
