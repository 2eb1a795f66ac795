"""The usual work of a turn: the user's words go to the model, until it has nothing more to do.

context and words ─► plan tools ─► sample ─┬─ steered ──► the user's words join the history ─► again
                                           ├─ tool calls answered ─► again
                                           └─ done
before the first request: when the context is nearly full, it is compacted first
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import anyio

from app_server.ids import uuid7
from app_server.protocol.items import Item, UserMessageItem
from app_server.storage.base import Record
from app_server.storage.records import HISTORY
from app_server.tools.planning import plan_tools
from app_server.turns.attempts import Attempts
from app_server.turns.compaction import compact, context_is_full
from app_server.turns.context import HandOver
from app_server.turns.history import labelled, message, user_message
from app_server.turns.instructions import base_instructions, environment_context
from app_server.turns.request import build_request

if TYPE_CHECKING:
    from app_server.turns.context import Moment, Settings, UserMessage
    from app_server.turns.engine import TurnRun
    from app_server.turns.running_history import RunningHistory
    from app_server.turns.sampling import Sample

OPENING_TIMEOUT_S = 10.0


class Conversation:
    """The `Work` of turn/start; without words it goes on with a turn that another replica began."""

    not_steerable: str | None = None

    def __init__(self, first: UserMessage | None) -> None:
        self._continues = first is None
        self._messages: deque[UserMessage] = deque([] if first is None else [first])
        self._cut = anyio.Event()
        self._accepts = True
        self._warned: set[str] = set()

    def steer(self, words: UserMessage) -> bool:
        if not self._accepts:
            return False
        self._messages.append(words)
        self._cut.set()
        return True

    async def run(self, run: TurnRun) -> None:
        attempts = Attempts(run.ctx, run.sink, run.emitter)
        moment = run.ctx.now() if self._continues else await self._open(run)
        while True:
            sample = await self._sample(run, attempts, moment)
            if self._messages:
                await self._take_messages(run)
            elif sample is None or not sample.tools_started:
                self._accepts = False
                return
            if run.leaving.is_set():
                self._accepts = False
                raise HandOver
            moment = run.ctx.now()

    async def _open(self, run: TurnRun) -> Moment:
        try:
            moment = run.ctx.now()
            if context_is_full(run.sink, moment.scope.model):
                await compact(run)
                moment = run.ctx.now()
        finally:  # the user's words are kept, whatever becomes of the compaction
            with anyio.fail_after(OPENING_TIMEOUT_S, shield=True):
                await self._take_messages(run, opening_items(run.sink.history, run.ctx.settings))
        return moment

    async def leave(self, run: TurnRun) -> None:
        if self._messages:  # a steer that came with the end: its words are kept for the next turn
            await self._take_messages(run)

    async def _take_messages(self, run: TurnRun, opening: Sequence[Mapping[str, Any]] = ()) -> None:
        """The user's words become items and history, in the order in which they came, behind what opens the turn."""
        words = list(self._messages)
        self._messages.clear()
        self._cut = anyio.Event()
        items: list[tuple[Item, Item]] = []
        for each in words:
            item = UserMessageItem(id=uuid7(), client_id=each.client_id, content=())
            stored = _with_content(item, each.stored)
            items.append((stored if each.shown == each.stored else _with_content(item, each.shown), stored))
        parts = [user_message(labelled(each.parts, run.sink.next_handle)) for each in words]
        await run.emitter.whole(items, Record(kind=HISTORY, data={"items": [*opening, *parts]}))

    async def _sample(self, run: TurnRun, attempts: Attempts, moment: Moment) -> Sample | None:
        """One response, retried as long as that is allowed; None when the user's words came before it did."""
        while not self._messages:
            plan = plan_tools(moment.executors, moment.scope)
            for text in plan.warnings:
                if text not in self._warned:
                    self._warned.add(text)
                    run.sink.show("warning", {"threadId": run.ctx.thread_id, "message": text})
            request = await build_request(run.ctx, moment, plan, run.sink.history, run.urls, window=run.sink.window)
            if not self._messages:
                self._cut = anyio.Event()
            if (sample := await attempts.sample(moment, request, plan, self._cut)) is not None:
                return sample
            moment = run.ctx.now()
        return None


def opening_items(history: RunningHistory, settings: Settings) -> list[Mapping[str, Any]]:
    """What stands before the user's words: instructions at the thread's begin, the context whenever it changed."""
    items: list[Mapping[str, Any]] = []
    if not history.instructed:
        items.append(message("developer", base_instructions(settings)))
        if settings.developer_instructions:
            items.append(message("developer", settings.developer_instructions))
    context = environment_context(settings, datetime.now().astimezone())
    if context != history.context:
        items.append(message("user", context))
    return items


def _with_content(item: UserMessageItem, content: Sequence[Mapping[str, Any]]) -> Item:
    return UserMessageItem.model_validate({**item.wire(), "content": list(content)})
