"""What follows a failed attempt: the table of `retries.py`, row by row, and its bounds."""

from __future__ import annotations

import pytest

from extensions.image_generation.backends.base import BackendFailure, FailureKind
from extensions.image_generation.backends.retries import Again, Limits, Progress, next_step

ROOM = Limits(max_retries=4, remaining_s=600.0)
MANY = Limits(max_retries=9, remaining_s=600.0)
SERVER = BackendFailure(FailureKind.NETWORK, "boom", retryable=True, status=503)
REFUSED = BackendFailure(FailureKind.UNAUTHORIZED, "no", status=401)
NOT_SERVED = "the service did not serve"
ASKED = "the service asked to wait"


def limited(wait_ms: int | None) -> BackendFailure:
    return BackendFailure(FailureKind.RATE_LIMITED, "slow", retry_after_ms=wait_ms, status=429)


@pytest.mark.parametrize(
    ("failure", "so_far", "limits", "jitter", "expected"),
    [
        (SERVER, Progress(), ROOM, 0.0, Again(pause_s=0.2, reason=NOT_SERVED)),
        (SERVER, Progress(), ROOM, 1.0, Again(pause_s=0.25, reason=NOT_SERVED)),
        (SERVER, Progress(retries=3), ROOM, 0.0, Again(pause_s=1.6, reason=NOT_SERVED)),
        (
            SERVER,
            Progress(retries=8),
            Limits(max_retries=9, remaining_s=600),
            0.0,
            Again(pause_s=10, reason=NOT_SERVED),
        ),
        (SERVER, Progress(retries=4), ROOM, 0.0, None),
        (SERVER, Progress(), Limits(max_retries=4, remaining_s=0.2), 0.0, None),
        (SERVER, Progress(), Limits(max_retries=0, remaining_s=600), 0.0, None),
        (
            BackendFailure(FailureKind.NETWORK, "boom", retryable=True, retry_after_ms=7000),
            Progress(),
            ROOM,
            0.0,
            Again(pause_s=7.0, reason=NOT_SERVED),
        ),
        (limited(3000), Progress(), ROOM, 1.0, Again(pause_s=3.0, reason=ASKED)),
        (limited(600_000), Progress(), ROOM, 0.0, None),
        (limited(None), Progress(), ROOM, 0.0, None),
        (limited(0), Progress(retries=4), ROOM, 0.0, None),
        (
            BackendFailure(FailureKind.USAGE_LIMIT_EXCEEDED, "all used", retry_after_ms=0, status=429),
            Progress(),
            ROOM,
            0.0,
            None,
        ),
        (REFUSED, Progress(retries=4), ROOM, 0.0, Again(pause_s=0.0, reason="the login was refused", refresh=True)),
        (REFUSED, Progress(refreshed=True), ROOM, 0.0, None),
        (BackendFailure(FailureKind.UNAUTHORIZED, "no", status=403), Progress(), ROOM, 0.0, None),
        (BackendFailure(FailureKind.MODERATION_BLOCKED, "no", status=400), Progress(), ROOM, 0.0, None),
        (BackendFailure(FailureKind.INVALID_RESPONSE, "no", status=400), Progress(), ROOM, 0.0, None),
    ],
)
def test_what_follows_a_failed_attempt(
    failure: BackendFailure, so_far: Progress, limits: Limits, jitter: float, expected: Again | None
) -> None:
    assert next_step(failure, so_far, limits, jitter) == expected
