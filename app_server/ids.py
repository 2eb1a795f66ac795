"""Identifiers: UUIDs of version 7 (RFC 9562), so that ids sort by the time they were made."""

from __future__ import annotations

import os
import re
import threading
import time
import uuid
from typing import NewType

ThreadId = NewType("ThreadId", str)
TurnId = NewType("TurnId", str)
ItemId = NewType("ItemId", str)

_UUID = re.compile(r"(?:urn:uuid:)?[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def uuid7() -> str:
    """A new version 7 UUID in its canonical text form; ids made by one process are strictly increasing."""
    global _last_ms, _counter  # the generator's state: RFC 9562 method 1, a counter in the 12 bits of rand_a
    with _lock:
        now_ms = time.time_ns() // 1_000_000
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, int.from_bytes(os.urandom(2), "big") & 0x7FF
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        stamp, count = _last_ms, _counter
    tail = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    return str(uuid.UUID(int=stamp << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | tail))


def parse_uuid(text: str) -> str | None:
    """The canonical form of a UUID in any form that the reference accepts, or None."""
    return str(uuid.UUID(text.lower())) if len(text) <= 45 and _UUID.fullmatch(text) else None
