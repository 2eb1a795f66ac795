"""The work of review/start: the model reads a change and says what is wrong with it.

    enteredReviewMode ─► one hidden request with the change ─► exitedReviewMode ─► the same text as a message

The change is put into the request as a diff, for the model has no shell here. What it writes is JSON of findings, or
plain text, which is taken as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from app_server.ids import uuid7
from app_server.protocol.items import AgentMessageItem, EnteredReviewModeItem, ExitedReviewModeItem, Item
from app_server.tools.planning import ToolPlan
from app_server.turns.attempts import Attempts
from app_server.turns.conversation import opening_items
from app_server.turns.emitter import ItemEmitter
from app_server.turns.history import message
from app_server.turns.quiet import QuietSink
from app_server.turns.request import build_request
from app_server.turns.running_history import RunningHistory
from app_server.values import frozen
from app_server.workspace.git import commit_diff, diff_between, working_tree_diff

if TYPE_CHECKING:
    from app_server.turns.context import UserMessage
    from app_server.turns.engine import TurnRun

INSTRUCTIONS = """\
You review a change for its author. Look for what would hurt them: bugs, lost data, security holes, broken interfaces,
tests that cannot fail. Leave taste alone. Answer with JSON only:
{"findings": [{"title": "[P0-P3] short", "body": "why it is wrong and when", "confidence_score": 0.0-1.0,
"priority": 0-3, "code_location": {"absolute_file_path": "…", "line_range": {"start": 1, "end": 1}}}],
"overall_correctness": "patch is correct" or "patch is incorrect",
"overall_explanation": "one to three sentences", "overall_confidence_score": 0.0-1.0}"""


@frozen
class ReviewTarget:
    """What is reviewed: a label for people, the request in words, and what the diff is taken of."""

    label: str
    request: str
    kind: str
    revision: str | None = None


class Review:
    """The `Work` of review/start."""

    not_steerable: str | None = "review"

    def __init__(self, target: ReviewTarget) -> None:
        self._target = target

    def steer(self, words: UserMessage) -> bool:
        return False

    async def leave(self, run: TurnRun) -> None:
        pass

    async def run(self, run: TurnRun) -> None:
        entered = EnteredReviewModeItem(id=uuid7(), review=self._target.label)
        await run.emitter.whole([(entered, entered)])
        text = review_text(await self._ask(run))
        exited: Item = ExitedReviewModeItem(id=uuid7(), review=text)
        await run.emitter.whole([(exited, exited)])
        told = (
            f"<user_action>\nThe user asked for a review ({self._target.label}). Its result:\n\n{text}\n</user_action>"
        )
        shown = AgentMessageItem(id=f"msg_{uuid7()}", text=text)
        await run.emitter.completed(shown, history=[message("user", told)])

    async def _ask(self, run: TurnRun) -> str:
        ctx = run.ctx
        diff = await self._diff(Path(ctx.settings.cwd))
        change = f"\n\nThe change:\n\n{diff}" if diff else ""
        history = [
            message("developer", INSTRUCTIONS),
            *[item for item in opening_items(RunningHistory(), ctx.settings) if item["role"] == "user"],
            message("user", self._target.request + change),
        ]
        quiet = QuietSink(run.sink, history)
        emitter = ItemEmitter(quiet, ctx.pictures, ctx.clock, thread_id=ctx.thread_id, turn_id=ctx.turn_id)
        attempts = Attempts(ctx, quiet, emitter)
        plan = ToolPlan(specs=(), routes={}, hidden=(), max_parallel={})
        sample = None
        while sample is None:
            moment = ctx.now()
            request = await build_request(
                ctx, moment, plan, quiet.history, run.urls, window=run.sink.window, kind="review"
            )
            sample = await attempts.sample(moment, request, plan, anyio.Event())
        final = emitter.final_message
        return str(final["text"]) if final is not None else ""

    async def _diff(self, cwd: Path) -> str | None:
        match self._target.kind:
            case "uncommittedChanges":
                return await working_tree_diff(cwd)
            case "baseBranch":
                return await diff_between(cwd, self._target.revision or "")
            case "commit":
                return await commit_diff(cwd, self._target.revision or "")
            case _:
                return await working_tree_diff(cwd)


def review_text(answer: str) -> str:
    """The findings as a text with a bullet for each; an answer that is no such JSON is taken as it is. Pure."""
    try:
        value = orjson.loads(answer)
        explanation, findings = str(value["overall_explanation"]), [_finding(each) for each in value["findings"]]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        return answer.strip() or "The reviewer wrote nothing."
    if not findings:
        return explanation
    return f"{explanation}\n\nReview comment{'s' if len(findings) > 1 else ''}:\n\n" + "\n\n".join(findings)


def _finding(finding: Mapping[str, Any]) -> str:
    place = finding["code_location"]
    lines = place["line_range"]
    body = "\n".join(f"  {line}" for line in str(finding["body"]).splitlines())
    where = f"{place['absolute_file_path']}:{lines['start']}-{lines['end']}"
    return f"- {finding['title']} — {where}\n{body}"
