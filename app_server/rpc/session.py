"""What one client told us about itself. Data of a connection; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Session:
    """The state of one connection, filled by `initialize`."""

    connection_id: int
    transport: str
    initialized: bool = False
    client_name: str = ""
    client_version: str = ""
    client_title: str | None = None
    experimental_api: bool = False
    opted_out: frozenset[str] = frozenset()
    """Notification methods that never reach this client; unknown names are harmless."""
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """`capabilities.extensions`: what the client knows beyond the reference's protocol."""

    def wants(self, method: str, *, experimental: bool) -> bool:
        """Whether a notification may be sent to this client."""
        return self.initialized and method not in self.opted_out and (self.experimental_api or not experimental)
