"""What providers last told of their rate limits. Kept in memory for the process; `account/rateLimits/read` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app_server.providers.base import RateLimits


class LastLimits:
    """The newest limits that said anything. An answer without such headers says nothing and changes nothing."""

    def __init__(self) -> None:
        self.last: RateLimits | None = None

    def heard(self, limits: RateLimits) -> None:
        """Remember the limits of one answer."""
        if limits.primary is not None or limits.secondary is not None:
            self.last = limits

    def forget(self) -> None:
        """Another account is logged in: the limits of the one before say nothing of it."""
        self.last = None
