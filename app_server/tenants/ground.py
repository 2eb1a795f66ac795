"""Where a tenant stands: what it sees of this machine's disk, which is one folder, its own; and its `gate`. Pure.

A folder that a client names (`cwd`) is one of the client's machine: it is kept and shown as a text, and never looked
into. Where a file would be read, relative paths begin at the tenant's folder, `~` means nothing, and what lies
elsewhere is refused, whether it is there or not (`pictures/store`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app_server.errors import InvalidRequest
from app_server.tenants.gate import refusal
from app_server.values import frozen

QUIET: Final = frozenset({"account/rateLimits/updated"})
"""Notifications of the host's login, which a tenant's clients are not sent."""


@frozen
class Ground:
    """Where a tenant stands."""

    folder: Path

    def refusal(self, method: str) -> InvalidRequest | None:
        """Why a method is not for its clients; None when it is."""
        return refusal(method)

    def named(self, cwd: str | None) -> Path:
        """The working directory of a thread, as it is shown: the client's own words, or the tenant's folder."""
        return self.folder / cwd if cwd else self.folder
