"""How a thread reaches clients. The thread states the seam; `rpc/hub.Hub` has this shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Audience(Protocol):
    """Clients of the process. Nothing here waits."""

    def broadcast(self, method: str, params: Any) -> None:
        """To every client: thread/started, status, name, archive …"""
        ...

    def notify_thread(
        self, thread_id: str, method: str, params: Any, *, inline: Callable[[], Any] | None = None
    ) -> None:
        """To the thread's subscribers."""
        ...

    def delta(self, thread_id: str, method: str, params: Any) -> None:
        """To the thread's subscribers, unless one is too far behind."""
        ...

    def wants_inline(self, thread_id: str) -> bool:
        """Whether some subscriber takes picture bytes inline."""
        ...

    def forget_thread(self, thread_id: str) -> None:
        """The thread is gone; nobody is subscribed to it any more."""
        ...
