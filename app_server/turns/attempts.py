"""One response of the model with its retries: what a broken attempt showed is closed first, clients are told of each
new attempt, and nothing is retried once a tool call of that response has started.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio

from app_server.providers.base import CodexErrorInfo, ModelRequest, UpstreamError
from app_server.storage.base import Record
from app_server.storage.records import TOKEN_USAGE
from app_server.turns.sampling import Sample, Sampler
from app_server.turns.usage import rate_limits_params, usage_json

if TYPE_CHECKING:
    from app_server.tools.planning import ToolPlan
    from app_server.turns.context import Moment, TurnContext, TurnSink
    from app_server.turns.emitter import ItemEmitter

_BACKOFF_S = 0.2
_MAX_BACKOFF_S = 10.0


class Attempts:
    """The retries of one turn."""

    def __init__(self, ctx: TurnContext, sink: TurnSink, emitter: ItemEmitter) -> None:
        self._ctx, self._sink, self._emitter = ctx, sink, emitter
        self._sampler = Sampler(ctx, sink, emitter)
        self._failed = 0

    async def sample(self, moment: Moment, request: ModelRequest, plan: ToolPlan, cut: anyio.Event) -> Sample | None:
        """One attempt; None when it broke and may be tried again (the wait is over then).

        Raises UpstreamError when it may not, or not again."""
        sample = Sample()
        try:
            await self._sampler.sample(sample, moment, request, plan, cut)
        except anyio.get_cancelled_exc_class():
            if sample.usage is not None:  # interrupted while its tools ran: the tokens are spent all the same
                with anyio.CancelScope(shield=True):
                    await self._count(sample, moment)
            raise
        except UpstreamError as error:
            await self._emitter.close_open(interrupted=False)
            self._failed += 1
            if not error.stream_retry or self._failed > moment.provider.stream_max_retries:
                raise
            await self._wait(error, moment)
            return None
        self._failed = 0
        if sample.usage is not None:
            await self._count(sample, moment)
        if sample.error is not None:
            raise sample.error
        return sample

    async def _wait(self, error: UpstreamError, moment: Moment) -> None:
        text = f"Reconnecting... {self._failed}/{moment.provider.stream_max_retries}"
        kind: CodexErrorInfo = {"responseStreamDisconnected": {"httpStatusCode": error.http_status}}
        shown = turn_error(text, kind, error.details or error.message)
        ids = {"threadId": self._ctx.thread_id, "turnId": self._ctx.turn_id}
        self._sink.show("error", {"error": shown, "willRetry": True, **ids})
        delay_s = error.retry_after_s
        if delay_s is None:
            delay_s = min(_BACKOFF_S * 2 ** (self._failed - 1), _MAX_BACKOFF_S) * random.uniform(0.9, 1.1)
        await anyio.sleep(delay_s)

    async def _count(self, sample: Sample, moment: Moment) -> None:
        assert sample.usage is not None  # the caller looked
        last = usage_json(sample.usage)
        usage = {
            "total": self._sink.add_usage(last),
            "last": last,
            "modelContextWindow": moment.scope.model.context_window_tokens,
        }
        ids = {"threadId": self._ctx.thread_id, "turnId": self._ctx.turn_id}

        def shown(seq: int) -> None:
            self._sink.show("thread/tokenUsage/updated", {**ids, "tokenUsage": usage}, seq=seq)
            self._sink.show("account/rateLimits/updated", rate_limits_params(sample.limits))

        record = Record(kind=TOKEN_USAGE, data={"turnId": self._ctx.turn_id, **usage})
        if sample.tools_started:  # the next record is that of the next answer
            shown(await self._sink.append(record))
        else:
            self._sink.later(record, shown)


def turn_error(text: str, kind: CodexErrorInfo, details: str | None) -> dict[str, Any]:
    """The wire's TurnError."""
    return {"message": text, "codexErrorInfo": kind, "additionalDetails": details, "misalignment": None}
