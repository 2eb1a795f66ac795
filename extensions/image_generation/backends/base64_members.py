"""Takes pictures out of a JSON text before it is parsed, so that none of them is held as a string as well. Pure.

A parser copies each picture's base64 into a string, and decoding that copies it again; each step keeps all other
threads waiting for as long as it takes. Here the base64 is decoded where it stands, piece by piece, and a short mark
takes its place in the text: by pydantic's core, which takes a fifth of the time that the standard library does. What
is not plainly base64 stays for the parser. `answers.py` is the only caller.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import TypeAdapter

MEMBER: Final = b'"b64_json"'
"""No string of a JSON text can hold it with a colon behind: its quotes would be escaped."""
LONG_CHARS: Final = 64 * 1024
"""Shorter ones are left where they are."""
_PIECE_CHARS: Final = 256 * 1024
_VALUE: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*\"")


def without_pictures(text: bytes) -> tuple[bytes, Mapping[str, bytes]]:
    """The text with a mark in place of each long picture, and the pictures by their marks."""
    pictures: dict[str, bytes] = {}
    parts: list[bytes] = []
    kept = 0
    at = text.find(MEMBER)
    while at >= 0:
        end = at = at + len(MEMBER)
        if (value := _VALUE.match(text, at)) is not None:
            begin, end = value.end(), text.find(b'"', value.end())
            if end - begin >= LONG_CHARS and (data := _decoded(memoryview(text)[begin:end])) is not None:
                mark = f"taken out: {len(pictures)}"  # the colon is no base64
                pictures[mark] = data
                parts += (text[kept:begin], mark.encode())
                kept = end
            at = max(at, end)
        at = text.find(MEMBER, at)
    return (b"".join((*parts, text[kept:])), pictures) if pictures else (text, pictures)


def _decoded(encoded: memoryview) -> bytes | None:
    """The bytes, or None when this is not base64 from its beginning to its end."""
    from pydantic import ValidationError  # slow to load: with the first picture

    out = io.BytesIO()
    for begin in range(0, len(encoded), _PIECE_CHARS):
        try:
            data = _base64().validate_json(b'"' + encoded[begin : begin + _PIECE_CHARS] + b'"')
        except ValidationError:
            return None
        if begin + _PIECE_CHARS < len(encoded) and len(data) != _PIECE_CHARS // 4 * 3:
            return None  # it ends before its end
        out.write(data)
    return out.getvalue()


@cache
def _base64() -> TypeAdapter[bytes]:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))
