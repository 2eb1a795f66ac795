"""account/read, login/start, login/cancel, logout."""

from __future__ import annotations

from typing import Any, get_args

from app_server.auth.browser_login import CANCELED
from app_server.config.schema import RESERVED_PROVIDERS
from app_server.errors import NotSupported
from app_server.methods.services import Context
from app_server.protocol.account import (
    ApiKeyLoginAccountParams,
    CancelLoginAccountParams,
    ChatgptAuthTokensLoginAccountParams,
    ChatgptLoginAccountParams,
    GetAccountParams,
    LoginAccountParams,
    LogoutAccountParams,
    PlanType,
)
from app_server.rpc.registry import method

_PLANS = frozenset(get_args(PlanType))


@method("account/read", GetAccountParams)
async def account_read(ctx: Context, params: GetAccountParams) -> dict[str, Any]:
    """Who is logged in, and whether the provider in use needs a login. To a tenant: that the host is, not as whom."""
    services, is_host = ctx.services, ctx.services.ground is None
    if params.refresh_token and is_host and services.auth.snapshot().mode == "chatgpt":
        await services.refresher.refresh(RESERVED_PROVIDERS["openai"])  # where it fails, the login shown is the old one
    table = services.providers.table(services.config.config.model_provider)
    auth = services.auth.snapshot(table)
    account: dict[str, Any] | None = None
    if auth.is_chatgpt:
        email = auth.email if is_host else None
        account = {"type": "chatgpt", "email": email, "planType": plan(auth.plan), "workspaceName": None}
    elif auth.mode == "apikey":
        account = {"type": "apiKey"}
    return {
        "account": account,
        "userId": services.auth.user_id() if is_host else None,
        "requiresOpenaiAuth": table.requires_openai_auth,
        "workspaceRouting": None,
    }


@method("account/login/start", LoginAccountParams)
async def account_login_start(ctx: Context, params: LoginAccountParams) -> dict[str, Any]:
    """Log in with an API key or tokens that the client keeps, both at once, or with ChatGPT in the user's browser."""
    auth = ctx.services.auth
    match params.root:
        case ApiKeyLoginAccountParams() as key:
            auth.login_api_key(key.api_key)
            kind = "apiKey"
        case ChatgptAuthTokensLoginAccountParams() as tokens:
            auth.login_tokens(
                tokens.access_token, tokens.chatgpt_account_id, tokens.chatgpt_plan_type, keeper=ctx.connection
            )
            kind = "chatgptAuthTokens"
        case ChatgptLoginAccountParams():
            login_id, auth_url = await ctx.services.rare.logins.start(ctx.session.client_name)
            return {"type": "chatgpt", "loginId": login_id, "authUrl": auth_url}
        case other:
            raise NotSupported(
                f"Logging in by {other.type} is not supported by this server; "
                "use type apiKey, chatgpt or chatgptAuthTokens."
            )
    ctx.services.limits.forget()
    completed = {"loginId": None, "success": True, "error": None, "onboardingEntrypoint": None}
    ctx.after_reply(lambda: ctx.services.hub.broadcast("account/login/completed", completed))
    ctx.after_reply(lambda: tell_account(ctx))
    return {"type": kind}


@method("account/login/cancel", CancelLoginAccountParams)
async def account_login_cancel(ctx: Context, params: CancelLoginAccountParams) -> dict[str, Any]:
    """Stop waiting for the browser; `account/login/completed` follows the reply."""
    login = ctx.services.rare.logins.find(params.login_id)
    if login is None:
        return {"status": "notFound"}
    login.decide(CANCELED)
    ctx.after_reply(lambda: login.end(CANCELED))
    return {"status": "canceled"}


@method("account/logout", LogoutAccountParams)
async def account_logout(ctx: Context, params: LogoutAccountParams | None) -> dict[str, Any]:
    """Forget the login, in memory and on disk."""
    ctx.services.auth.logout()
    ctx.services.limits.forget()
    ctx.after_reply(lambda: tell_account(ctx))
    return {}


def tell_account(ctx: Context) -> None:
    """Tell everybody of the login as it is now."""
    auth = ctx.services.auth.snapshot()
    ctx.services.hub.broadcast("account/updated", account_updated(auth.mode, auth.plan))


def account_updated(mode: str, plan_type: str | None) -> dict[str, Any]:
    """The params of `account/updated`."""
    return {"authMode": None if mode == "none" else mode, "planType": plan(plan_type) if plan_type else None}


def plan(name: str | None) -> str:
    """A plan in the protocol's words: the backend may know newer ones."""
    return name if name is not None and name in _PLANS else "unknown"
