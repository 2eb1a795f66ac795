"""Decides what follows a failed attempt: another one after a pause, one with a fresh login, or the end. Pure.

| failure | next |
|---|---|
| 401, for the first time | refresh the login, ask again at once |
| rateLimited with a time to wait | wait that long, ask again |
| 5xx, no answer, no connection in time | pause 0.2 s, doubled each time, to 10 s, with jitter, or as long as it says |
| anything else | the end |

Retries are counted by `request_max_retries`, the fresh login apart; no pause may outlast the call's deadline.
"""

from __future__ import annotations

from typing import Final

from app_server.extension_api.values import frozen
from extensions.image_generation.backends.base import BackendFailure, FailureKind

FIRST_BACKOFF_S: Final = 0.2
MAX_BACKOFF_S: Final = 10.0
JITTER_SHARE: Final = 0.25


@frozen
class Progress:
    """How far a call has come."""

    retries: int = 0
    refreshed: bool = False


@frozen
class Again:
    """Try again after a pause, with a fresh login first if `refresh`."""

    pause_s: float
    reason: str
    refresh: bool = False


@frozen
class Limits:
    """What bounds the attempts of one call."""

    max_retries: int
    remaining_s: float
    first_backoff_s: float = FIRST_BACKOFF_S


def next_step(failure: BackendFailure, so_far: Progress, limits: Limits, jitter: float) -> Again | None:
    """What to do now; None: give up. `jitter` is a random number from 0 to 1."""
    if failure.status == 401 and not so_far.refreshed:
        return Again(pause_s=0.0, reason="the login was refused", refresh=True)
    if so_far.retries >= limits.max_retries:
        return None
    asked_s = None if failure.retry_after_ms is None else failure.retry_after_ms / 1000
    if failure.kind is FailureKind.RATE_LIMITED and asked_s is not None:
        pause_s, reason = asked_s, "the service asked to wait"
    elif failure.retryable:
        backoff_s = min(MAX_BACKOFF_S, limits.first_backoff_s * 2.0**so_far.retries) * (1 + JITTER_SHARE * jitter)
        pause_s, reason = max(backoff_s, asked_s or 0.0), "the service did not serve"
    else:
        return None
    return Again(pause_s=pause_s, reason=reason) if pause_s < limits.remaining_s else None
