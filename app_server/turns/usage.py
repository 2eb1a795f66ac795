"""Token counts and rate limits in the wire's shape. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app_server.providers.base import RateLimits, TokenUsage


def usage_json(usage: TokenUsage) -> dict[str, int]:
    """A TokenUsageBreakdown."""
    return {
        "totalTokens": usage.total_tokens,
        "inputTokens": usage.input_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "cacheWriteInputTokens": usage.cache_write_input_tokens,
        "outputTokens": usage.output_tokens,
        "reasoningOutputTokens": usage.reasoning_output_tokens,
    }


def add_usage(total: Mapping[str, int], last: Mapping[str, int]) -> dict[str, int]:
    """The thread's total after one more response."""
    return {key: total.get(key, 0) + value for key, value in last.items()}


def rate_limits_params(limits: RateLimits | None) -> dict[str, Any]:
    """The params of `account/rateLimits/updated`: all null where the provider said nothing."""
    return {
        "rateLimits": {
            "limitId": "codex",
            "limitName": None,
            "normalModelSlug": None,
            "primary": limits.primary if limits else None,
            "secondary": limits.secondary if limits else None,
            "credits": None,
            "individualLimit": None,
            "spendControlReached": None,
            "planType": None,
            "rateLimitReachedType": None,
        }
    }
