"""All connections of the process, who is subscribed to which thread, and the one way of notifications to them.

A notification is encoded once and shared by all who get it. One with a picture has richer forms beside its plain one:
each client gets the first that it takes (`quirks.py`). Threads outlive connections: when a client goes away only its
subscriptions go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import anyio

from app_server.errors import RpcError
from app_server.protocol.gates import EXPERIMENTAL_NOTIFICATIONS
from app_server.protocol.jsonrpc import encode_notification
from app_server.rpc.delta import Delta
from app_server.rpc.quirks import INLINE, THUMBNAIL, InlinePolicy, MessageBudget, message_budget

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.rpc.connection import Connection
    from app_server.rpc.session import Session

S = TypeVar("S")
PLAIN = -1
"""In place of the index of a form."""


class Richer(Protocol):
    """A richer form of a notification. Any object with these members will do."""

    @property
    def kind(self) -> str:
        """`inline` or `thumbnail`."""
        ...

    @property
    def message_bytes(self) -> int:
        """How large the whole message is at most; known before it is made."""
        ...

    @property
    def params(self) -> Callable[[], Any]:
        """Makes the params; called at most once, and only when a client gets them."""
        ...


class Beyond(Protocol):
    """The clients of other replicas; `replicas/beyond.Beyond` has this shape."""

    def broadcast(self, method: str, params: Any) -> None: ...

    def passing(self, thread_id: str, method: str, params: Any) -> None: ...

    def settle(self, thread_id: str) -> None: ...


class Hub(Generic[S]):
    """The switchboard. Nothing here waits: frames go into outboxes."""

    def __init__(self, clock: Clock, inline: InlinePolicy | None = None) -> None:
        self._clock = clock
        self.inline = inline or InlinePolicy()
        """What the settings say of picture bytes; a change counts from the next message on."""
        self._connections: dict[int, Connection[S]] = {}
        self._subscribers: dict[str, dict[int, Connection[S]]] = {}
        self.followed = anyio.Event()
        """Set when a client follows a thread for the first time: turns will come."""
        self.beyond: Beyond | None = None
        """Clients of other replicas, where there are any: they read the records, and are told of the rest here."""
        self.newly_followed: Callable[[str], None] | None = None
        """Called with a thread that gets a subscriber."""
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

    def clients(self) -> list[Connection[S]]:
        """The initialized connections, oldest first."""
        return [connection for connection in self._connections.values() if connection.session.initialized]

    def is_asked(self) -> bool:
        """Whether any client waits for an answer."""
        return any(connection.in_flight for connection in self._connections.values())

    # -- subscriptions
    def subscribe(self, thread_id: str, connection: Connection[S]) -> None:
        self.followed.set()
        self._subscribers.setdefault(thread_id, {})[connection.session.connection_id] = connection
        if self.newly_followed is not None:
            self.newly_followed(thread_id)

    def unsubscribe(self, thread_id: str, connection: Connection[S]) -> bool:
        """False when it was not subscribed."""
        subscribers = self._subscribers.get(thread_id, {})
        gone = subscribers.pop(connection.session.connection_id, None) is not None
        if not subscribers:
            self._subscribers.pop(thread_id, None)
        return gone

    def has_subscribers(self, thread_id: str) -> bool:
        return thread_id in self._subscribers

    def forget_thread(self, thread_id: str) -> None:
        self._subscribers.pop(thread_id, None)

    # -- sending
    async def ask_thread(self, thread_id: str, method: str, params: Any) -> Any:
        """Ask the client that has followed the thread longest. Raises RpcError, also when there is none."""
        for connection in self._subscribers.get(thread_id, {}).values():
            return await connection.request(method, params)
        raise RpcError("No client follows this thread, so nobody can answer.", data_code="nobodyThere")

    def broadcast(self, method: str, params: Any) -> None:
        """To every initialized connection that did not opt out, and to those of other replicas."""
        self.broadcast_here(method, params)
        if self.beyond is not None:
            self.beyond.broadcast(method, params)

    def broadcast_here(self, method: str, params: Any) -> None:
        """To every initialized connection of this process that did not opt out."""
        self._send(list(self._connections.values()), method, params)

    def notify_thread(self, thread_id: str, method: str, params: Any, *, forms: Sequence[Richer] = ()) -> None:
        """To the thread's subscribers. `forms` are richer than `params`, the richest first: each gets what it takes."""
        if self.beyond is not None and "seq" not in params:  # what has a record is read in the log
            self.beyond.passing(thread_id, method, params)
        subscribers = self._subscribers.get(thread_id)
        if subscribers:
            self._send(list(subscribers.values()), method, params, forms=forms)

    def delta(self, thread_id: str, method: str, params: Any) -> None:
        """To the thread's subscribers; a reader that is far behind may miss it."""
        if self.beyond is not None:
            self.beyond.passing(thread_id, method, params)
        subscribers = self._subscribers.get(thread_id)
        if not subscribers:
            return
        delta = Delta(method, params, self._clock.now_ms)
        for connection in subscribers.values():
            if connection.session.wants(method, experimental=False):
                connection.send_delta(delta)

    def settle(self, thread_id: str) -> None:
        """Running text that is on its way to other replicas is sent: a record comes behind it."""
        if self.beyond is not None:
            self.beyond.settle(thread_id)

    def wanted_forms(self, thread_id: str, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        """Which forms some subscriber gets, were the message so large with the picture in it, or with a small copy."""
        wanted: set[str] = set()
        for connection in self._subscribers.get(thread_id, {}).values():
            if connection.session.initialized:
                budget = self.budget(connection.session)
                sizes = ((INLINE, message_bytes), (THUMBNAIL, thumbnail_bytes))
                wanted.update([kind for kind, size in sizes if budget.takes(kind, size)][:1])
        return frozenset(wanted)

    def budget(self, session: Session) -> MessageBudget:
        """What the client of this session takes in one message."""
        return message_budget(session, self.inline)

    def notify(self, connection: Connection[S], method: str, params: Any) -> None:
        """To one connection."""
        self._send([connection], method, params)

    def _send(
        self, targets: Iterable[Connection[S]], method: str, params: Any, *, forms: Sequence[Richer] = ()
    ) -> None:
        experimental = method in EXPERIMENTAL_NOTIFICATIONS
        frames: dict[int, bytes] = {}
        for connection in targets:
            session = connection.session
            if not session.wants(method, experimental=experimental):
                continue
            chosen = self._choose(session, forms) if forms else PLAIN
            if chosen not in frames:
                body = params if chosen == PLAIN else forms[chosen].params()
                frames[chosen] = encode_notification(method, body, self._clock.now_ms())
            connection.send(frames[chosen])

    def _choose(self, session: Session, forms: Sequence[Richer]) -> int:
        budget = self.budget(session)
        taken = (index for index, form in enumerate(forms) if budget.takes(form.kind, form.message_bytes))
        return next(taken, PLAIN)
