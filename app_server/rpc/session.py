"""What one client told us about itself. Data of a connection; it decides nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app_server.values import field, slotted

OPT_IN_NOTIFICATIONS: Final[Mapping[str, str]] = {"item/imageGeneration/progress": "progress"}
"""Ours, beyond the reference: notification → the member of `capabilities.extensions.pictures` that asks for it."""


@slotted(kw_only=True)
class Session:
    """The state of one connection, filled by `initialize`."""

    connection_id: int
    """Of this process; negative for a client of another replica, whose request is served here."""
    transport: str
    trace: Mapping[str, str] | None = None
    """Where the client's own trace stood when it connected, as W3C Trace Context headers; unchecked."""
    initialized: bool = False
    client_name: str = ""
    client_version: str = ""
    client_title: str | None = None
    experimental_api: bool = False
    opted_out: frozenset[str] = frozenset()
    """Notification methods that never reach this client; unknown names are harmless."""
    extensions: Mapping[str, Any] = field(default_factory=dict)
    """`capabilities.extensions`: what the client knows beyond the reference's protocol."""

    @property
    def is_here(self) -> bool:
        """Whether it is a connection of this process."""
        return self.connection_id >= 0

    def wants(self, method: str, *, experimental: bool) -> bool:
        """Whether a notification may be sent to this client."""
        if not self.initialized or method in self.opted_out or (experimental and not self.experimental_api):
            return False
        return method not in OPT_IN_NOTIFICATIONS or self.pictures.get(OPT_IN_NOTIFICATIONS[method]) is True

    @property
    def pictures(self) -> Mapping[str, Any]:
        """`capabilities.extensions.pictures`: what the client wants of pictures beyond the reference's protocol."""
        wanted = self.extensions.get("pictures")
        return wanted if isinstance(wanted, Mapping) else {}

    @property
    def stated_max_message_bytes(self) -> int | None:
        """The largest message that the client says it takes; None when it does not say so with a whole number."""
        stated = self.pictures.get("maxMessageBytes")
        return stated if type(stated) is int and stated >= 0 else None
