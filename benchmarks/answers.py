"""What the fake provider says: the events of one answer as bytes, and pictures of a wanted size. Pure.

`upstream` sends it. Every event is an HTTP chunk of its own, as from a real provider.
"""

from __future__ import annotations

import random
import struct
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import orjson

from benchmarks.directive import Directive, written
from tests.support.response_events import Event, completed, created, function_call, item_added, item_done

STAMP_CHARS: Final = 22
"""From this size on a delta begins with `T<nanoseconds of the monotonic clock>;`, when it was written."""
BATCH_BYTES: Final = 32 * 1024
"""What a burst writes at once."""
_ROW_PIXELS: Final = 1024


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked HTTP answer."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: Event) -> bytes:
    """An event of the stream, as a chunk."""
    return chunk(b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data)))


def picture_call(response_id: str, picture_bytes: int) -> bytes:
    """A whole answer: the model calls the picture tool for a picture of that size."""
    arguments = {"prompt": f"a cat {written(Directive(picture_bytes=picture_bytes))}"}
    call = function_call(f"call_{response_id}", "imagegen", arguments, namespace="image_gen")
    return b"".join(event(one) for one in (created(response_id), *call, completed(response_id)))


def text_begin(response_id: str) -> bytes:
    """What stands before the first delta."""
    return event(created(response_id)) + event(item_added({**_message(response_id), "status": "in_progress"}))


def text_end(response_id: str, text: str) -> bytes:
    """What stands behind the last delta."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    whole = item_done({**_message(response_id), "status": "completed", "content": content})
    return event(whole) + event(completed(response_id))


def deltas(response_id: str, directive: Directive, texts: list[str]) -> Iterator[bytes]:
    """The deltas as chunks, each stamped when it is taken; their texts are added to `texts`."""
    place = b'"item_id":"msg_%b","output_index":0,"content_index":0' % response_id.encode()
    head = b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",%b,"delta":"' % place
    for _ in range(directive.deltas):
        stamp = f"T{time.monotonic_ns()};" if directive.size_chars >= STAMP_CHARS else ""
        text = stamp.ljust(directive.size_chars, "x")
        texts.append(text)
        yield chunk(head + text.encode() + b'"}\n\n')


def picture_reply(picture_bytes: int) -> bytes:
    """The body of an answer of the images endpoint."""
    data = {"b64_json": _encoded_png(picture_bytes), "revised_prompt": "a cat"}
    return orjson.dumps({"created": 1_700_000_000, "background": "opaque", "data": [data]})


def _message(response_id: str) -> dict[str, Any]:
    return {"type": "message", "id": f"msg_{response_id}", "role": "assistant", "content": []}


@cache
def _encoded_png(picture_bytes: int) -> str:
    return b64encode(noise_png(picture_bytes)).decode("ascii")


def noise_png(size_bytes: int) -> bytes:
    """A valid PNG of about this size: noise, which nothing can compress."""
    row_bytes = _ROW_PIXELS * 3
    height = max(1, size_bytes // (row_bytes + 1))
    noise = random.Random(1)
    rows = b"".join(b"\0" + noise.randbytes(row_bytes) for _ in range(height))
    header = struct.pack(">IIBBBBB", _ROW_PIXELS, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
