"""For a client that cannot be served: its first request is answered with the reason, then the stream is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from app_server.protocol.jsonrpc import Request, encode_error, parse_frame
from app_server.transport.base import FrameTooLarge, StreamClosed

if TYPE_CHECKING:
    from app_server.errors import RpcError
    from app_server.transport.base import MessageStream

BOUND_S: Final = 10.0
"""For a client that says nothing."""


async def turn_away(stream: MessageStream, error: RpcError) -> None:
    """Answer whatever is asked first with `error`."""
    try:
        with anyio.move_on_after(BOUND_S):
            while not isinstance(request := parse_frame(await stream.receive()), Request):
                pass
            await stream.send([encode_error(request.id, error.wire_code, error.message, error.data)])
    except (StreamClosed, FrameTooLarge):
        pass  # it has gone, or is none that could be answered
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(BOUND_S):
            await stream.aclose()
