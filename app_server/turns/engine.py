"""The loop of one turn: begin, sample until the model is done, end. Owned by the thread's live object, run as one task.

    begin ─► plan tools ─► sample ─┬─ steered ──► the user's words join the history ─► again
                                   ├─ tool calls answered ─► again
                                   └─ done ─► end: completed
    an upstream failure ends it as failed, a cancelled scope as interrupted; whatever happens, the end is shown

The end is shielded and bounded: open items are closed, calls without an output are answered, the turn is completed.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio

from app_server.errors import AppServerError, MissingCredentials
from app_server.ids import uuid7
from app_server.observability.logging import get_logger
from app_server.protocol.items import Item, UserMessageItem
from app_server.providers.base import CodexErrorInfo, UpstreamError
from app_server.storage.base import Record
from app_server.storage.records import HISTORY, TOKEN_USAGE, TURN_COMPLETED, TURN_STARTED
from app_server.tools.planning import plan_tools
from app_server.turns.context import Moment, PictureUrls, TurnContext, TurnSink, UserMessage
from app_server.turns.emitter import ItemEmitter
from app_server.turns.history import call_output, labelled, message, turn_aborted_note, unanswered_calls, user_message
from app_server.turns.instructions import base_instructions, environment_context
from app_server.turns.request import build_request
from app_server.turns.sampling import Sample, Sampler
from app_server.turns.usage import rate_limits_params, usage_json

log = get_logger("turns")
FINALISE_TIMEOUT_S = 10.0
_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a turn ended: completed, failed (with the wire's TurnError), or interrupted."""

    status: str
    error: Mapping[str, Any] | None = None


class Turn:
    """One turn, from its first notification to its last. `run` never raises but cancellation."""

    def __init__(
        self,
        ctx: TurnContext,
        sink: TurnSink,
        urls: PictureUrls,
        first: UserMessage,
        *,
        on_status: Callable[[str], None],
        on_end: Callable[[Ending], Awaitable[None]],
    ) -> None:
        self.ctx = ctx
        self.scope = anyio.CancelScope()
        self.started_at_ms: int | None = None
        self._sink, self._urls = sink, urls
        self._messages: deque[UserMessage] = deque([first])
        self._cut = anyio.Event()
        self._accepts_steer = True
        self._warned: set[str] = set()
        self._on_status, self._on_end = on_status, on_end
        self._emitter = ItemEmitter(sink, ctx.pictures, ctx.clock, thread_id=ctx.thread_id, turn_id=ctx.turn_id)
        self._sampler = Sampler(ctx, sink, self._emitter)

    # -- from outside
    def steer(self, words: UserMessage) -> bool:
        """Add the user's words to the running turn; its stream is cut at once. False: the turn is just ending."""
        if not self._accepts_steer or self.scope.cancel_called:
            return False
        self._messages.append(words)
        self._cut.set()
        return True

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
        ending = Ending(status="interrupted")
        try:
            with self.scope:
                ending = await self._guarded()
        finally:
            self._accepts_steer = False
            with anyio.CancelScope(shield=True), anyio.move_on_after(FINALISE_TIMEOUT_S) as bound:
                await self._finish(ending)
            if bound.cancelled_caught:
                log.error("turn_end_timed_out", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id)

    async def _guarded(self) -> Ending:
        try:
            with anyio.fail_after(FINALISE_TIMEOUT_S, shield=True):  # a turn that ends has begun, with the user's words
                await self._begin()
            await self._work()
        except UpstreamError as error:
            return Ending(status="failed", error=turn_error(error.message, error.kind, error.details))
        except AppServerError as error:
            kind = "unauthorized" if isinstance(error, MissingCredentials) else "other"
            return Ending(status="failed", error=turn_error(error.message, kind, None))
        except Exception:  # the turn task's last resort
            log.error("turn_crashed", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, exc_info=True)
            text = "The server failed in the middle of this turn; its log has the cause. The thread can go on."
            return Ending(status="failed", error=turn_error(text, "internalServerError", None))
        return Ending(status="completed")

    async def _begin(self) -> None:
        self.started_at_ms = self.ctx.clock.now_ms()
        started = Record(kind=TURN_STARTED, data={"turnId": self.ctx.turn_id, "startedAtMs": self.started_at_ms})
        history: list[Mapping[str, Any]] = []
        if not self._sink.history:
            history.append(message("developer", base_instructions(self.ctx.settings)))
            if self.ctx.settings.developer_instructions:
                history.append(message("developer", self.ctx.settings.developer_instructions))
        context = environment_context(self.ctx.settings, datetime.now().astimezone())
        if context != _last_context(self._sink.history):
            history.append(message("user", context))
        await self._sink.append(started, Record(kind=HISTORY, data={"items": history}))
        self._on_status("active")
        self._sink.show("turn/started", {"threadId": self.ctx.thread_id, "turn": self.wire()})
        await self._take_messages()

    async def _work(self) -> None:
        while True:
            sample = await self._sample()
            if self._messages:
                await self._take_messages()
            elif not sample.tools_started:
                self._accepts_steer = False
                return

    async def _take_messages(self) -> None:
        """The user's words become items and history, in the order in which they came."""
        words = list(self._messages)
        self._messages.clear()
        self._cut = anyio.Event()
        items: list[tuple[Item, Item]] = []
        for each in words:
            item = UserMessageItem(id=uuid7(), client_id=each.client_id, content=())
            items.append((_with_content(item, each.shown), _with_content(item, each.stored)))
        history = Record(
            kind=HISTORY, data={"items": [user_message(labelled(each.parts, self._sink.next_handle)) for each in words]}
        )
        await self._emitter.whole(items, history)

    async def _sample(self) -> Sample:
        """One response, with the retries of protocol.md §5."""
        attempt = 0
        while not self._messages:
            moment = self.ctx.now()
            plan = plan_tools(moment.executors, moment.scope)
            for text in plan.warnings:
                if text not in self._warned:
                    self._warned.add(text)
                    self._sink.show("warning", {"threadId": self.ctx.thread_id, "message": text})
            request = await build_request(self.ctx, moment, plan, self._sink.history, self._urls)
            self._cut = anyio.Event() if not self._messages else self._cut
            try:
                sample = await self._sampler.sample(moment.provider, request, moment, plan, self._cut)
            except UpstreamError as error:
                await self._emitter.close_open(interrupted=False)
                attempt += 1
                if not error.stream_retry or attempt > moment.provider.stream_max_retries:
                    raise
                await self._wait_to_retry(error, attempt, moment)
                continue
            if sample.usage is not None:
                await self._count(sample, moment)
            if sample.error is not None:
                raise sample.error
            return sample
        return Sample()  # steered while waiting to retry: the words go first

    async def _wait_to_retry(self, error: UpstreamError, attempt: int, moment: Moment) -> None:
        text = f"Reconnecting... {attempt}/{moment.provider.stream_max_retries}"
        kind = {"responseStreamDisconnected": {"httpStatusCode": error.http_status}}
        shown = turn_error(text, kind, error.details or error.message)
        ids = {"threadId": self.ctx.thread_id, "turnId": self.ctx.turn_id}
        self._sink.show("error", {"error": shown, "willRetry": True, **ids})
        delay_s = error.retry_after_s
        if delay_s is None:
            delay_s = min(_BACKOFF_S * 2 ** (attempt - 1), _MAX_BACKOFF_S) * random.uniform(0.9, 1.1)
        await anyio.sleep(delay_s)

    async def _count(self, sample: Sample, moment: Moment) -> None:
        assert sample.usage is not None  # the caller looked
        last = usage_json(sample.usage)
        usage = {
            "total": self._sink.add_usage(last),
            "last": last,
            "modelContextWindow": moment.scope.model.context_window_tokens,
        }
        await self._sink.append(Record(kind=TOKEN_USAGE, data={"turnId": self.ctx.turn_id, **usage}))
        ids = {"threadId": self.ctx.thread_id, "turnId": self.ctx.turn_id}
        self._sink.show("thread/tokenUsage/updated", {**ids, "tokenUsage": usage})
        self._sink.show("account/rateLimits/updated", rate_limits_params(sample.limits))

    # -- the end
    async def _finish(self, ending: Ending) -> None:
        try:
            await self._close(ending)
        except AppServerError as error:  # the disk itself is gone: still tell the clients how it ended
            log.error(
                "turn_end_not_stored", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, cause=error.message
            )
        except Exception:  # as in `_guarded`: one broken turn must not end the server
            log.error("turn_end_crashed", thread_id=self.ctx.thread_id, turn_id=self.ctx.turn_id, exc_info=True)
        completed_at_ms = self.ctx.clock.now_ms()
        await self._on_end(ending)
        ids = {"threadId": self.ctx.thread_id, "turnId": self.ctx.turn_id}
        self._on_status("systemError" if ending.status == "failed" else "idle")
        if ending.error is not None:
            self._sink.show("error", {"error": ending.error, "willRetry": False, **ids})
        turn = self.wire(status=ending.status, error=ending.error, completed_at_ms=completed_at_ms)
        self._sink.show("turn/completed", {"threadId": self.ctx.thread_id, "turn": turn})

    async def _close(self, ending: Ending) -> None:
        interrupted = ending.status == "interrupted"
        await self._emitter.close_open(interrupted=interrupted)
        why = self._aborted() if interrupted else "the turn failed before this call ended"
        if outputs := [call_output(call, why) for call in unanswered_calls(self._sink.history)]:
            await self._sink.append(Record(kind=HISTORY, data={"items": outputs}))
        if self._messages:  # a steer that came with the end: its words are kept for the next turn
            await self._take_messages()
        records = [Record(kind=HISTORY, data={"items": [turn_aborted_note()]})] if interrupted else []
        end = {
            "turnId": self.ctx.turn_id,
            "status": ending.status,
            "error": ending.error,
            "startedAtMs": self.started_at_ms,
            "completedAtMs": self.ctx.clock.now_ms(),
        }
        await self._sink.append(*records, Record(kind=TURN_COMPLETED, data=end))

    def _aborted(self) -> str:
        began = self.started_at_ms or self.ctx.clock.now_ms()
        return f"aborted by user after {(self.ctx.clock.now_ms() - began) / 1000:.1f}s"


def turn_error(text: str, kind: CodexErrorInfo, details: str | None) -> dict[str, Any]:
    """The wire's TurnError."""
    return {"message": text, "codexErrorInfo": kind, "additionalDetails": details, "misalignment": None}


def _last_context(history: Sequence[Mapping[str, Any]]) -> str | None:
    """The environment context that the model was told last."""
    for item in reversed(history):
        if item.get("role") == "user":
            text = str((item.get("content") or [{}])[0].get("text", ""))
            if text.startswith("<environment_context"):
                return text
    return None


def _with_content(item: UserMessageItem, content: Sequence[Mapping[str, Any]]) -> Item:
    return UserMessageItem.model_validate({**item.wire(), "content": list(content)})
