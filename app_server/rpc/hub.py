"""All connections of the process, who is subscribed to which thread, and the one way of notifications to them.

A notification is encoded once and shared by all who get it. Threads outlive connections: when a client goes away only
its subscriptions go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app_server.clock import Clock
from app_server.errors import RpcError
from app_server.protocol.jsonrpc import encode_notification
from app_server.protocol.tables import EXPERIMENTAL_NOTIFICATIONS
from app_server.rpc.session import Session

if TYPE_CHECKING:
    from app_server.rpc.connection import Connection

S = TypeVar("S")
Variant = Callable[[], Any]


class Hub(Generic[S]):
    """The switchboard. Nothing here waits: frames go into outboxes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._connections: dict[int, Connection[S]] = {}
        self._subscribers: dict[str, dict[int, Connection[S]]] = {}
        self._next_connection = 0
        self._next_request = 0

    # -- connections
    def next_connection_id(self) -> int:
        self._next_connection += 1
        return self._next_connection

    def next_request_id(self) -> int:
        """Ids of our own requests count up from 0 over all connections and threads, as the reference's do."""
        self._next_request += 1
        return self._next_request - 1

    def add(self, connection: Connection[S]) -> None:
        self._connections[connection.session.connection_id] = connection

    def remove(self, connection: Connection[S]) -> None:
        key = connection.session.connection_id
        self._connections.pop(key, None)
        for thread_id in [t for t, subscribers in self._subscribers.items() if key in subscribers]:
            self.unsubscribe(thread_id, connection)

    # -- subscriptions
    def subscribe(self, thread_id: str, connection: Connection[S]) -> None:
        self._subscribers.setdefault(thread_id, {})[connection.session.connection_id] = connection

    def unsubscribe(self, thread_id: str, connection: Connection[S]) -> bool:
        """False when it was not subscribed."""
        subscribers = self._subscribers.get(thread_id, {})
        gone = subscribers.pop(connection.session.connection_id, None) is not None
        if not subscribers:
            self._subscribers.pop(thread_id, None)
        return gone

    def forget_thread(self, thread_id: str) -> None:
        self._subscribers.pop(thread_id, None)

    # -- sending
    async def ask_thread(self, thread_id: str, method: str, params: Any) -> Any:
        """Ask the client that has followed the thread longest. Raises RpcError, also when there is none."""
        for connection in self._subscribers.get(thread_id, {}).values():
            return await connection.request(method, params)
        raise RpcError("No client follows this thread, so nobody can answer.", data_code="nobodyThere")

    def broadcast(self, method: str, params: Any) -> None:
        """To every initialized connection that did not opt out."""
        self._send(list(self._connections.values()), method, params)

    def notify_thread(self, thread_id: str, method: str, params: Any, *, inline: Variant | None = None) -> None:
        """To the thread's subscribers. `inline` makes the params for clients that take picture bytes inline; it is
        called at most once, and only when there is such a client."""
        subscribers = self._subscribers.get(thread_id)
        if subscribers:
            self._send(list(subscribers.values()), method, params, inline=inline)

    def delta(self, thread_id: str, method: str, params: Any) -> None:
        """To the thread's subscribers; a reader that is far behind may miss it."""
        subscribers = self._subscribers.get(thread_id)
        if not subscribers:
            return
        frame: bytes | None = None
        for connection in subscribers.values():
            if connection.session.wants(method, experimental=False):
                frame = frame or encode_notification(method, params, self._clock.now_ms())
                connection.send_delta(frame)

    def wants_inline(self, thread_id: str) -> bool:
        """Whether some subscriber takes picture bytes inline."""
        return any(takes_inline_pictures(c.session) for c in self._subscribers.get(thread_id, {}).values())

    def notify(self, connection: Connection[S], method: str, params: Any) -> None:
        """To one connection."""
        self._send([connection], method, params)

    def _send(
        self, targets: Iterable[Connection[S]], method: str, params: Any, *, inline: Variant | None = None
    ) -> None:
        experimental = method in EXPERIMENTAL_NOTIFICATIONS
        frames: dict[bool, bytes] = {}
        for connection in targets:
            session = connection.session
            if not session.wants(method, experimental=experimental):
                continue
            use_inline = inline is not None and takes_inline_pictures(session)
            if use_inline not in frames:
                body = inline() if use_inline and inline is not None else params
                frames[use_inline] = encode_notification(method, body, self._clock.now_ms())
            connection.send(frames[use_inline])


def takes_inline_pictures(session: Session) -> bool:
    """Whether a finished picture goes to this client as base64 in `result`: as in the reference, for everybody."""
    return session.initialized
