"""Ids and names as parts of keys and paths: safe everywhere, bounded, different for different names. Pure.

Called by the blob stores that write a name of somebody into a place: `object_blobs.py`, `local/blobs.py`.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from urllib.parse import quote

MAX_PART: Final = 120


def name_part(name: str) -> str:
    """The name with everything unusual escaped; a long one, or one of dots alone, is told by its hash."""
    part = quote(name, safe="", errors="surrogatepass")
    if len(part) <= MAX_PART and part.strip("."):
        return part
    return f"%-{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"  # no escape begins so
