"""How a thread reaches clients. The thread states the seam; `rpc/hub.Hub` has this shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from app_server.turns.context import RicherForm


class Audience(Protocol):
    """Clients of the process. Nothing here waits."""

    def broadcast(self, method: str, params: Any) -> None:
        """To every client: thread/started, status, name, archive …"""
        ...

    def notify_thread(self, thread_id: str, method: str, params: Any, *, forms: Sequence[RicherForm] = ()) -> None:
        """To the thread's subscribers, each in the first of `forms` that it takes, else in the plain one."""
        ...

    def delta(self, thread_id: str, method: str, params: Any) -> None:
        """To the thread's subscribers, unless one is too far behind."""
        ...

    def settle(self, thread_id: str) -> None:
        """Send what is held back of the thread's running text: a record comes behind it."""
        ...

    def wanted_forms(self, thread_id: str, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        """Which forms some subscriber takes, were the message so large with the picture, or with a small copy."""
        ...

    def forget_thread(self, thread_id: str) -> None:
        """The thread is gone; nobody is subscribed to it any more."""
        ...


class Nobody:
    """The audience of a thread that another replica writes by now: who follows it hears of it there."""

    def broadcast(self, method: str, params: Any) -> None:
        pass

    def notify_thread(self, thread_id: str, method: str, params: Any, *, forms: Sequence[RicherForm] = ()) -> None:
        pass

    def delta(self, thread_id: str, method: str, params: Any) -> None:
        pass

    def settle(self, thread_id: str) -> None:
        pass

    def wanted_forms(self, thread_id: str, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        return frozenset()

    def forget_thread(self, thread_id: str) -> None:
        pass
