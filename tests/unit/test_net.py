"""The one HTTP client: caps, deadlines, causes in one sentence, and what `fetch` refuses."""

import gzip
import socket
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from app_server.errors import ConfigurationError
from app_server.net import HttpAnswer, HttpFailure, Net, explain_failure, make_ssl_context, refuse_private

pytestmark = pytest.mark.anyio

PUBLIC = "93.184.215.14"
Script = Callable[[SocketStream], Awaitable[None]]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback servers are reached directly, whatever proxy the machine uses."""
    monkeypatch.setenv("no_proxy", "*")


@asynccontextmanager
async def loopback(script: Script) -> AsyncIterator[str]:
    """A real server that reads a request's head and then does what the script says; yields its base URL."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive()
            await script(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tg:
        tg.start_soon(listener.serve, handle)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        with anyio.fail_after(20):
            yield f"http://127.0.0.1:{port}"
        tg.cancel_scope.cancel()


@asynccontextmanager
async def net(
    answer: Callable[[httpx.Request], httpx.Response] | None = None, **names: list[str]
) -> AsyncIterator[Net]:
    """A Net on a scripted transport (else the real network); `names` are the host names that exist, dots as `_`."""

    async def resolve(host: str) -> list[str]:
        if (key := host.replace(".", "_")) in names:
            return names[key]
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    made = Net(transport=httpx.MockTransport(answer) if answer else None, resolve=resolve)
    try:
        yield made
    finally:
        await made.aclose()


async def post(made: Net, url: str, *, timeout_s: float = 10, max_bytes: int = 1000) -> HttpAnswer:
    return await made.post_json(url, {}, headers={}, params={}, timeout_s=timeout_s, max_bytes=max_bytes)


async def failure(call: Awaitable[HttpAnswer]) -> tuple[str, bool, bool]:
    with pytest.raises(HttpFailure) as raised:
        await call
    return str(raised.value), raised.value.timeout, raised.value.too_large


async def test_post_json_sends_the_body_with_headers_and_parameters_and_returns_the_whole_answer() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418, headers={"X-Request-Id": "r1"}, content=b"short")

    async with net(answer) as made:
        got = await made.post_json(
            "https://api.test/v1/images?version=1",
            {"prompt": "a fox", "n": 1},
            headers={"authorization": "Bearer x"},
            params={"tenant": "t 1"},
            timeout_s=5,
            max_bytes=5,
        )
    assert got == HttpAnswer(status=418, headers={"x-request-id": "r1", "content-length": "5"}, body=b"short")
    assert repr(got) == "HttpAnswer(status=418, 5 bytes)"
    (request,) = seen
    assert (request.method, str(request.url)) == ("POST", "https://api.test/v1/images?version=1&tenant=t+1")
    assert request.content == b'{"prompt":"a fox","n":1}'
    wanted = {"authorization": "Bearer x", "content-type": "application/json", "accept-encoding": "gzip"}
    assert {name: request.headers[name] for name in wanted} == wanted


async def test_post_json_does_not_follow_redirects() -> None:
    async with net(lambda _request: httpx.Response(307, headers={"location": "https://other.test/"})) as made:
        assert (await post(made, "https://api.test/")).status == 307


async def test_there_is_one_client_until_it_is_closed() -> None:
    async with net() as made:
        first = made.client()
        assert made.client() is first
        assert first.follow_redirects is False
        await made.aclose()
        assert first.is_closed
        assert made.client() is not first


async def test_an_answer_may_be_as_large_as_the_cap_and_not_a_byte_larger() -> None:
    async def send(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000)

    async with loopback(send) as base, net() as made:
        assert (await post(made, base)).body == b"x" * 1000
        assert await failure(post(made, base, max_bytes=999)) == (
            f"The answer of {base} is larger than the limit of 999 bytes.",
            False,
            True,
        )


async def test_an_answer_that_declares_too_much_is_refused_before_it_is_read() -> None:
    async def send(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n")
        await anyio.sleep_forever()

    async with loopback(send) as base, net() as made:
        assert (await failure(post(made, base)))[2]


@pytest.mark.parametrize("size", [1, 999, 1000])
async def test_gzip_is_decoded_also_in_several_members(size: int) -> None:
    text = bytes(range(256)) * 4
    body = gzip.compress(text[: size // 2]) + gzip.compress(text[size // 2 : size])

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Slices(body, 7))

    async with net(answer) as made:
        assert (await post(made, "http://api.test/")).body == text[:size]


class Slices(httpx.AsyncByteStream):
    """A body in small pieces; remembers how much was asked for."""

    def __init__(self, body: bytes, size: int) -> None:
        self.body, self.size, self.taken = body, size, 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.taken < len(self.body):
            piece = self.body[self.taken : self.taken + self.size]
            self.taken += len(piece)
            yield piece


async def test_a_gzip_bomb_is_not_expanded_beyond_the_cap() -> None:
    bomb = gzip.compress(b"\0" * 100_000_000)
    stream = Slices(bomb, len(bomb))
    async with net(lambda _request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=stream)) as made:
        assert (await failure(post(made, "http://api.test/")))[2]


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is counted in KiB there")
def test_the_memory_that_a_gzip_bomb_takes_is_bounded_too() -> None:
    code = (
        "import resource, sys, zlib\n"
        "from app_server.net_answers import Gunzip\n"
        "data = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert len(Gunzip().decode(data, 1001)) == 1001\n"
        "assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000\n"
    )
    bomb = gzip.compress(b"\0" * 100_000_000)
    subprocess.run([sys.executable, "-c", code], input=bomb, timeout=30, check=True)


async def test_an_answer_in_many_pieces_is_held_once_while_it_is_read() -> None:
    class Pieces(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for number in range(256):
                yield bytes([number]) * 32_768

    size_bytes = 256 * 32_768
    async with net(lambda _request: httpx.Response(200, stream=Pieces())) as made:
        await post(made, "http://api.test/warm", max_bytes=size_bytes)
        tracemalloc.start()
        try:
            answer = await post(made, "http://api.test/", max_bytes=size_bytes)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (len(answer.body), peak_bytes < 1.4 * size_bytes) == (size_bytes, True)


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("br", b"x", "http://api.test sent its answer in the encoding br, which was not asked for."),
        ("gzip", b"not gzip", "http://api.test sent an answer that is not valid gzip; try again."),
        (
            "gzip",
            gzip.compress(b"text")[:-3],
            "The connection to http://api.test was cut before the answer was complete; try again.",
        ),
    ],
)
async def test_an_encoding_that_cannot_be_read_is_a_failure(encoding: str, body: bytes, message: str) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": encoding}, stream=Slices(body, 100))

    async with net(answer) as made:
        assert await failure(post(made, "http://api.test/")) == (message, False, False)


async def test_an_empty_answer_that_claims_gzip_is_empty() -> None:
    async with net(lambda _request: httpx.Response(204, headers={"content-encoding": "gzip"})) as made:
        assert (await post(made, "http://api.test/")).body == b""


async def test_the_deadline_counts_for_the_whole_answer() -> None:
    async def drip(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.01)

    async with loopback(drip) as base, net() as made:
        assert await failure(post(made, base, timeout_s=0.2, max_bytes=10**9)) == (
            f"{base} timed out after 0.2 s; try again.",
            True,
            False,
        )


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_connection_that_is_cut_is_a_failure(sent: bytes) -> None:
    async def cut(stream: SocketStream) -> None:
        await stream.send(sent)

    async with loopback(cut) as base, net() as made:
        assert await failure(post(made, base)) == (
            f"The connection to {base} was cut before the answer was complete; try again.",
            False,
            False,
        )


async def test_a_refused_connection_is_named() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    await listener.aclose()
    async with net() as made:
        assert await failure(post(made, f"http://127.0.0.1:{port}/path?key=canary")) == (
            f"http://127.0.0.1:{port} refused the connection; check the address and that the service runs.",
            False,
            False,
        )


async def test_tls_on_a_plain_port_is_named() -> None:
    async def send(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def tls_speaker(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            await send(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tg, net() as made:
        tg.start_soon(listener.serve, tls_speaker)
        base = f"https://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        message, *_ = await failure(post(made, base))
        tg.cancel_scope.cancel()
    assert message.startswith(f"No TLS connection to {base} could be made (")
    assert message.endswith("); check scheme, port and proxy.")


async def test_a_name_that_does_not_exist_is_named() -> None:
    async with net() as made:
        message, *_ = await failure(post(made, "http://name.invalid:8080/secret-path"))
    assert message == (
        "The host name of http://name.invalid:8080 could not be resolved; check the address and the network."
    )


def chained(*errors: BaseException) -> BaseException:
    """The first error, caused by the second, and so on."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "self-signed certificate"
    return error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            chained(httpx.ConnectError("x"), untrusted()),
            "The certificate of https://a is not trusted (self-signed certificate); "
            "if a proxy of yours signs it, name its certificates in SSL_CERT_FILE.",
        ),
        (
            chained(httpx.ConnectError("x"), OSError("all failed"), ExceptionGroup("", [ConnectionRefusedError()])),
            "https://a refused the connection; check the address and that the service runs.",
        ),
        (
            chained(httpx.ConnectError("x"), OSError(101, "Network is unreachable")),
            "https://a could not be reached; check the address and the network.",
        ),
        (
            httpx.ProxyError("403 Forbidden"),
            "The proxy did not let the request to https://a through; check HTTPS_PROXY and HTTP_PROXY.",
        ),
        (
            httpx.ReadError("reset"),
            "The connection to https://a was cut before the answer was complete; try again.",
        ),
    ],
)
async def test_every_cause_is_one_sentence(error: BaseException, message: str) -> None:
    assert explain_failure(error, "https://a") == message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://a/", "The address is not one of http:// or https:// with a host; correct it."),
        ("/only/a/path", "The address is not one of http:// or https:// with a host; correct it."),
        ("http://[::1", "The address of the request is not a valid http:// or https:// address; correct it."),
    ],
)
async def test_an_address_that_is_none_is_a_failure(url: str, message: str) -> None:
    async with net(lambda _request: httpx.Response(200)) as made:
        assert await failure(post(made, url)) == (message, False, False)
        assert await failure(made.fetch(url, max_bytes=1, timeout_s=1)) == (message, False, False)


async def test_a_key_with_a_character_that_http_does_not_allow_is_a_failure_without_the_key() -> None:
    async with net(lambda _request: httpx.Response(200)) as made:
        call = made.post_json(
            "https://api.test/", {}, headers={"authorization": "Bearer cänary"}, params={}, timeout_s=1, max_bytes=1
        )
        assert (await failure(call))[0] == (
            "The request to https://api.test holds a character that HTTP does not allow; check keys and headers."
        )


async def test_certificates_come_from_the_file_that_the_environment_names(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as error:
        make_ssl_context({"SSL_CERT_FILE": str(tmp_path / "none.pem")})
    assert error.value.message == (
        f"The certificates in {tmp_path / 'none.pem'} cannot be read (no such file or directory); "
        "correct or unset SSL_CERT_FILE and SSL_CERT_DIR."
    )
    (tmp_path / "empty.pem").write_text("no certificate\n")
    with pytest.raises(ConfigurationError):
        make_ssl_context({"SSL_CERT_FILE": str(tmp_path / "empty.pem")})
    assert type(make_ssl_context({})).__module__.startswith("truststore")
    assert make_ssl_context({"SSL_CERT_DIR": str(tmp_path)}).cert_store_stats()["x509"] == 0


async def test_certificates_that_cannot_be_read_are_a_failure_of_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "missing.pem")
    async with net(lambda _request: httpx.Response(200)) as made:
        message, *_ = await failure(post(made, "https://api.test/"))
    assert message.startswith("The certificates in missing.pem cannot be read")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "::", "fe80::1", "fd00::1", "224.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "localhost", "a.LOCALHOST.",
    ],
)  # fmt: skip
async def test_an_inside_address_is_refused(address: str) -> None:
    with pytest.raises(HttpFailure):
        refuse_private("pictures.test", [PUBLIC, address])
    refuse_private("pictures.test", [PUBLIC, "2606:2800:21f:cb07::1", "name.test"])


async def test_fetch_goes_to_the_address_that_was_checked_and_names_the_host() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b"png")

    async with net(answer, pictures_test=[PUBLIC]) as made:
        got = await made.fetch("https://pictures.test:8443/a.png?sig=x", max_bytes=3, timeout_s=5)
    (request,) = seen
    assert got.body == b"png"
    assert (request.method, str(request.url)) == ("GET", f"https://{PUBLIC}:8443/a.png?sig=x")
    assert (request.headers["host"], request.headers["connection"]) == ("pictures.test:8443", "close")
    assert request.extensions["sni_hostname"] == "pictures.test"


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://[::1]/", "http://inside.test/", "http://mixed.test/"])
async def test_fetch_refuses_inside_addresses_before_anything_is_sent(url: str) -> None:
    def answer(_request: httpx.Request) -> httpx.Response:
        raise AssertionError("nothing may be sent")

    async with net(answer, inside_test=["10.0.0.1"], mixed_test=[PUBLIC, "127.0.0.1"]) as made:
        message, *_ = await failure(made.fetch(url, max_bytes=1, timeout_s=5))
    assert message.endswith("is an address inside this network, which must not be fetched; use a public one.")


async def test_fetch_may_go_inside_to_the_one_allowed_host() -> None:
    async def send(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\npng")

    async with loopback(send) as base, net() as made:
        assert (await made.fetch(f"{base}/a.png", max_bytes=3, timeout_s=5, allowed_host="127.0.0.1")).body == b"png"
        assert (
            "inside this network" in (await failure(made.fetch(base, max_bytes=3, timeout_s=5, allowed_host="::1")))[0]
        )


@pytest.mark.parametrize(
    ("location", "reached"),
    [
        ("/b", f"http://{PUBLIC}/b"),
        ("https://pictures.test/b", f"https://{PUBLIC}/b"),
        ("http://pictures.test:80/b", f"http://{PUBLIC}/b"),
        ("http://other.test/b", None),
        ("http://pictures.test:8080/b", None),
        ("//127.0.0.1/b", None),
        ("file:///b", None),
    ],
)
async def test_fetch_follows_redirects_on_the_same_host_only(location: str, reached: str | None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/a":
            return httpx.Response(302, headers={"location": location})
        return httpx.Response(200, content=str(request.url).encode())

    async with net(answer, pictures_test=[PUBLIC], other_test=[PUBLIC]) as made:
        call = made.fetch("http://pictures.test/a", max_bytes=1000, timeout_s=5)
        if reached is None:
            assert (await failure(call))[0] == (
                "http://pictures.test redirected to another host or port, which is not followed; use its address."
            )
        else:
            assert (await call).body.decode() == reached


async def test_behind_a_proxy_names_are_left_to_it_but_inside_addresses_are_still_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def proxy(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy")

    async with loopback(proxy) as base, net() as made:
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.setenv("http_proxy", base)
        assert (await made.fetch("http://pictures.test/a", max_bytes=5, timeout_s=5)).body == b"proxy"
        for inside in ("http://localhost/", "http://10.0.0.1/"):
            assert "inside this network" in (await failure(made.fetch(inside, max_bytes=5, timeout_s=5)))[0]


async def test_fetch_gives_up_after_three_redirects() -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(302, headers={"location": request.url.path + "x"})

    async with net(answer, pictures_test=[PUBLIC]) as made:
        message, *_ = await failure(made.fetch("https://pictures.test/", max_bytes=1000, timeout_s=5))
    assert (message, asked) == ("https://pictures.test redirected more than 3 times.", ["/", "/x", "/xx", "/xxx"])


def test_importing_net_does_not_import_httpx() -> None:
    code = (
        "import sys, app_server.net; assert not {'httpx', 'truststore', 'orjson', 'urllib.request'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], timeout=30, check=True)
