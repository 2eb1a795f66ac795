"""ONE httpx client and ONE SSL context for the process, and whole answers read under a byte cap.

`bootstrap` makes one `Net`. Providers stream through `client()`; extensions get the rest (their `Http` protocol).
`fetch` is for addresses that came from outside (a picture's URL): it refuses private addresses and foreign redirects.
Importing this module is cheap: httpx and truststore are imported with the first request.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import anyio

from app_server.errors import ConfigurationError
from app_server.net_answers import Form, TakeEvent, capped, read_capped, too_large
from app_server.net_answers import HttpAnswer as HttpAnswer
from app_server.net_answers import HttpFailure as HttpFailure
from app_server.sse import SseDecoder, SseTooLarge

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT_S = 10.0
IDLE_TIMEOUT_S = 60.0
"""Default of `client()` for reads and writes; callers who stream state their own."""
KEEPALIVE_CONNECTIONS = 100
"""Idle ones that are kept: as many as threads may well have turns at a time."""
KEEPALIVE_EXPIRY_S = 30.0
MAX_REDIRECTS = 3


Around = Callable[["httpx.Request"], AbstractContextManager[Callable[[int], None]]]
Resolve = Callable[[str], Awaitable[list[str]]]
"""Host name → its IP addresses, best first. Raises socket.gaierror."""


def _unheard(status: int) -> None:
    """Nobody wants to know."""


class Net:
    """The process's door to HTTP. Used from one event loop; `aclose` when the process ends."""

    def __init__(self, *, transport: httpx.AsyncBaseTransport | None = None, resolve: Resolve | None = None) -> None:
        """`transport` and `resolve` replace the network and the look-up of names, for tests."""
        self._transport, self._resolve = transport, resolve or resolve_name
        self.around: Around = lambda request: nullcontext(_unheard)
        """Around every request that is posted: told the status of its answer, and free to add headers."""
        self._client: httpx.AsyncClient | None = None

    def client(self) -> httpx.AsyncClient:
        """The shared client: HTTP/1.1, no redirects, proxies from the environment. Raises ConfigurationError."""
        if self._client is None:
            import httpx

            from app_server.wires.pool import quicken

            ssl_context = make_ssl_context(os.environ)
            self._client = httpx.AsyncClient(
                verify=ssl_context,
                transport=self._transport,
                limits=httpx.Limits(
                    max_connections=None,
                    max_keepalive_connections=KEEPALIVE_CONNECTIONS,
                    keepalive_expiry=KEEPALIVE_EXPIRY_S,
                ),
                timeout=httpx.Timeout(IDLE_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=None),
                follow_redirects=False,
                trust_env=True,
            )
            for transport in (self._client._transport, *self._client._mounts.values()):  # the latter go to proxies
                quicken(transport, ssl_context, KEEPALIVE_CONNECTIONS, KEEPALIVE_EXPIRY_S)
        return self._client

    async def post_json(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """POST JSON and read the whole answer; redirects are not followed. Raises HttpFailure.

        timeout_s: for everything, from the connection to the last byte. max_bytes: of the decoded body.
        """
        return await self._post(
            url, body, headers=headers, params=params, timeout_s=timeout_s, max_bytes=max_bytes, on_event=None
        )

    async def post_form(self, url: str, fields: Mapping[str, str], *, timeout_s: float, max_bytes: int) -> HttpAnswer:
        """POST `application/x-www-form-urlencoded` and read the whole answer, as `post_json`. Raises HttpFailure."""
        form = Form(fields=fields)  # without a file it is sent urlencoded
        return await self._post(
            url, form, headers={}, params={}, timeout_s=timeout_s, max_bytes=max_bytes, on_event=None
        )

    async def post_multipart(
        self,
        url: str,
        form: Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """POST a form that has a file and read the whole answer, as `post_json` does. Raises HttpFailure."""
        return await self._post(
            url, form, headers=headers, params=params, timeout_s=timeout_s, max_bytes=max_bytes, on_event=None
        )

    async def post_events(
        self,
        url: str,
        body: Mapping[str, Any] | Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
        on_event: TakeEvent,
    ) -> HttpAnswer:
        """POST and hand over the `data` of each event of a good answer until it is refused; the `body` is then empty.

        An answer that is no event stream comes whole, as from `post_json`. Raises HttpFailure.
        """
        return await self._post(
            url, body, headers=headers, params=params, timeout_s=timeout_s, max_bytes=max_bytes, on_event=on_event
        )

    async def fetch(self, url: str, *, max_bytes: int, timeout_s: float, allowed_host: str | None = None) -> HttpAnswer:
        """GET an address that came from outside; the answer may have any status. Raises HttpFailure.

        At most MAX_REDIRECTS redirects are followed, all on the same host and port. A host that is, or resolves to, a
        private address is refused unless it is `allowed_host`; the connection goes to the address that was checked.
        """
        with _failures(url, timeout_s), anyio.fail_after(timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                request = await self._checked_get(url, allowed_host)
                answer = await self._answer(request, max_bytes, _place(url))
                location = answer.headers.get("location")
                if answer.status not in (301, 302, 303, 307, 308) or location is None:
                    return answer
                url = _redirect(url, location)
        raise HttpFailure(f"{_place(url)} redirected more than {MAX_REDIRECTS} times.")

    async def aclose(self) -> None:
        """Close all connections; idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _post(
        self,
        url: str,
        body: Mapping[str, Any] | Form,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str],
        timeout_s: float,
        max_bytes: int,
        on_event: TakeEvent | None,
    ) -> HttpAnswer:
        content, content_headers = _content(body)
        sent = {**headers, **content_headers, "accept-encoding": "gzip"}
        with _failures(url, timeout_s):
            request = self._request("POST", url, params=params, headers=sent, **content)
            with self.around(request) as told, anyio.fail_after(timeout_s):
                answer = await self._answer(request, max_bytes, _place(url), on_event)
                told(answer.status)
                return answer

    def _request(self, method: str, url: str, *, params: Mapping[str, str], **kwargs: Any) -> httpx.Request:
        import httpx

        target = httpx.URL(url)
        if target.scheme not in ("http", "https") or not target.host:
            raise HttpFailure("The address is not one of http:// or https:// with a host; correct it.")
        timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)  # the caller's own deadline bounds the rest
        if params:
            target = target.copy_merge_params(params)
        return self.client().build_request(method, target, timeout=timeout, **kwargs)

    async def _checked_get(self, url: str, allowed_host: str | None) -> httpx.Request:
        request = self._request("GET", url, params={}, headers={"accept-encoding": "gzip"})
        host = request.url.host
        if allowed_host is not None and host.lower() == allowed_host.lower():
            return request
        if self._transport is None and _goes_through_proxy(request.url.scheme, host):
            refuse_private(host, [host])  # a name is the proxy's to resolve
            return request
        addresses = [host] if _is_address(host) else await self._resolve(host)
        refuse_private(host, addresses)
        request.extensions["sni_hostname"] = host
        request.headers["connection"] = "close"  # kept alive, it would serve other names of that address
        request.url = request.url.copy_with(host=addresses[0])  # the Host header stays
        return request

    async def _answer(
        self, request: httpx.Request, max_bytes: int, place: str, on_event: TakeEvent | None = None
    ) -> HttpAnswer:
        response = await self.client().send(request, stream=True)
        body = b""
        try:
            if on_event is not None and response.is_success and _is_event_stream(response):
                await _read_events(response, max_bytes, place, on_event)
            else:
                body = await read_capped(response, max_bytes, place)
        finally:
            await response.aclose()
        return HttpAnswer(status=response.status_code, headers=dict(response.headers), body=body)


async def _read_events(response: httpx.Response, max_bytes: int, place: str, take: TakeEvent) -> None:
    decoder = SseDecoder(max_bytes)
    try:
        async for chunk in capped(response, max_bytes, place):
            for event in decoder.feed(chunk):
                if not await take(event):
                    return
    except SseTooLarge:
        raise too_large(max_bytes, place) from None


def _is_event_stream(response: httpx.Response) -> bool:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


def _content(body: Mapping[str, Any] | Form) -> tuple[dict[str, Any], dict[str, str]]:
    """The body as httpx takes it, and the headers that describe it."""
    if isinstance(body, Form):
        files = [(file.name, (file.filename, file.data, file.mime)) for file in body.files]
        return {"data": dict(body.fields), "files": files}, {}
    import orjson

    return {"content": orjson.dumps(body)}, {"content-type": "application/json"}


def make_ssl_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """The system's trust store, or exactly the certificates that SSL_CERT_FILE or SSL_CERT_DIR name.

    Raises ConfigurationError when they cannot be read.
    """
    cafile, capath = environ.get("SSL_CERT_FILE") or None, environ.get("SSL_CERT_DIR") or None
    if cafile is None and capath is None:
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=cafile, capath=capath)
    except OSError as error:  # SSLError is one too: the file holds no certificate
        raise ConfigurationError(
            f"The certificates in {cafile or capath} cannot be read ({_reason(error)}); "
            "correct or unset SSL_CERT_FILE and SSL_CERT_DIR."
        ) from None


async def resolve_name(host: str) -> list[str]:
    """All addresses of a host, IPv4 first. Raises socket.gaierror."""
    found = await anyio.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return sorted({str(row[4][0]) for row in found}, key=lambda address: (":" in address, address))


def refuse_private(host: str, addresses: list[str]) -> None:
    """Raise HttpFailure unless all of a host's addresses are public."""
    for address in addresses:
        if _is_address(address):
            parsed = ipaddress.ip_address(address)
            parsed = getattr(parsed, "ipv4_mapped", None) or parsed
            private = not parsed.is_global or parsed.is_multicast
        else:
            private = address.lower().rstrip(".").rsplit(".", 1)[-1] == "localhost"
        if private:
            raise HttpFailure(f"{host} is an address inside this network, which must not be fetched; use a public one.")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _goes_through_proxy(scheme: str, host: str) -> bool:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    return bool(proxies.get(scheme) or proxies.get("all")) and not proxy_bypass(host)


def _redirect(url: str, location: str) -> str:
    """The absolute address that a redirect names. Raises HttpFailure unless it stays on host and port."""
    import httpx

    old = httpx.URL(url)
    new = old.join(location)
    to_https = (old.scheme, old.port, new.scheme, new.port) == ("http", None, "https", None)
    if new.host != old.host or ((new.scheme, new.port) != (old.scheme, old.port) and not to_https):
        raise HttpFailure(f"{_place(url)} redirected to another host or port, which is not followed; use its address.")
    return str(new)


@contextmanager
def _failures(url: str, timeout_s: float) -> Iterator[None]:
    """Turn everything that the network can do to us into HttpFailure."""
    import httpx

    try:
        yield
    except HttpFailure:
        raise
    except ConfigurationError as error:
        raise HttpFailure(error.message) from None
    except httpx.ConnectTimeout:
        limit_s = min(timeout_s, CONNECT_TIMEOUT_S)
        raise HttpFailure(f"No connection to {_place(url)} within {limit_s:g} s; try again.", timeout=True) from None
    except (TimeoutError, httpx.TimeoutException):
        raise HttpFailure(f"{_place(url)} timed out after {timeout_s:g} s; try again.", timeout=True) from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError, zlib.error) as error:
        raise HttpFailure(explain_failure(error, _place(url))) from error


def explain_failure(error: BaseException, place: str) -> str:
    """One sentence for a failed request: what happened, and what to look at. `place` is scheme, host and port."""
    import httpx

    causes = list(_causes(error))
    for cause in causes:
        match cause:
            case socket.gaierror():
                return f"The host name of {place} could not be resolved; check the address and the network."
            case ssl.SSLCertVerificationError():
                return (
                    f"The certificate of {place} is not trusted ({cause.verify_message}); "
                    "if a proxy of yours signs it, name its certificates in SSL_CERT_FILE."
                )
            case ssl.SSLError():
                return f"No TLS connection to {place} could be made ({_reason(cause)}); check scheme, port and proxy."
            case ConnectionRefusedError():
                return f"{place} refused the connection; check the address and that the service runs."
            case httpx.ProxyError():
                return f"The proxy did not let the request to {place} through; check HTTPS_PROXY and HTTP_PROXY."
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                return "The address of the request is not a valid http:// or https:// address; correct it."
            case UnicodeError() | httpx.LocalProtocolError():
                return f"The request to {place} holds a character that HTTP does not allow; check keys and headers."
            case zlib.error():
                return f"{place} sent an answer that is not valid gzip; try again."
    if any(isinstance(cause, httpx.ConnectError) for cause in causes):
        return f"{place} could not be reached; check the address and the network."
    return f"The connection to {place} was cut before the answer was complete; try again."


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it came from, nearest first."""
    todo, seen = [error], set[int]()
    while todo:
        current = todo.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        if isinstance(current, BaseExceptionGroup):
            todo += current.exceptions
        # httpcore hides the cause, but it is its error's argument. Not __context__: that may be an earlier attempt,
        # which the caller is just handling.
        todo += [cause for cause in (current.__cause__, *current.args) if isinstance(cause, BaseException)]


def _reason(error: OSError) -> str:
    """The cause in words, without numbers and source positions."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no details").replace("_", " ").lower()
    return (error.strerror or "no details").lower()


def _place(url: str) -> str:
    """Scheme, host and port of an address: what may be told, for paths and queries can hold secrets."""
    import httpx

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return "the given address"
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
