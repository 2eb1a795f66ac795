"""A server as a host runs it: it drains before it ends, is scraped, and sends its traces to a collector."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import anyio
import httpx
import pytest

from tests.interaction.conversation import ended, run_turn, start_thread, start_turn
from tests.interaction.test_listeners import BEARER, TOKEN, Child
from tests.support.client import RpcClient, ws_client
from tests.support.server import make_home
from tests.support.streams import WebsocketStream
from tests.support.upstream import Gate, Reply, ScriptedUpstream, text_turn

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM is POSIX"),
]
ROOT = Path(__file__).parents[2]
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-b7ad6b7169203331-01"}


@asynccontextmanager
async def hosted(
    folder: Path, up: ScriptedUpstream, *options: str, env: dict[str, str] | None = None
) -> AsyncIterator[tuple[Child, str]]:
    """A server that listens on a free port, and its authority."""
    home = make_home(folder, up.base_url)
    argv = [sys.executable, "-m", "app_server", "--listen", "ws://127.0.0.1:0", *options]
    variables = {"APP_SERVER_HOME": str(home.home), "HOME": str(folder), **home.env, **(env or {})}
    with anyio.fail_after(60):
        async with await anyio.open_process(argv, cwd=home.cwd, env=variables, stdout=None) as process:
            server = Child(process)
            try:
                await server.read_until(lambda said: "readyz)" in said)
                yield server, server.said.split("ws://")[1].split()[0]
            finally:
                if process.returncode is None:
                    process.kill()


async def fetch(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers=headers)


async def not_ready(authority: str) -> None:
    """Returns when the balancer would send nobody here any more."""
    while (await fetch(f"http://{authority}/readyz")).status_code != 503:
        pass


async def held_turn(client: RpcClient[WebsocketStream], gate: Gate) -> str:
    """A turn whose answer waits at the gate."""
    await client.initialize()
    turn_id = await start_turn(client, await start_thread(client))
    await gate.wait_reached()
    return turn_id


async def test_a_signal_makes_it_unready_lets_the_turn_end_and_tells_clients_of_a_restart(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, hosted(tmp_path, up, "-c", "server.drain_s=30") as (server, authority):
        up.queue.append(Reply(events=[gate, *text_turn("r1", "Whole.").events]))
        async with ws_client(f"ws://{authority}/") as client:
            turn_id = await held_turn(client, gate)
            server.process.send_signal(signal.SIGTERM)
            await not_ready(authority)
            assert (await fetch(f"http://{authority}/healthz")).status_code == 200
            gate.release()
            turn = await ended(client, turn_id)
            await client.stream.connection.wait_closed()
        await server.read_until(lambda _: False)
        assert (turn["status"], await server.process.wait()) == ("completed", 0)
        closed = client.stream.connection
        assert (closed.close_code, closed.close_reason) == (1012, "service restart")
    assert server.said.count("\n") == 1  # the banner alone


async def test_a_turn_that_outlasts_the_drain_is_interrupted(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, hosted(tmp_path, up, "-c", "server.drain_s=1") as (server, authority):
        up.queue.append(Reply(events=[gate]))
        async with ws_client(f"ws://{authority}/") as client:
            await held_turn(client, gate)
            assert await server.end() == 0


async def test_a_second_signal_ends_a_drain_at_once(tmp_path: Path) -> None:
    gate = Gate()
    async with ScriptedUpstream() as up, hosted(tmp_path, up, "-c", "server.drain_s=3600") as (server, authority):
        up.queue.append(Reply(events=[gate]))
        async with ws_client(f"ws://{authority}/") as client:
            await held_turn(client, gate)
            server.process.send_signal(signal.SIGTERM)
            await not_ready(authority)
            server.process.send_signal(signal.SIGTERM)
            assert await server.process.wait() == 128 + signal.SIGTERM


async def test_the_numbers_need_the_login_of_the_listener(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    options = ("--ws-auth", "capability-token", "--ws-token-file", str(tmp_path / "token"))
    async with (
        ScriptedUpstream() as up,
        hosted(tmp_path, up, *options) as (_, authority),
        ws_client(f"ws://{authority}/", BEARER) as client,
    ):
        up.queue.append(text_turn("r1", "Done."))
        await client.initialize()
        await run_turn(client, await start_thread(client))
        answers = [
            await fetch(f"http://{authority}/metrics"),
            await fetch(f"http://{authority}/metrics/more", BEARER),
            await fetch(f"http://{authority}/metrics", BEARER),
        ]
    assert [answer.status_code for answer in answers] == [401, 404, 200]
    assert answers[2].headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    said = answers[2].text.splitlines()
    for line in (
        'app_server_turns_ended_total{status="completed"} 1',
        "app_server_connections 1",
        "app_server_threads_loaded 1",
        "app_server_turns_running 0",
        "app_server_draining 0",
    ):
        assert line in said


async def test_the_numbers_are_for_everybody_where_the_settings_say_so(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    login = ("--ws-auth", "capability-token", "--ws-token-file", str(tmp_path / "token"))
    options = (*login, "-c", "server.metrics_open=true")
    async with ScriptedUpstream() as up, hosted(tmp_path, up, *options) as (_, authority):
        assert (await fetch(f"http://{authority}/metrics")).status_code == 200


class Collector(BaseHTTPRequestHandler):
    """Takes spans by OTLP over HTTP."""

    server: CollectorServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken.append((self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


class CollectorServer(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Collector)
        self.taken: list[tuple[str, bytes]] = []


@contextmanager
def collector() -> Iterator[CollectorServer]:
    with CollectorServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("how", ["variable", "setting"])
async def test_spans_reach_the_collector_in_the_trace_of_the_client(tmp_path: Path, how: str) -> None:
    proto = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="extra otel")
    with collector() as spans:
        address = f"http://127.0.0.1:{spans.server_port}"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": address} if how == "variable" else {}
        options = ("-c", f'server.otlp_endpoint="{address}"') if how == "setting" else ()
        async with ScriptedUpstream() as up, hosted(tmp_path, up, *options, env=env) as (server, authority):
            up.queue.append(text_turn("r1", "Done."))
            async with ws_client(f"ws://{authority}/", TRACEPARENT) as client:
                await client.initialize()
                await run_turn(client, await start_thread(client), "A secret wish")
            assert await server.end() == 0
            sent = up.posts()[0].headers["traceparent"]
        found: dict[str, str] = {}
        for path, body in spans.taken:
            assert (path, b"secret wish" in body) == ("/v1/traces", False)
            request = proto.ExportTraceServiceRequest.FromString(body)
            for resource in request.resource_spans:
                (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
                assert service == "imagegen-app-server"
                found |= {span.name: span.trace_id.hex() for scope in resource.scope_spans for span in scope.spans}
        assert found == dict.fromkeys(["request thread/start", "request turn/start", "turn", "model answer"], TRACE_ID)
        assert sent.split("-")[1] == TRACE_ID
    assert server.said.count("\n") == 1  # the banner alone


WITHOUT_THE_EXTRA = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from app_server.cli import main
sys.exit(main(sys.argv[1:]))
"""
HELLO = b'{"id":1,"method":"initialize","params":{"clientInfo":{"name":"probe","version":"1"}}}\n'


@pytest.mark.parametrize(
    ("options", "env", "status", "told"),
    [
        (["-c", 'server.otlp_endpoint="http://127.0.0.1:9"'], {}, 2, "install the server with its extra otel"),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, 0, "install the server with its extra otel"),
        ([], {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, 0, ""),
    ],
)
async def test_without_the_extra_a_sentence_says_what_to_install(
    tmp_path: Path, options: list[str], env: dict[str, str], status: int, told: str
) -> None:
    argv = [sys.executable, "-c", WITHOUT_THE_EXTRA, *options]
    variables = {"APP_SERVER_HOME": str(tmp_path / "home"), "HOME": str(tmp_path), **env}
    done = await anyio.run_process(argv, input=HELLO, env={**variables, "PYTHONPATH": str(ROOT)}, check=False)
    said = done.stderr.decode()
    assert (done.returncode, told in said, "Traceback" in said, bool(said)) == (status, True, False, bool(told))
