"""account/rateLimits/read, and the end of a login that took time."""

from __future__ import annotations

from typing import Any

from app_server.errors import InvalidRequest
from app_server.methods.account import account_updated, plan
from app_server.methods.services import Context, Services
from app_server.protocol.account import GetAccountRateLimitsParams, GetAccountRateLimitsResponse, RateLimitSnapshot
from app_server.rpc.registry import method
from app_server.turns.usage import rate_limits_params


@method("account/rateLimits/read", GetAccountRateLimitsParams)
async def account_rate_limits_read(
    ctx: Context, params: GetAccountRateLimitsParams | None
) -> GetAccountRateLimitsResponse:
    """What the newest answer of a provider told of limits; nothing is asked for it. All null before the first one."""
    services = ctx.services
    auth, heard = services.auth.snapshot(), services.limits.last
    if heard is None and not auth.is_chatgpt:
        raise InvalidRequest(
            "account/rateLimits/read needs a ChatGPT login, or an answer of a provider that tells its limits; "
            "log in with account/login/start, or run a turn first.",
            data_code="loginRequired",
        )
    told = {**rate_limits_params(heard)["rateLimits"], "planType": plan(auth.plan) if auth.is_chatgpt else None}
    snapshot = RateLimitSnapshot.model_validate(told)
    return GetAccountRateLimitsResponse(
        account_id=auth.account_id, rate_limits=snapshot, rate_limits_by_limit_id={str(snapshot.limit_id): snapshot}
    )


def login_ended(services: Services, login_id: str, why: str | None) -> None:
    """Tell everybody how a login ended; why None: it is good."""
    outcome: dict[str, Any] = {"loginId": login_id, "success": why is None, "error": why, "onboardingEntrypoint": None}
    services.hub.broadcast("account/login/completed", outcome)
    if why is None:
        services.limits.forget()
        auth = services.auth.snapshot()
        services.hub.broadcast("account/updated", account_updated(auth.mode, auth.plan))
