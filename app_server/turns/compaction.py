"""Compaction: the model writes a summary of the conversation, and the history goes on from it.

Asked for by thread/compact/start, or before a turn's first request when the context is nearly full. What is kept: the
base instructions, the user's own words (the newest first, up to `KEPT_USER_CHARS`), and the summary. The log keeps all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from app_server.errors import AppServerError
from app_server.ids import uuid7
from app_server.protocol.items import ContextCompactionItem
from app_server.storage.base import Record
from app_server.storage.records import COMPACTED
from app_server.tools.planning import ToolPlan
from app_server.turns.attempts import Attempts
from app_server.turns.emitter import ItemEmitter
from app_server.turns.history import message
from app_server.turns.quiet import QuietSink
from app_server.turns.request import build_request

if TYPE_CHECKING:
    from app_server.extension_api.scopes import ModelFacts
    from app_server.turns.context import TurnSink, UserMessage
    from app_server.turns.engine import TurnRun

KEPT_USER_CHARS = 80_000
FULL_PERCENT = 95
"""Of the effective context window: from there on the next turn compacts first."""
REQUEST = """\
The context of this conversation is nearly used up. Write a hand-off summary for the one who goes on with it and sees \
nothing else: what the user wants, what was decided and done (files, pictures with their handles and paths, commands), \
what is still open and what comes next. Be complete and brief; write only the summary."""
PREAMBLE = """\
The earlier part of this conversation was replaced by this summary. Go on from it; do not mention it unless asked."""
_OURS = ("<environment_context", "<turn_aborted", "<user_shell_command", PREAMBLE)


class Compaction:
    """The `Work` of thread/compact/start."""

    not_steerable: str | None = "compact"

    def steer(self, words: UserMessage) -> bool:
        return False

    async def leave(self, run: TurnRun) -> None:
        pass

    async def run(self, run: TurnRun) -> None:
        await compact(run)


async def compact(run: TurnRun) -> None:
    """Compact the history; shown as one contextCompaction item. Raises UpstreamError."""
    item = ContextCompactionItem(id=uuid7())
    await run.emitter.started(item)
    quiet = QuietSink(run.sink, [*run.sink.history, message("user", REQUEST)])
    summary = await _summary(run, quiet)
    kept = compacted_history(run.sink.history, summary)
    await run.emitter.completed(item, extra=[Record(kind=COMPACTED, data={"history": kept})])


async def _summary(run: TurnRun, quiet: QuietSink) -> str:
    """Ask the model, without showing its words to clients."""
    ctx = run.ctx
    emitter = ItemEmitter(quiet, ctx.pictures, ctx.clock, thread_id=ctx.thread_id, turn_id=ctx.turn_id)
    hidden = Attempts(ctx, quiet, emitter)
    plan = ToolPlan(specs=(), routes={}, hidden=(), max_parallel={})
    sample = None
    while sample is None:
        moment = ctx.now()
        request = await build_request(
            ctx,
            moment,
            plan,
            quiet.history,
            run.urls,
            window=run.sink.window,
            parallel_tool_calls=False,
            kind="compaction",
        )
        sample = await hidden.sample(moment, request, plan, anyio.Event())
    final = emitter.final_message
    text = str(final["text"]).strip() if final is not None else ""
    if not text:
        raise AppServerError("The model wrote no summary, so the conversation was not compacted; try again.")
    return text


def compacted_history(history: Sequence[Mapping[str, Any]], summary: str) -> list[Mapping[str, Any]]:
    """The history that goes on: base instructions, the user's words, the summary. Pure."""
    base = next((item for item in history if item.get("role") == "developer"), None)
    words: list[Mapping[str, Any]] = []
    room = KEPT_USER_CHARS
    for item in reversed(history):
        text = _user_text(item)
        if text is not None and len(text) <= room:
            room -= len(text)
            words.append(item)
    return [*([base] if base is not None else []), *reversed(words), message("user", f"{PREAMBLE}\n\n{summary}")]


def context_is_full(sink: TurnSink, model: ModelFacts) -> bool:
    """Whether the next turn has to compact first. Pure."""
    window, used = model.context_window_tokens, sink.context_tokens
    return window is not None and used * 100 >= window * FULL_PERCENT


def _user_text(item: Mapping[str, Any]) -> str | None:
    """The words of a message that the user wrote; None for anything else."""
    if item.get("type") != "message" or item.get("role") != "user":
        return None
    text = "\n".join(str(part.get("text", "")) for part in item.get("content") or [])
    return None if text.startswith(_OURS) else text
