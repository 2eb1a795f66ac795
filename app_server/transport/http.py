"""What stands before a websocket: plain HTTP requests, who may ask, and what each request gets (`plan_answer`).

    without a login    Origin not allowed ─▶ 403, on everything        not GET ─▶ 405 (HEAD is fine for the probes)
                       /healthz, /readyz  ─▶ 200, or 503 until ready   a signed route ─▶ its answer
    at the gate        401 with the reason, or a Visitor; without a gate everybody is one
    for a visitor      upgrade, any path  ─▶ 101                       a route ─▶ its answer        else ─▶ 400

It knows no token and no picture: the gate and the routes are handed in. Called by `transport/websocket.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from app_server.values import field, frozen


@frozen
class HttpRequest:
    """A GET request for a route. `path` is as sent, without the query; header names are in lower case."""

    path: str
    query: str
    headers: Mapping[str, str]


@frozen
class HttpReply:
    """A route's whole answer; the connection is closed after it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


HttpRoute = Callable[[HttpRequest], Awaitable[HttpReply]]
HttpRoutes = Mapping[str, HttpRoute]
"""Path prefix → callback; the longest prefix that fits wins. A route answers admitted GET requests only; a signed
one answers all of them, and checks the signature in the address itself."""


@frozen
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


@frozen
class Upgrade:
    """Open a websocket for this visitor."""

    visitor: Visitor = ANYBODY


@frozen
class Routed:
    """Ask a route."""

    route: HttpRoute
    request: HttpRequest


@frozen
class ListenPolicy:
    """Who may connect, and what is answered beside the websocket."""

    routes: HttpRoutes
    ready: Callable[[], bool]
    allowed_origins: frozenset[str] = frozenset()
    gate: Gate | None = None
    signed_routes: HttpRoutes = field(default_factory=dict)


async def plan_answer(
    policy: ListenPolicy, method: str, target: str, headers: Mapping[str, str]
) -> Upgrade | Routed | HttpReply:
    """What a request gets. `headers` have lower-case names, repeated ones joined by commas."""
    if (answer := _without_login(policy, method, target, headers)) is not None:
        return answer
    visitor = await policy.gate.admit(headers) if policy.gate is not None else ANYBODY
    if isinstance(visitor, str):
        return HttpReply(status=401, headers={"WWW-Authenticate": "Bearer"}, body=f"{visitor}\n".encode())
    if _wants_upgrade(headers):
        return Upgrade(visitor=visitor)
    if (routed := _routed(policy.routes, target, headers)) is not None:
        return routed
    return HttpReply(status=400, body=b"This address speaks websocket; connect to it with a websocket client.\n")


def _without_login(
    policy: ListenPolicy, method: str, target: str, headers: Mapping[str, str]
) -> HttpReply | Routed | None:
    """The answer that nobody needs a login for; None when the request has to pass the gate."""
    origin = headers.get("origin")
    if origin is not None and origin not in policy.allowed_origins:
        return HttpReply(status=403)
    path = target.partition("?")[0]
    if path in ("/healthz", "/readyz") and method in ("GET", "HEAD"):
        return HttpReply(status=200 if path == "/healthz" or policy.ready() else 503)
    if method != "GET":
        return HttpReply(status=405, headers={"Allow": "GET"})
    return None if _wants_upgrade(headers) else _routed(policy.signed_routes, target, headers)


def plain_headers(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Names in lower case; the values of a repeated one joined by commas (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for name, value in items:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers


def _routed(routes: HttpRoutes, target: str, headers: Mapping[str, str]) -> Routed | None:
    path, _, query = target.partition("?")
    prefix = max((prefix for prefix in routes if path.startswith(prefix)), key=len, default=None)
    if prefix is None:
        return None
    return Routed(route=routes[prefix], request=HttpRequest(path=path, query=query, headers=headers))


def _wants_upgrade(headers: Mapping[str, str]) -> bool:
    connection = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    return "upgrade" in connection and headers.get("upgrade", "").lower() == "websocket"
