"""The library's server connection, which stops reading from a client that asks for answers and does not read them.

Pings are answered where they are read, past the outbox and its limits, so a flood of them would fill the memory of the
server. `websocket.py` imports it when a listener starts: it needs the `websockets` library.
"""

from __future__ import annotations

from typing import Any, Final

from websockets.asyncio.server import ServerConnection

UNREAD_ANSWERS_BYTES: Final = 256 * 1024
"""So many bytes may wait to be written when pongs join them; then nothing is read until most are gone."""


class BoundedConnection(ServerConnection):
    """Reads on when the client has read: bounded memory, and no lost messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held = False

    def data_received(self, data: bytes) -> None:
        before = self.transport.get_write_buffer_size()
        super().data_received(data)
        after = self.transport.get_write_buffer_size()
        if before < after > UNREAD_ANSWERS_BYTES:  # what joined while reading are answers to pings
            self._held = True
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._held:
            self._held = False
            if not self.recv_messages.paused:  # else the library itself holds the reading back
                self.transport.resume_reading()
