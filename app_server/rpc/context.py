"""What a handler is given beside its params. Generic in the services bundle, so that `rpc` knows no domain type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from app_server.values import field, slotted

if TYPE_CHECKING:
    from app_server.observability.observer import SeenRequest
    from app_server.protocol.jsonrpc import RequestId
    from app_server.rpc.connection import Connection
    from app_server.rpc.session import Session

S = TypeVar("S")


@slotted(kw_only=True)
class RequestContext(Generic[S]):
    """One request being served."""

    services: S
    connection: Connection[S]
    session: Session
    request_id: RequestId
    method: str
    seen: SeenRequest | None = None
    """Told of the answer, while somebody counts."""
    callbacks: list[Callable[[], None]] = field(default_factory=list)

    def after_reply(self, callback: Callable[[], None]) -> None:
        """Run `callback` right after a good reply was queued: what it sends comes behind it. Not run on an error."""
        self.callbacks.append(callback)
