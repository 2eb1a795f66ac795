"""One response of the model: the stream becomes items, its tool calls start as soon as they are whole.

What is finished is durable with its history in one commit, so a broken stream loses nothing that was shown as complete.
All tool calls of a response run side by side (bounded); their outputs are placed in the order of the calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from app_server.errors import first_cause
from app_server.hooks.payload import HookTurn, permission_mode
from app_server.hooks.tool_hooks import ToolHooks
from app_server.ids import uuid7
from app_server.observability.watch import WATCH
from app_server.protocol.items import AgentMessageItem, ReasoningItem
from app_server.providers.base import (
    Completed,
    ItemAdded,
    ItemDone,
    ModelRequest,
    ProviderEvent,
    RateLimits,
    ReasoningDelta,
    ReasoningPartAdded,
    TextDelta,
    TokenUsage,
    UpstreamError,
)
from app_server.providers.responses_events import rate_limits
from app_server.storage.base import Record
from app_server.storage.records import HISTORY, PAID_CALL
from app_server.tools.router import CallWork, Routed, called_name, run_call
from app_server.turns import hosted_pictures
from app_server.turns.history import call_output, from_upstream
from app_server.turns.usage import rate_limits_params

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.extension_api.services import ExtensionItem
    from app_server.extension_api.tools import PictureRef, ToolName
    from app_server.tools.planning import ToolPlan
    from app_server.turns.context import Moment, TurnContext, TurnSink
    from app_server.turns.emitter import ItemEmitter

MAX_PARALLEL_TOOLS = 8
_CALLS = ("function_call", "custom_tool_call")
UNKNOWN_TOOL = "unknown"
"""In traces, in place of a name that the model made up."""


@dataclass(slots=True)
class Sample:
    """What came of one response. `error` is set when the stream broke after a tool call had started."""

    usage: TokenUsage | None = None
    limits: RateLimits | None = None
    calls: list[Mapping[str, Any]] = field(default_factory=list)
    outputs: dict[int, Routed] = field(default_factory=dict)
    error: UpstreamError | None = None

    @property
    def tools_started(self) -> bool:
        return bool(self.calls)


class CallItems:
    """The `Items` of one tool call: closes what the tool left open."""

    def __init__(self, emitter: ItemEmitter, sink: TurnSink, ctx: TurnContext) -> None:
        self._emitter, self._sink = emitter, sink
        self._thread_id, self._turn_id = ctx.thread_id, ctx.turn_id
        self._started: list[str] = []

    async def started(self, item: ExtensionItem) -> None:
        self._started.append(item.id)
        await self._emitter.started(item)

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None:
        await self._emitter.completed(item, picture=picture)

    async def warning(self, message: str) -> None:
        self._sink.show("warning", {"threadId": self._thread_id, "message": message})

    def rate_limits(self, headers: Mapping[str, str]) -> None:
        limits = rate_limits({name.lower(): value for name, value in headers.items()})
        if limits.primary is not None or limits.secondary is not None:
            self._sink.show("account/rateLimits/updated", rate_limits_params(limits))

    async def paid_call(self, item_id: str, idempotency_key: str) -> None:
        data = {"turnId": self._turn_id, "itemId": item_id, "key": idempotency_key}
        await self._sink.append(Record(kind=PAID_CALL, data=data))

    def progress(
        self, item_id: str, *, elapsed_ms: int, partial_index: int | None = None, preview: str | None = None
    ) -> None:
        self._emitter.picture_progress(item_id, elapsed_ms, partial_index, preview)

    async def close(self) -> None:
        """The call is over: an item that it started and never completed is completed as failed."""
        await self._emitter.close_open(self._started, interrupted=False)


class Sampler:
    """Samples one response for a turn."""

    def __init__(self, ctx: TurnContext, sink: TurnSink, emitter: ItemEmitter) -> None:
        self._ctx, self._sink, self._emitter = ctx, sink, emitter
        self._limiter = anyio.CapacityLimiter(MAX_PARALLEL_TOOLS)
        self._hosted: list[str] = []
        self._tool_limiters: dict[ToolName, anyio.CapacityLimiter] = {}
        self._hooks = ToolHooks(ctx.hooks, hook_turn(ctx), ctx.clock, sink.show)

    async def sample(
        self, sample: Sample, moment: Moment, request: ModelRequest, plan: ToolPlan, cut: anyio.Event
    ) -> None:
        """Stream one response into `sample`, or until `cut` is set (a steer); tools that started are always awaited.

        Raises:
            UpstreamError: the stream broke before any tool call had started; open items are still open.
        """
        try:
            await self._stream(sample, request, moment, plan, cut)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._place_outputs(sample)  # a picture that is ready is paid for: the next turn can build on it
            raise
        except ExceptionGroup as group:  # what failed inside the task group is a plain error for the caller
            raise first_cause(group) from None
        if sample.error is not None and not sample.tools_started:
            raise sample.error
        await self._place_outputs(sample)

    async def _stream(
        self,
        sample: Sample,
        request: ModelRequest,
        moment: Moment,
        plan: ToolPlan,
        cut: anyio.Event,
    ) -> None:
        async with anyio.create_task_group() as tools:
            with anyio.CancelScope() as streaming:
                tools.start_soon(_cancel_when, cut, streaming)
                try:
                    heard = replace(request, on_text=self._emitter.text_delta)
                    with WATCH.answer(moment.provider.facts.id, request.model):
                        async with aclosing(moment.provider.stream(heard)) as events:
                            async for event in events:
                                if type(event) is TextDelta:  # most events: no coroutine is made for each
                                    self._emitter.text_delta(event.item_id, event.delta)
                                else:
                                    await self._take(event, sample, moment, plan, tools)
                except UpstreamError as error:
                    sample.error = error
            cut_now = cut.is_set()
            cut.set()  # ends the watcher; the caller makes a new event for every response
            if sample.error is not None and not sample.tools_started:
                tools.cancel_scope.cancel()
            elif cut_now:
                await self._emitter.close_open([*self._emitter.open_streamed(), *self._hosted], interrupted=False)

    async def _take(
        self, event: ProviderEvent, sample: Sample, moment: Moment, plan: ToolPlan, tools: TaskGroup
    ) -> None:
        match event:
            case ReasoningDelta():
                self._emitter.reasoning_delta(event.item_id, event.index, event.delta, summary=event.summary)
            case ReasoningPartAdded():
                self._emitter.summary_part(event.item_id, event.index)
            case ItemAdded():
                await self._added(event.item)
            case ItemDone():
                await self._done(event.item, sample, moment, plan, tools)
            case RateLimits():
                sample.limits = event
            case Completed():
                sample.usage = event.usage or TokenUsage()

    async def _added(self, item: Mapping[str, Any]) -> None:
        match item.get("type"):
            case "message":
                await self._emitter.started(AgentMessageItem(id=str(item["id"]), text="", phase=item.get("phase")))
            case "reasoning":
                await self._emitter.started(ReasoningItem(id=str(item["id"])))
            case "image_generation_call":
                self._hosted.append(str(item["id"]))
                await self._emitter.started(hosted_pictures.begun(item))

    async def _done(
        self, item: Mapping[str, Any], sample: Sample, moment: Moment, plan: ToolPlan, tools: TaskGroup
    ) -> None:
        match item.get("type"):
            case "message":
                texts = [
                    str(part.get("text", "")) for part in item.get("content") or [] if part.get("type") == "output_text"
                ]
                whole = AgentMessageItem(id=str(item["id"]), text="".join(texts), phase=item.get("phase"))
                await self._emitter.completed(whole, history=[from_upstream(item)])
            case "reasoning":
                summary = tuple(str(part.get("text", "")) for part in item.get("summary") or [])
                content = tuple(str(part.get("text", "")) for part in item.get("content") or [])
                whole_reasoning = ReasoningItem(id=str(item["id"]), summary=summary, content=content)
                await self._emitter.completed(whole_reasoning, history=[from_upstream(item)])
            case "image_generation_call":
                await hosted_pictures.finish(item, self._ctx, self._emitter, self._sink.next_handle)
            case kind if kind in _CALLS:
                call = from_upstream({**item, "call_id": item.get("call_id") or item.get("id") or f"call_{uuid7()}"})
                await self._sink.append(Record(kind=HISTORY, data={"items": [call]}))
                sample.calls.append(call)
                tools.start_soon(self._call, len(sample.calls) - 1, call, sample, moment, plan)
            case _:
                await self._sink.append(Record(kind=HISTORY, data={"items": [from_upstream(item)]}))

    async def _call(self, index: int, call: Mapping[str, Any], sample: Sample, moment: Moment, plan: ToolPlan) -> None:
        async with self._tool_limiter(plan, called_name(call)), self._limiter:
            items = CallItems(self._emitter, self._sink, self._ctx)
            work = CallWork(
                scope=moment.scope,
                history=self._sink.history,
                items=items,
                next_handle=self._sink.next_handle,
                hooks=self._hooks,
                ready=partial(sample.outputs.__setitem__, index),
            )
            name = called_name(call)
            with WATCH.call(str(name) if name in plan.routes else UNKNOWN_TOOL) as seen:
                sample.outputs[index] = routed = await run_call(plan, call, work)
                if seen is not None:
                    seen.answered(failed=routed.failed)
            await items.close()

    def _tool_limiter(self, plan: ToolPlan, name: ToolName) -> anyio.CapacityLimiter:
        """The bound of one tool within this turn; the outer one, so that waiting calls take no common place."""
        bound = plan.max_parallel.get(name, MAX_PARALLEL_TOOLS)
        return self._tool_limiters.setdefault(name, anyio.CapacityLimiter(bound))

    async def _place_outputs(self, sample: Sample) -> None:
        """In the order of the calls; one that was cut has none here and gets its answer when the turn is closed."""
        done = sorted(sample.outputs.items())
        if outputs := [call_output(sample.calls[index], routed.output) for index, routed in done]:
            await self._sink.append(Record(kind=HISTORY, data={"items": outputs}))


def hook_turn(ctx: TurnContext) -> HookTurn:
    """What hooks are told of the turn."""
    return HookTurn(
        thread_id=ctx.thread_id,
        turn_id=ctx.turn_id,
        cwd=ctx.settings.cwd,
        model=ctx.settings.model,
        permission_mode=permission_mode(ctx.settings.approval_policy),
    )


async def _cancel_when(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
