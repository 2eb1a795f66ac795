"""Owns account/*: who is logged in, logging in and out, rate limits, and the request for fresh tokens.

Every way to log in is read here; which of them this server offers is the handler's to say.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, RootModel

from app_server.protocol.base import Bool, Flag, Int, NoParams, Params, SparseModel, WireModel

PlanType = Literal[
    "free",
    "go",
    "plus",
    "pro",
    "prolite",
    "promax",
    "team",
    "self_serve_business_prolite",
    "self_serve_business_usage_based",
    "business",
    "ent26",
    "enterprise_cbp_automation",
    "enterprise_cbp_usage_based",
    "enterprise",
    "edu",
    "edu_plus",
    "edu_pro",
    "sci",
    "sci_plus",
    "unknown",
]
AuthMode = Literal[
    "apikey",
    "chatgpt",
    "chatgptAuthTokens",
    "headers",
    "agentIdentity",
    "personalAccessToken",
    "bedrockApiKey",
    "bedrockAccessKeys",
]
LoginAppBrand = Literal["codex", "chatgpt"]
RateLimitReachedType = Literal[
    "rate_limit_reached",
    "workspace_owner_credits_depleted",
    "workspace_member_credits_depleted",
    "workspace_owner_usage_limit_reached",
    "workspace_member_usage_limit_reached",
]
DesktopOnboardingEntrypoint = Literal["life_sciences"]


class ApiKeyAccount(WireModel):
    type: Literal["apiKey"] = "apiKey"


class ChatgptAccount(WireModel):
    type: Literal["chatgpt"] = "chatgpt"
    email: str | None
    plan_type: PlanType
    workspace_name: str | None = None


class AmazonBedrockAccount(WireModel):
    type: Literal["amazonBedrock"] = "amazonBedrock"
    uses_codex_managed_credentials: Flag = False


class GcpAccount(WireModel):
    type: Literal["gcp"] = "gcp"


Account = Annotated[
    ApiKeyAccount | ChatgptAccount | AmazonBedrockAccount | GcpAccount,
    Field(discriminator="type"),
]


class WorkspaceRouting(WireModel):
    """Which backend serves the account's workspace."""

    chatgpt_account_id: str
    backend_origin: str
    account_routing_override: Literal["NO_CONSTRAINT", "us", "us_cr"]


class GetAccountParams(Params):
    refresh_token: Flag = False


class GetAccountResponse(WireModel):
    """`requires_openai_auth` with no account makes clients show their login screen."""

    account: Account | None = None
    user_id: str | None = None
    requires_openai_auth: Bool
    workspace_routing: WorkspaceRouting | None = None


class ApiKeyLoginAccountParams(Params):
    type: Literal["apiKey"] = "apiKey"
    api_key: str = Field(repr=False)


class ChatgptLoginAccountParams(Params):
    type: Literal["chatgpt"] = "chatgpt"
    app_brand: LoginAppBrand | None = None
    codex_streamlined_login: Flag = False
    use_hosted_login_success_page: Flag = False


class ChatgptDeviceCodeLoginAccountParams(Params):
    type: Literal["chatgptDeviceCode"] = "chatgptDeviceCode"


class ChatgptAuthTokensLoginAccountParams(Params):
    type: Literal["chatgptAuthTokens"] = "chatgptAuthTokens"
    access_token: str = Field(repr=False)
    chatgpt_account_id: str
    chatgpt_plan_type: str | None = None


class AmazonBedrockLoginAccountParams(Params):
    type: Literal["amazonBedrock"] = "amazonBedrock"
    api_key: str = Field(repr=False)
    region: str


class AmazonBedrockAccessKeysLoginAccountParams(Params):
    type: Literal["amazonBedrockAccessKeys"] = "amazonBedrockAccessKeys"
    access_key_id: str = Field(repr=False)
    secret_access_key: str = Field(repr=False)
    session_token: str | None = Field(default=None, repr=False)
    region: str


LoginAccount = (
    ApiKeyLoginAccountParams
    | ChatgptLoginAccountParams
    | ChatgptDeviceCodeLoginAccountParams
    | ChatgptAuthTokensLoginAccountParams
    | AmazonBedrockLoginAccountParams
    | AmazonBedrockAccessKeysLoginAccountParams
)


class LoginAccountParams(RootModel):  # type: ignore[type-arg]  # RootModel[…] would be built at import, deferred or not
    """One of the ways to log in, told by `type`; `root` is it."""

    model_config = ConfigDict(defer_build=True, frozen=True)

    root: Annotated[LoginAccount, Field(discriminator="type")]


class LoginAccountResponse(WireModel):
    """The reply bears the type of the request; use the variant's class."""

    type: Literal["apiKey", "chatgpt", "chatgptDeviceCode", "chatgptAuthTokens", "amazonBedrock"]


class ApiKeyLoginAccountResponse(LoginAccountResponse):
    type: Literal["apiKey"] = "apiKey"


class ChatgptLoginAccountResponse(LoginAccountResponse):
    """The user opens `auth_url`; the outcome comes as `account/login/completed`."""

    type: Literal["chatgpt"] = "chatgpt"
    login_id: str
    auth_url: str


class ChatgptDeviceCodeLoginAccountResponse(LoginAccountResponse):
    type: Literal["chatgptDeviceCode"] = "chatgptDeviceCode"
    login_id: str
    verification_url: str
    user_code: str


class ChatgptAuthTokensLoginAccountResponse(LoginAccountResponse):
    type: Literal["chatgptAuthTokens"] = "chatgptAuthTokens"


class AmazonBedrockLoginAccountResponse(LoginAccountResponse):
    type: Literal["amazonBedrock"] = "amazonBedrock"


class CancelLoginAccountParams(Params):
    login_id: str


class CancelLoginAccountResponse(WireModel):
    status: Literal["canceled", "notFound"]


class LogoutAccountParams(NoParams):
    """None."""


class LogoutAccountResponse(WireModel):
    """Empty."""


class AccountUpdatedNotification(WireModel):
    """`account/updated`: after a login or logout took effect."""

    auth_mode: AuthMode | None = None
    plan_type: PlanType | None = None


class AccountLoginCompletedNotification(WireModel):
    """`account/login/completed`: a login ended; sent before `account/updated`."""

    login_id: str | None = None
    success: Bool
    error: str | None = None
    onboarding_entrypoint: DesktopOnboardingEntrypoint | None = None


class RateLimitWindow(WireModel):
    used_percent: Int
    window_duration_mins: Int | None = None
    resets_at: Int | None = None


class CreditsSnapshot(WireModel):
    has_credits: Bool
    unlimited: Bool
    balance: str | None = None


class SpendControlLimitSnapshot(WireModel):
    limit: str
    used: str
    remaining_percent: Int
    resets_at: Int


class RateLimitSnapshot(WireModel):
    """What the upstream said of its limits; None where it said nothing."""

    limit_id: str | None = None
    limit_name: str | None = None
    normal_model_slug: str | None = None
    primary: RateLimitWindow | None = None
    secondary: RateLimitWindow | None = None
    credits: CreditsSnapshot | None = None
    individual_limit: SpendControlLimitSnapshot | None = None
    spend_control_reached: Bool | None = None
    plan_type: PlanType | None = None
    rate_limit_reached_type: RateLimitReachedType | None = None


class GetAccountRateLimitsParams(NoParams):
    """What the client can show; this server asks nobody for limits, so neither changes anything."""

    exclude_reset_credit_details: Flag = False
    supports_luna_reserve: Flag = False


class GetAccountRateLimitsResponse(WireModel):
    """The limits by their id; `rate_limits` is the main one."""

    account_id: str | None = None
    ordinary_usage_allowed: Bool | None = None
    rate_limit_upsell: Any = None
    rate_limits: RateLimitSnapshot
    rate_limits_by_limit_id: dict[str, RateLimitSnapshot] | None = None


class GetAccountTokenUsageParams(NoParams):
    """`thread_id`: that thread's usage in place of the account's."""

    thread_id: str | None = None


class AccountTokenUsageSummary(WireModel):
    lifetime_tokens: Int | None = None
    peak_daily_tokens: Int | None = None
    longest_running_turn_sec: Int | None = None
    current_streak_days: Int | None = None
    longest_streak_days: Int | None = None


class AccountTokenUsageDailyBucket(WireModel):
    start_date: str
    tokens: Int


class ThreadUsageBreakdownGroup(WireModel):
    model: str | None = None
    reasoning_effort: str | None = None
    speed: str | None = None
    estimated_usage_credits_micros: Int
    net_new_input_tokens: Int | None = None
    cached_input_tokens: Int | None = None
    input_tokens: Int | None = None
    output_tokens: Int | None = None
    total_tokens: Int | None = None


class ThreadUsage(WireModel):
    """What a thread has cost by the backend's estimate."""

    thread_id: str
    estimated_usage_credits_micros: Int
    estimated_usage_usd_micros: Int | None = None
    native_usage_usd_micros: Int | None = None
    groups: tuple[ThreadUsageBreakdownGroup, ...]


class GetAccountTokenUsageResponse(WireModel):
    """The account's usage, or an empty summary and that of the thread which was asked for."""

    summary: AccountTokenUsageSummary
    daily_usage_buckets: tuple[AccountTokenUsageDailyBucket, ...] | None = None
    thread_usage: ThreadUsage | None = None


class AccountRateLimitsUpdatedNotification(WireModel):
    """`account/rateLimits/updated`: after every upstream response, behind `thread/tokenUsage/updated`."""

    rate_limits: RateLimitSnapshot


class ChatgptAuthTokensRefreshParams(WireModel):
    """`account/chatgptAuthTokens/refresh`, a request to the client that owns the tokens."""

    reason: Literal["unauthorized"]
    previous_account_id: str | None = None


class ChatgptAuthTokensRefreshResponse(SparseModel):
    """The client's answer."""

    omit_when_none = frozenset({"chatgpt_plan_type"})

    access_token: str = Field(repr=False)
    chatgpt_account_id: str
    chatgpt_plan_type: str | None = None
