"""Listeners for several clients: tokens, revoking, unix sockets, several addresses; and the gap for late clients."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.abc import Process
from websockets.asyncio.client import unix_connect
from websockets.exceptions import InvalidStatus

from app_server.auth.listener import ListenerGate
from app_server.auth.listener_tokens import read_token_file
from app_server.clock import SystemClock
from app_server.methods.services import Context
from app_server.methods.turn import turn_start
from app_server.protocol.turn import TurnStartParams
from app_server.rpc.context import RequestContext
from app_server.rpc.session import Session
from app_server.threads.live_thread import LiveThread
from app_server.threads.manager import ThreadManager
from app_server.transport.address import control_socket
from app_server.transport.websocket import serve_websocket
from app_server.turns.engine import Turn
from tests.interaction.conversation import ended, run_turn, start_thread, start_turn
from tests.support.client import RpcClient, ws_client
from tests.support.server import make_home, running
from tests.support.streams import WebsocketStream
from tests.support.upstream import Gate, ScriptedUpstream, message, sse

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="unix sockets and SIGTERM are POSIX"),
]
TOKEN = "a-token-that-nobody-may-see-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NOWHERE = "http://127.0.0.1:9/v1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: the address of a socket has room for about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="l") as path:
        yield Path(path)


class Child:
    """A server as a child process, and what it said on stderr."""

    def __init__(self, process: Process) -> None:
        self.process, self._said = process, bytearray()

    @property
    def said(self) -> str:
        return self._said.decode()

    async def read_until(self, done: Callable[[str], bool]) -> None:
        """Read stderr until its text fits, or until its end."""
        assert self.process.stderr is not None
        while not done(self.said):
            try:
                self._said += await self.process.stderr.receive()
            except anyio.EndOfStream:
                return

    async def end(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        await self.read_until(lambda _: False)
        return await self.process.wait()


@asynccontextmanager
async def child(folder: Path, *options: str, listeners: int, env: Mapping[str, str] = {}) -> AsyncIterator[Child]:
    """A child that listens at so many places when the block begins; 0: that ends by itself."""
    home = make_home(folder, NOWHERE)
    argv = [sys.executable, "-m", "app_server", *options]
    variables = {"APP_SERVER_HOME": str(home.home), "HOME": str(folder), **env}
    with anyio.fail_after(30):
        async with await anyio.open_process(argv, cwd=home.cwd, env=variables, stdout=None) as process:
            started = Child(process)
            try:
                await started.read_until(lambda said: listeners > 0 and said.count("listening on ") == listeners)
                yield started
            finally:
                if process.returncode is None:
                    process.kill()


@asynccontextmanager
async def unix_client(path: Path, name: str) -> AsyncIterator[RpcClient[WebsocketStream]]:
    async with (
        unix_connect(str(path), "ws://localhost/rpc", max_size=None) as connection,
        anyio.create_task_group() as tasks,
        RpcClient(WebsocketStream(connection), tasks, name=name) as client,
    ):
        yield client


async def test_a_child_serves_a_websocket_with_a_token_and_a_unix_socket_side_by_side(folder: Path) -> None:
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n", encoding="utf-8")
    login = ["--ws-auth", "capability-token", "--ws-token-file", str(tokens)]
    listen = ["--listen", "ws://127.0.0.1:0", "--listen", "unix://"]
    async with child(folder, *listen, *login, listeners=2, env={"APP_SERVER_LOG": "debug"}) as server:
        url = server.said.split("listening on ")[1].split()[0]
        path = control_socket(folder / "home")
        async with httpx.AsyncClient(trust_env=False) as web:
            http = url.replace("ws:", "http:")
            statuses = [
                (await web.get(http + target)).status_code for target in ("/readyz", "/healthz", "/", "/images/x")
            ]
        with pytest.raises(InvalidStatus) as refused:
            async with ws_client(f"{url}/?token={TOKEN}", {"Authorization": f"Bearer {TOKEN}x"}):
                pass
        async with ws_client(url, BEARER, name="one") as one, unix_client(path, "two") as two:
            await one.initialize()
            await two.initialize()
            thread_id = await start_thread(one, modelProvider="offline")
            await run_turn(one, thread_id)
            read = await two.request("thread/read", {"threadId": thread_id, "includeTurns": True})
        status = await server.end()

    assert statuses[:3] == [200, 200, 401]
    assert refused.value.response.status_code == 401
    assert len(read["thread"]["turns"]) == 1
    assert (status, path.exists()) == (0, False)
    assert TOKEN not in server.said


async def test_a_second_server_does_not_take_a_live_socket(folder: Path) -> None:
    async with child(folder, "--listen", "unix://", listeners=1) as first:
        async with child(folder, "--listen", "unix://", listeners=0) as second:
            assert await second.process.wait() == 2
        async with unix_client(control_socket(folder / "home"), "tests") as client:
            await client.initialize()
        assert await first.end() == 0
    assert second.said == (
        f"app-server: A server already listens on {control_socket(folder / 'home')}; connect to it, end it, or choose "
        "another path with --listen unix://PATH.\n"
    )


async def test_a_killed_servers_socket_is_taken_over(folder: Path) -> None:
    path = folder / "a.sock"
    async with child(folder, "--listen", f"unix://{path}", listeners=1) as first:
        first.process.kill()
        await first.process.wait()
    assert path.is_socket()
    async with child(folder, "--listen", f"unix://{path}", listeners=1) as second:
        async with unix_client(path, "tests") as client:
            await client.initialize()
        assert await second.end() == 0
    assert not path.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "ws://0.0.0.0:0"], "let other machines in without a login"),
        (["--listen", "ws://127.0.0.1:0", "--stdio"], "stands alone"),
        (["--listen", "ws://127.0.0.1:0", "--ws-token-file", "t"], "--ws-token-file belongs to --ws-auth"),
        (["--listen", "ws://127.0.0.1:0", "--ws-auth=capability-tokens"], "invalid choice"),
        (["--listen", "ws://127.0.0.1:0", "--ws-tokenfile=t"], "unrecognized arguments: --ws-tokenfile"),
        (["--listen", "ws://127.0.0.1:0", "--ws-allow-origin", "*"], "is no origin"),
    ],
)
async def test_a_listener_that_is_not_meant_so_is_refused_before_it_listens(
    folder: Path, options: Sequence[str], words: str
) -> None:
    async with child(folder, *options, listeners=0) as server:
        assert await server.process.wait() == 2
    assert words in server.said
    assert "listening on" not in server.said
    assert "Traceback" not in server.said


async def test_a_revoked_token_ends_its_connections_alone_and_their_turns_go_on(tmp_path: Path) -> None:
    tokens = "ann one\nann two\n"  # two logins of one tenant
    gate = ListenerGate(lambda: read_token_file(tokens, "f"), SystemClock())
    pause = Gate()
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        serve_websocket("127.0.0.1", 0, app.serve, routes={}, ready=lambda: True, gate=gate) as bound,
        ws_client(str(bound), {"Authorization": "Bearer two"}, name="bob") as bob,
    ):
        await bob.initialize()
        async with ws_client(str(bound), {"Authorization": "Bearer one"}, name="ann") as ann:
            await ann.initialize()
            up.queue.append(sse("r1", pause, message("m1", "Hello.")))
            thread_id = await start_thread(ann)
            turn_id = await start_turn(ann, thread_id)
            await bob.request("thread/resume", {"threadId": thread_id})
            tokens = "ann two\n"
            await gate.refresh()
            await ann.closed.wait()
        with pytest.raises(InvalidStatus) as refused:
            async with ws_client(str(bound), {"Authorization": "Bearer one"}):
                pass
        pause.release()
        turn = await ended(bob, turn_id)

    assert ann.stream.connection.close_code == 1008
    assert refused.value.response.status_code == 401
    assert turn["status"] == "completed"


# -- the gap behind the reply of turn/start


class FakeThreads:
    """A manager that knows one idle thread and notes how turns are run."""

    def __init__(self) -> None:
        self.waits_s: list[float] = []
        self.elsewhere = None
        settings = SimpleNamespace(model_provider="fake", cwd="/")
        turn = SimpleNamespace(wire=lambda: {"id": "turn"})

        async def start_turn(*_: Any, begin: bool) -> Any:
            return turn

        self.live = SimpleNamespace(thread_id="t", settings=settings, active=None, start_turn=start_turn)

    async def require(self, thread_id: str) -> Any:
        return self.live

    def run(self, live: Any, turn: Any, *, after_s: float = 0.0) -> None:
        self.waits_s.append(after_s)


@pytest.mark.parametrize(("name", "wait_s"), [("codexed", 0.025), ("codex-tui", 0.0), ("tests", 0.0)])
@pytest.mark.parametrize("transport", ["stdio", "websocket"])
async def test_only_a_client_that_listens_late_gets_a_gap_behind_the_reply(
    name: str, transport: str, wait_s: float
) -> None:
    threads = FakeThreads()
    services = SimpleNamespace(
        threads=threads,
        providers=SimpleNamespace(table=lambda provider: None),
        pictures=None,
        hub=None,
        ground=None,
        allowance=None,
    )
    session = Session(connection_id=1, transport=transport, initialized=True, client_name=name, client_version="1.2.2")
    ctx: RequestContext[Any] = RequestContext(
        services=services, connection=cast("Any", None), session=session, request_id=1, method="turn/start"
    )
    params = TurnStartParams.model_validate({"threadId": "t", "input": [{"type": "text", "text": "Hello"}]})
    await turn_start(cast("Context", ctx), params)
    for callback in ctx.callbacks:
        callback()
    assert threads.waits_s == [wait_s]


@pytest.mark.parametrize(("after_s", "begins_at_once"), [(0.0, True), (3600.0, False)])
async def test_a_turn_with_a_gap_begins_behind_it(after_s: float, begins_at_once: bool) -> None:
    begun: list[object] = []

    async def run_turn(turn: object) -> None:
        begun.append(turn)

    live = cast("LiveThread", SimpleNamespace(run_turn=run_turn, left=False))
    turn = cast("Turn", SimpleNamespace(handed_over=False))
    async with anyio.create_task_group() as tasks:
        manager = ThreadManager(cast("Any", None), cast("Any", None), cast("Any", SimpleNamespace(clock=None)), tasks)
        manager.run(live, turn, after_s=after_s)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert begun == ([turn] if begins_at_once else [])
        tasks.cancel_scope.cancel()
