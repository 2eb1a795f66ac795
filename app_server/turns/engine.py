"""The life of one turn, whatever its work: begin, work, end. Owned by the thread's live object, run as one task.

    run ─► begin (turn/started) ─► work ─► end (turn/completed)
                                    │ Conversation · Compaction · ShellCommand · Review
    an upstream failure ends it as failed, a cancelled scope as interrupted; whatever happens, the end is shown

The end is shielded and bounded: open items are closed, calls without an output are answered, the turn is completed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from app_server.errors import AppServerError, MissingCredentials
from app_server.observability.logging import get_logger
from app_server.observability.watch import WATCH
from app_server.providers.base import CodexErrorInfo, UpstreamError
from app_server.storage.base import Record
from app_server.storage.records import HANDED_OVER, HISTORY, TURN_COMPLETED, TURN_STARTED
from app_server.turns.attempts import turn_error
from app_server.turns.context import HandOver
from app_server.turns.emitter import ItemEmitter
from app_server.turns.history import call_output, turn_aborted_note
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.turns.context import PictureUrls, TurnContext, TurnSink, UserMessage

log = get_logger("turns")
FINALISE_TIMEOUT_S = 10.0


@frozen
class Ending:
    """How a turn ended: completed, failed (with the wire's TurnError), interrupted; or handed over, which is no end."""

    status: str
    error: Mapping[str, Any] | None = None
    answered: bool = False
    """Whether the model said something whole."""

    @property
    def unread(self) -> bool:
        """Whether the thread has something to read now: an answer, or why there is none."""
        return self.answered or self.status == "failed"


@frozen
class TurnRun:
    """What a turn's work has at hand."""

    ctx: TurnContext
    sink: TurnSink
    urls: PictureUrls
    emitter: ItemEmitter
    leaving: anyio.Event
    """Set when the turn shall go on elsewhere: the work raises HandOver where nothing is open."""


class Work(Protocol):
    """What a turn does between its begin and its end."""

    @property
    def not_steerable(self) -> str | None:
        """The kind of the turn (`compact`, `review`) when the user's words cannot join it; None when they can."""
        ...

    def steer(self, words: UserMessage) -> bool:
        """Let the user's words join; False when the work is just ending or takes none."""
        ...

    async def run(self, run: TurnRun) -> None:
        """Do it; returns when it is done. Raises UpstreamError and the rest of the tree."""
        ...

    async def leave(self, run: TurnRun) -> None:
        """The turn is ending, however: keep what the user said and the model was not told yet. Not cancelled."""
        ...


class Turn:
    """One turn, from its first notification to its last. `run` never raises but cancellation."""

    def __init__(
        self,
        ctx: TurnContext,
        sink: TurnSink,
        urls: PictureUrls,
        work: Work,
        *,
        on_status: Callable[[str], None],
        on_end: Callable[[Ending], Awaitable[None]],
        begun_at_ms: int | None = None,
    ) -> None:
        """`begun_at_ms`: when another replica began it; then this one goes on."""
        self.ctx = ctx
        self.work = work
        self.scope = anyio.CancelScope()
        self.started_at_ms, self._continued = begun_at_ms, begun_at_ms is not None
        self.handed_over = False
        self._begun_seq: int | None = None
        self._sink, self._ended = sink, False
        self._on_status, self._on_end = on_status, on_end
        self._emitter = ItemEmitter(sink, ctx.pictures, ctx.clock, thread_id=ctx.thread_id, turn_id=ctx.turn_id)
        self._run = TurnRun(ctx=ctx, sink=sink, urls=urls, emitter=self._emitter, leaving=anyio.Event())

    # -- from outside
    def steer(self, words: UserMessage) -> bool:
        """Add the user's words to the running turn; its stream is cut at once. False: the turn is just ending."""
        return not self._ended and not self.scope.cancel_called and self.work.steer(words)

    def hand_over(self) -> None:
        """Leave the turn to another replica where nothing of it is open, unless it ends before."""
        self._run.leaving.set()

    def interrupt(self) -> None:
        """Stop as soon as possible; the turn still ends properly."""
        self.scope.cancel()

    def wire(
        self, *, status: str = "inProgress", error: Any = None, completed_at_ms: int | None = None
    ) -> dict[str, Any]:
        """The protocol's Turn object."""
        final = self._emitter.final_message if status == "completed" else None
        started = self.started_at_ms
        return {
            "id": self.ctx.turn_id,
            "rootTurnId": self.ctx.turn_id,
            "items": [final] if final else [],
            "itemsView": "summary" if final else "notLoaded",
            "status": status,
            "error": error,
            "startedAt": started // 1000 if started is not None else None,
            "completedAt": completed_at_ms // 1000 if completed_at_ms is not None else None,
            "durationMs": completed_at_ms - started if completed_at_ms is not None and started is not None else None,
        }

    # -- the life of the turn
    async def run(self) -> None:
        """Begin, work, end."""
        with WATCH.turn(self.ctx.thread_id, self.ctx.turn_id) as seen:
            ending = await self._whole()
            if seen is not None:
                seen.status = ending.status

    async def _whole(self) -> Ending:
        ending = Ending(status="interrupted")
        try:
            with self.scope:
                ending = await self._guarded()
        finally:
            self._ended = True
            with anyio.CancelScope(shield=True), anyio.move_on_after(FINALISE_TIMEOUT_S) as bound:
                await (self._leave() if ending.status == HANDED_OVER else self._finish(ending))
            if bound.cancelled_caught:
                log.error("turn_end_timed_out", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id)
        return ending

    async def _guarded(self) -> Ending:
        try:
            if self._continued:
                self._on_status("active")
            elif self._begun_seq is None:
                self._begin()
            await self.work.run(self._run)
        except HandOver:
            return Ending(status=HANDED_OVER)
        except UpstreamError as error:
            return Ending(status="failed", error=turn_error(error.message, error.kind, error.details))
        except AppServerError as error:
            kind: CodexErrorInfo = "unauthorized" if isinstance(error, MissingCredentials) else "other"
            return Ending(status="failed", error=turn_error(error.message, kind, None))
        except Exception:  # the turn task's last resort
            log.error("turn_crashed", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, exc_info=True)
            text = "The server failed in the middle of this turn; its log has the cause. The thread can go on."
            return Ending(status="failed", error=turn_error(text, "internalServerError", None))
        return Ending(status="completed", answered=self._emitter.final_message is not None)

    async def begin(self) -> None:
        """Begin before `run`, so that a turn is in the log when its client is told that there is one.

        Nothing may wait between the end of this and `show_begin`."""
        self._begun_seq = await self._sink.append(self._begin_record())

    def show_begin(self) -> None:
        """Tell of what `begin` made durable."""
        assert self._begun_seq is not None  # `begin` has ended
        self._show_begin(self._begun_seq)

    def _begin(self) -> None:
        """The turn begins with the first record of its work, or of its end."""
        self._sink.later(self._begin_record(), self._show_begin)

    def _begin_record(self) -> Record:
        self.started_at_ms = self.ctx.clock.now_ms()
        return Record(kind=TURN_STARTED, data={"turnId": self.ctx.turn_id, "startedAtMs": self.started_at_ms})

    def _show_begin(self, seq: int) -> None:
        self._on_status("active")
        self._sink.show("turn/started", {"threadId": self.ctx.thread_id, "turn": self.wire()}, seq=seq)

    # -- the end
    async def _leave(self) -> None:
        """The log says that the turn goes on; where it cannot, the turn is interrupted like any other."""
        data = {"turnId": self.ctx.turn_id, "outputSchema": self.ctx.output_schema}
        try:
            await self._sink.append(Record(kind=HANDED_OVER, data=data))
        except AppServerError:
            await self._finish(Ending(status="interrupted"))
            return
        self.handed_over = True
        await self._on_end(Ending(status=HANDED_OVER))

    async def _finish(self, ending: Ending) -> None:
        seq: int | None = None
        completed_at_ms = self.ctx.clock.now_ms()
        try:
            completed_at_ms, seq = await self._close(ending)
        except AppServerError as error:  # the disk itself is gone: still tell the clients how it ended
            log.error(
                "turn_end_not_stored", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, cause=error.message
            )
            self._emitter.show_unstored(error.message)
        except Exception:  # as in `_guarded`: one broken turn must not end the server
            log.error("turn_end_crashed", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, exc_info=True)
        if ending.error is None:
            await self._on_end(ending)
            self._on_status("idle")
        else:
            self._on_status("systemError")
            ids = {"threadId": self.ctx.thread_id, "turnId": self.ctx.turn_id}
            self._sink.show("error", {"error": ending.error, "willRetry": False, **ids})
            await self._on_end(ending)
        turn = self.wire(status=ending.status, error=ending.error, completed_at_ms=completed_at_ms)
        self._sink.show("turn/completed", {"threadId": self.ctx.thread_id, "turn": turn}, seq=seq)

    async def _close(self, ending: Ending) -> tuple[int, int]:
        """Everything that is open gets its end; returns when the turn ended and the seq of that record."""
        interrupted = ending.status == "interrupted"
        await self._emitter.close_open(interrupted=interrupted)
        why = self._aborted() if interrupted else "the turn failed before this call ended"
        if outputs := [call_output(call, why) for call in self._sink.history.unanswered_calls()]:
            await self._sink.append(Record(kind=HISTORY, data={"items": outputs}))
        await self.work.leave(self._run)
        records = [Record(kind=HISTORY, data={"items": [turn_aborted_note()]})] if interrupted else []
        completed_at_ms = self.ctx.clock.now_ms()
        end = {
            "turnId": self.ctx.turn_id,
            "status": ending.status,
            "error": ending.error,
            "startedAtMs": self.started_at_ms,
            "completedAtMs": completed_at_ms,
            "answered": ending.unread,
        }
        return completed_at_ms, await self._sink.append(*records, Record(kind=TURN_COMPLETED, data=end))

    def _aborted(self) -> str:
        began = self.started_at_ms or self.ctx.clock.now_ms()
        return f"aborted by user after {(self.ctx.clock.now_ms() - began) / 1000:.1f}s"
