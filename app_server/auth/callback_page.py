"""The little HTTP of a login's callback: one request's target is read, one page answered. Knows nothing of logins."""

from __future__ import annotations

from html import escape
from typing import Final, Protocol

_MAX_HEAD_BYTES: Final = 16 * 1024
_REASONS: Final = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 502: "Bad Gateway"
}  # fmt: skip
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Login</title></head>
<body><main><p>{words}</p></main></body></html>
"""


class ByteReader(Protocol):
    """Whatever bytes come from. `anyio.abc.SocketStream` has this shape."""

    async def receive(self, max_bytes: int = ..., /) -> bytes:
        """The next bytes. Raises anyio.EndOfStream at their end."""
        ...


async def read_target(stream: ByteReader) -> tuple[str, str] | None:
    """Method and target of one request; None for what is no HTTP request. Raises as `receive`."""
    head = b""
    while b"\r\n\r\n" not in head:
        if len(head) > _MAX_HEAD_BYTES:
            return None
        head += await stream.receive(4096)
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return (words[0], words[1]) if len(words) == 3 and words[2].startswith("HTTP/1.") else None


def page(status: int, words: str) -> bytes:
    """A whole answer that shows the words to the person in the browser."""
    body = _PAGE.format(words=escape(words)).encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n"
        "content-type: text/html; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\n"
        "content-security-policy: default-src 'none'\r\n"
        "referrer-policy: no-referrer\r\n"
        "cache-control: no-store\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode() + body
