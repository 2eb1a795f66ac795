"""One request to the provider, built from the turn's facts. Pure, but for the look-up of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from app_server.providers.base import ModelRequest

if TYPE_CHECKING:
    from app_server.tools.planning import ToolPlan
    from app_server.turns.context import Moment, PictureUrls, TurnContext
    from app_server.turns.running_history import RunningHistory

_DEFAULT_EFFORT = "medium"
_DEFAULT_VERBOSITY = "low"


async def build_request(
    ctx: TurnContext,
    moment: Moment,
    plan: ToolPlan,
    history: RunningHistory,
    urls: PictureUrls,
    *,
    window: int,
    parallel_tool_calls: bool = True,
    kind: str = "turn",
) -> ModelRequest:
    """The request of protocol.md §12. `window` counts the compactions of the thread."""
    metadata = turn_metadata(ctx, kind)
    window_id = f"{ctx.thread_id}:{window}"
    return ModelRequest(
        model=ctx.settings.model,
        input=await history.render(urls, takes_original=moment.scope.model.known),
        tools=plan.specs,
        reasoning=_reasoning(ctx, moment),
        text=_text(ctx),
        prompt_cache_key=ctx.thread_id,
        client_metadata={
            "session_id": ctx.thread_id,
            "thread_id": ctx.thread_id,
            "turn_id": ctx.turn_id,
            "root_turn_id": ctx.turn_id,
            "x-codex-installation-id": ctx.installation_id,
            "x-codex-window-id": window_id,
            "x-codex-turn-metadata": metadata,
        },
        headers={
            "originator": moment.scope.originator,
            "session-id": ctx.thread_id,
            "thread-id": ctx.thread_id,
            "x-client-request-id": ctx.thread_id,
            "x-codex-window-id": window_id,
            "x-codex-turn-metadata": metadata,
        },
        parallel_tool_calls=parallel_tool_calls,
    )


def turn_metadata(ctx: TurnContext, kind: str) -> str:
    """A small JSON object about the turn, as the reference's upstream gets it; ASCII, for it is a header."""
    facts = {
        "session_id": ctx.thread_id,
        "thread_id": ctx.thread_id,
        "turn_id": ctx.turn_id,
        "request_kind": kind,
        "sandbox_mode": str(ctx.settings.sandbox.get("type")),
    }
    return orjson.dumps(facts).decode()


def _reasoning(ctx: TurnContext, moment: Moment) -> dict[str, Any]:
    settings = ctx.settings
    out: dict[str, Any] = {"effort": settings.effort or moment.scope.model.default_effort or _DEFAULT_EFFORT}
    if settings.summary and settings.summary != "none":
        out["summary"] = settings.summary
    return out


def _text(ctx: TurnContext) -> dict[str, Any]:
    out: dict[str, Any] = {"verbosity": ctx.settings.verbosity or _DEFAULT_VERBOSITY}
    if ctx.output_schema is not None:
        out["format"] = {
            "type": "json_schema",
            "strict": True,
            "schema": ctx.output_schema,
            "name": "codex_output_schema",
        }
    return out
