"""Texts as PostgreSQL can hold them: it refuses the character U+0000, which a user may well send. Pure.

U+0001 escapes: it is written as U+0001 "1", and U+0000 as U+0001 "0". Equal texts stay equal and different ones
different, so a stored text can be compared. What a search compares is bytes and needs no escape.
"""

from __future__ import annotations

from typing import Final

_BETWEEN: Final = b"\xff"
"""No byte of UTF-8."""


def to_text(text: str | None) -> str | None:
    """The stored form; None stays None."""
    if text is None or ("\x00" not in text and "\x01" not in text):
        return text
    return text.replace("\x01", "\x011").replace("\x00", "\x010")


def from_text(stored: str | None) -> str | None:
    """What `to_text` was given."""
    if stored is None or "\x01" not in stored:
        return stored
    return stored.replace("\x010", "\x00").replace("\x011", "\x01")


def folded(preview: str, name: str | None) -> bytes:
    """What a search looks into, so that finding bytes in it is `rules.search_matches`. Raises UnicodeEncodeError."""
    return _BETWEEN.join(text.casefold().encode() for text in (preview, name or ""))


def folded_search(search: str) -> bytes:
    """What a search looks for. Half a character of UTF-16 is in no stored text, and so is a byte that is in none."""
    try:
        return search.casefold().encode()
    except UnicodeEncodeError:
        return _BETWEEN * 2
