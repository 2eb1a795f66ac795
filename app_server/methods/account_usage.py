"""account/usage/read: what the account, or one thread of it, has used, as the ChatGPT backend tells it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from app_server.errors import InvalidRequest
from app_server.methods.services import Context
from app_server.protocol.account import (
    AccountTokenUsageSummary,
    GetAccountTokenUsageParams,
    GetAccountTokenUsageResponse,
    ThreadUsage,
)
from app_server.providers.chatgpt_backend import unreadable
from app_server.rpc.registry import method
from app_server.threads.naming import check_id


@method("account/usage/read", GetAccountTokenUsageParams)
async def account_usage_read(ctx: Context, params: GetAccountTokenUsageParams | None) -> GetAccountTokenUsageResponse:
    """Ask the backend of the login; nobody else knows. Raises InvalidRequest without a ChatGPT login."""
    services, thread_id = ctx.services, params.thread_id if params is not None else None
    if thread_id is not None:
        check_id(thread_id)
    if not services.auth.snapshot().is_chatgpt:
        raise InvalidRequest(
            "account/usage/read needs a ChatGPT login; log in with account/login/start, type chatgpt or "
            "chatgptAuthTokens.",
            data_code="loginRequired",
        )
    backend = services.providers.chatgpt_backend()
    if thread_id is None:
        return account_usage(await backend.profile())
    return thread_usage(await backend.thread_usage(thread_id), thread_id)


def account_usage(profile: Mapping[str, Any]) -> GetAccountTokenUsageResponse:
    """The reply for the account. Raises RpcError for an answer that cannot be read."""
    stats = profile.get("stats")
    try:
        summary = AccountTokenUsageSummary.model_validate(stats)
        days = stats.get("daily_usage_buckets") if isinstance(stats, dict) else None
        return GetAccountTokenUsageResponse.model_validate({"summary": summary, "daily_usage_buckets": days})
    except ValidationError:
        raise unreadable() from None


def thread_usage(told: Mapping[str, Any] | None, thread_id: str) -> GetAccountTokenUsageResponse:
    """The reply for a thread; None: the backend keeps no such account. Raises RpcError as `account_usage`."""
    usage: ThreadUsage | None = None
    if told is not None:
        rows = told.get("threads")
        row = next((one for one in rows if _names(one, thread_id)), None) if isinstance(rows, list) else None
        if row is None:
            raise unreadable()
        try:
            usage = ThreadUsage.model_validate({**row, "groups": row.get("groups") or ()})
        except ValidationError:
            raise unreadable() from None
    return GetAccountTokenUsageResponse(summary=AccountTokenUsageSummary(), thread_usage=usage)


def _names(row: Any, thread_id: str) -> bool:
    return isinstance(row, dict) and row.get("thread_id") == thread_id
