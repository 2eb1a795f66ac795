"""What stands before a websocket: plain HTTP requests, who may ask, and what each request gets. Pure.

    request ──▶ answer_openly     Origin not allowed ─▶ 403, on everything        not GET ─▶ 405 (HEAD for probes)
                                  /healthz, /readyz  ─▶ 200, or 503 until ready   a signed route ─▶ its answer
                                  else ─▶ nothing yet
            ──▶ Gate.admit        401 with the reason, or a Visitor; without a gate everybody is one
            ──▶ answer_visitor    upgrade, any path  ─▶ 101    a route ─▶ its answer    else ─▶ 400

It knows no token and no picture: the gate and the routes are handed in. Called by `transport/websocket.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A GET request for a route. `path` is as sent, without the query; header names are in lower case."""

    path: str
    query: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """A route's whole answer; the connection is closed after it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


HttpRoute = Callable[[HttpRequest], Awaitable[HttpReply]]
HttpRoutes = Mapping[str, HttpRoute]
"""Path prefix → callback; the longest prefix that fits wins. A route answers admitted GET requests only; a signed
one answers all of them, and checks the signature in the address itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Who was let in. `principal` is the name that the login gave, None for nobody in particular."""

    principal: str | None = None
    key: bytes = field(default=b"", repr=False)
    """What let it in, for the gate that did; never the secret itself."""


ANYBODY = Visitor()


class Gate(Protocol):
    """Who may open a websocket or ask a route. Any object with these members will do."""

    async def admit(self, headers: Mapping[str, str]) -> Visitor | str:
        """Look at the headers (names in lower case, repeated ones joined by commas); a text is the reason of a 401."""
        ...

    def watching(self, visitor: Visitor, revoked: Callable[[], None]) -> AbstractContextManager[None]:
        """While the block runs, `revoked` is called once when what let the visitor in counts no more."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """Open a websocket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """Ask a route."""

    route: HttpRoute
    request: HttpRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenPolicy:
    """Who may connect, and what is answered beside the websocket."""

    routes: HttpRoutes
    ready: Callable[[], bool]
    allowed_origins: frozenset[str] = frozenset()
    gate: Gate | None = None
    signed_routes: HttpRoutes = field(default_factory=dict)


def answer_openly(
    policy: ListenPolicy, method: str, target: str, headers: Mapping[str, str]
) -> HttpReply | Routed | None:
    """The answer that nobody needs a login for; None when the request has to pass the gate."""
    origin = headers.get("origin")
    if origin is not None and origin not in policy.allowed_origins:
        return HttpReply(status=403)
    path, _, query = target.partition("?")
    if path in ("/healthz", "/readyz") and method in ("GET", "HEAD"):
        return HttpReply(status=200 if path == "/healthz" or policy.ready() else 503)
    if method != "GET":
        return HttpReply(status=405, headers={"Allow": "GET"})
    if (route := _route(policy.signed_routes, path)) is not None and not _wants_upgrade(headers):
        return Routed(route=route, request=HttpRequest(path=path, query=query, headers=headers))
    return None


def answer_visitor(policy: ListenPolicy, target: str, headers: Mapping[str, str]) -> Upgrade | Routed | HttpReply:
    """What a GET request that passed the gate gets."""
    path, _, query = target.partition("?")
    if _wants_upgrade(headers):
        return Upgrade()
    if (route := _route(policy.routes, path)) is not None:
        return Routed(route=route, request=HttpRequest(path=path, query=query, headers=headers))
    return HttpReply(status=400, body=b"This address speaks websocket; connect to it with a websocket client.\n")


def refusal(reason: str) -> HttpReply:
    """The answer to a visitor whom the gate did not let in."""
    return HttpReply(status=401, headers={"WWW-Authenticate": "Bearer"}, body=f"{reason}\n".encode())


def plain_headers(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; the values of a repeated one joined by commas (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for name, value in items:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _route(routes: HttpRoutes, path: str) -> HttpRoute | None:
    prefix = max((prefix for prefix in routes if path.startswith(prefix)), key=len, default=None)
    return None if prefix is None else routes[prefix]


def _wants_upgrade(headers: Mapping[str, str]) -> bool:
    connection = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return "upgrade" in connection and headers.get("upgrade", "").lower() == "websocket"
