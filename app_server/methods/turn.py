"""turn/start, turn/steer, turn/interrupt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app_server.errors import InvalidRequest
from app_server.methods.services import Context
from app_server.protocol.turn import TurnInterruptParams, TurnStartParams, TurnSteerParams
from app_server.rpc.quirks import turn_gap_s
from app_server.rpc.registry import method
from app_server.threads.live_thread import LiveThread
from app_server.turns.attempts import turn_error
from app_server.turns.context import UserMessage
from app_server.turns.engine import Turn
from app_server.turns.user_input import resolve_input

if TYPE_CHECKING:
    from app_server.tenants.limits import Held


@method("turn/start", TurnStartParams)
async def turn_start(ctx: Context, params: TurnStartParams) -> dict[str, Any]:
    """Start a turn; while one runs it is a steer of that one, as in the reference. The turn begins behind the reply."""
    services = ctx.services
    live = await services.threads.require(params.thread_id)
    if not params.input:
        raise InvalidRequest("input must not be empty", data_code="emptyInput")
    services.providers.table(live.settings.model_provider)
    message = await _message(ctx, live, params)
    gap_s = turn_gap_s(ctx.session)
    # where another replica would go on without us, a turn is in the log before its client hears of it; for a client of
    # another replica that one looks into the log (`replicas/commands`)
    begin = services.threads.elsewhere is not None and ctx.session.is_here and not gap_s
    held: Held | None = None
    try:
        while (running := live.active) is not None or (held is None and services.allowance is not None):
            if running is not None:
                if running.steer(message):
                    return {"turn": running.wire()}
                await live.settled()  # it is just ending: the words begin a turn of their own
                live = await services.threads.require(params.thread_id)
            elif services.allowance is not None:
                held = await services.allowance.turn()  # meanwhile another turn may have begun
        turn = await live.start_turn(message, params, begin=begin)
        if services.allowance is not None and held is not None:
            services.allowance.until_over(held, live.settled, lambda: live.active is not turn)
            held = None
    finally:
        if held is not None:
            await held.free()
    if begin:
        ctx.after_reply(turn.show_begin)
    ctx.after_reply(lambda: services.threads.run(live, turn, after_s=gap_s))
    return {"turn": {**turn.wire(), "startedAt": None}}


@method("turn/steer", TurnSteerParams)
async def turn_steer(ctx: Context, params: TurnSteerParams) -> dict[str, Any]:
    """Add the user's words to the running turn; its stream is cut at once."""
    live = await ctx.services.threads.require(params.thread_id)
    live.require_turn(params.expected_turn_id, "steer")
    if not params.input:
        raise InvalidRequest("input must not be empty", data_code="emptyInput")
    message = await _message(ctx, live, params)
    turn = live.require_turn(params.expected_turn_id, "steer")
    refuse_unsteerable(turn)
    if not turn.steer(message):
        raise InvalidRequest("no active turn to steer", data_code="noActiveTurn")
    return {"turnId": turn.ctx.turn_id}


@method("turn/interrupt", TurnInterruptParams)
async def turn_interrupt(ctx: Context, params: TurnInterruptParams) -> dict[str, Any]:
    """Stop the running turn; `turn/completed` with status interrupted follows the reply."""
    live = await ctx.services.threads.require(params.thread_id)
    turn = live.require_turn(params.turn_id, "interrupt")
    ctx.after_reply(turn.interrupt)
    return {}


def refuse_unsteerable(turn: Turn) -> None:
    """Raises InvalidRequest for a turn that takes no words, in the reference's shape."""
    if (kind := turn.work.not_steerable) is not None:
        text = f"cannot steer a {kind} turn"
        error = turn_error(text, {"activeTurnNotSteerable": {"turnKind": kind}}, None)
        raise InvalidRequest(text, data_code="turnNotSteerable", data=error)


async def _message(ctx: Context, live: LiveThread, params: TurnStartParams | TurnSteerParams) -> UserMessage:
    ground = ctx.services.ground
    return await resolve_input(
        params.input,
        client_id=params.client_user_message_id,
        cwd=Path(live.settings.cwd) if ground is None else ground.folder,
        thread_id=live.thread_id,
        pictures=ctx.services.pictures,
        tilde=ground is None,
    )
