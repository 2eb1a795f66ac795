"""thread/goal/set, get, clear and thread/readState/update: small facts that people and clients keep with a thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app_server.errors import InvalidRequest
from app_server.ids import uuid7
from app_server.methods.services import Context
from app_server.protocol.thread_more import (
    ThreadGoalClearParams,
    ThreadGoalGetParams,
    ThreadGoalSetParams,
    ThreadReadStateUpdateParams,
)
from app_server.rpc.registry import method
from app_server.threads.missed import meta_notification


@method("thread/goal/set", ThreadGoalSetParams)
async def thread_goal_set(ctx: Context, params: ThreadGoalSetParams) -> dict[str, Any]:
    """Set or change the goal; everybody who follows the thread is told."""
    row = await ctx.services.threads.row(params.thread_id)
    goal = changed_goal(row.meta.get("goal"), params, row.thread_id, ctx.services.clock.now_ms() // 1000)
    await _change(ctx, row.thread_id, {"goal": goal})
    return {"goal": goal}


@method("thread/goal/get", ThreadGoalGetParams)
async def thread_goal_get(ctx: Context, params: ThreadGoalGetParams) -> dict[str, Any]:
    """The goal, or null."""
    row = await ctx.services.threads.row(params.thread_id)
    return {"goal": row.meta.get("goal")}


@method("thread/goal/clear", ThreadGoalClearParams)
async def thread_goal_clear(ctx: Context, params: ThreadGoalClearParams) -> dict[str, Any]:
    """Forget the goal."""
    row = await ctx.services.threads.row(params.thread_id)
    if row.meta.get("goal") is None:
        return {"cleared": False}
    await _change(ctx, row.thread_id, {"goal": None})
    return {"cleared": True}


@method("thread/readState/update", ThreadReadStateUpdateParams)
async def thread_read_state_update(ctx: Context, params: ThreadReadStateUpdateParams) -> dict[str, Any]:
    """Mark a thread read or unread; refused when the state has changed since the client saw it."""
    row = await ctx.services.threads.row(params.thread_id)
    before: Mapping[str, Any] = row.meta.get("readState") or {"firstUnread": None, "revision": ""}
    if before["revision"] != params.expected_revision:
        raise InvalidRequest(
            "the read state has changed; read the thread again and use its revision",
            data_code="revisionConflict",
            data={"readState": before},
        )
    unread = params.operation.type == "unread"
    first = (before["firstUnread"] or {"type": "threadStart"}) if unread else None
    after = {"firstUnread": first, "revision": uuid7()}
    await _change(ctx, row.thread_id, {"readState": after})
    return {"readState": after}


async def _change(ctx: Context, thread_id: str, changes: Mapping[str, Any]) -> None:
    """Keep it with the thread, and tell those who follow it behind the reply."""
    _, seq = await ctx.services.threads.set_meta(thread_id, changes)
    if (shown := meta_notification(thread_id, changes)) is not None:
        method_name, params = shown
        told = {**params, "seq": seq}
        ctx.after_reply(lambda: ctx.services.hub.notify_thread(thread_id, method_name, told))


def changed_goal(
    before: Mapping[str, Any] | None, params: ThreadGoalSetParams, thread_id: str, now_s: int
) -> dict[str, Any]:
    """The goal after a change. Raises InvalidRequest for a new goal without an objective. Pure."""
    objective = (params.objective or "").strip() or (before or {}).get("objective")
    if not objective:
        raise InvalidRequest("objective must not be empty", data_code="emptyObjective")
    fresh = before is None or (params.objective is not None and objective != before["objective"])
    base: Mapping[str, Any] = {} if fresh or before is None else before
    return {
        "threadId": thread_id,
        "objective": objective,
        "status": params.status or base.get("status", "active"),
        "tokenBudget": params.token_budget if params.token_budget is not None else base.get("tokenBudget"),
        "tokensUsed": base.get("tokensUsed", 0),
        "timeUsedSeconds": base.get("timeUsedSeconds", 0),
        "createdAt": base.get("createdAt", now_s),
        "updatedAt": now_s,
    }
