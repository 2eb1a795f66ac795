"""The websocket over a unix socket: who can reach it, what it replaces, and what it leaves behind."""

from __future__ import annotations

import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from websockets.asyncio.client import unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app_server.errors import ConfigurationError
from app_server.transport.address import ListenAddress, control_socket
from app_server.transport.base import MessageStream, StreamClosed
from app_server.transport.http import HttpReply, HttpRequest
from app_server.transport.unix import bind_socket, remove_socket, serve_unix

if sys.platform == "win32":
    pytest.skip("this system has no unix sockets", allow_module_level=True)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: an address has room for about a hundred bytes."""
    with tempfile.TemporaryDirectory(prefix="u") as path:
        yield Path(path)


async def echo(stream: MessageStream) -> None:
    try:
        while True:
            await stream.send([await stream.receive()])
    except StreamClosed:
        pass


async def hello(_request: HttpRequest) -> HttpReply:
    return HttpReply(body=b"hello")


@asynccontextmanager
async def listening(path: Path) -> AsyncIterator[ListenAddress]:
    with anyio.fail_after(20):
        async with serve_unix(
            path, echo, routes={}, signed_routes={"/signed/": hello}, ready=lambda: True, close_timeout_s=0.2
        ) as address:
            yield address


async def said_back(path: Path, text: str, uri: str = "ws://localhost/rpc") -> str:
    async with unix_connect(str(path), uri) as client:
        await client.send(text)
        return str(await client.recv())


async def get(path: Path, target: str) -> bytes:
    async with await anyio.connect_unix(str(path)) as stream:
        await stream.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return b"".join([chunk async for chunk in stream])


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def refusal(path: Path) -> str:
    with pytest.raises(ConfigurationError) as error:
        remove_socket(bind_socket(path))
    return error.value.message


@pytest.mark.anyio
@pytest.mark.parametrize("uri", ["ws://localhost/rpc", "ws://localhost/", "ws://anything/any/path?x"])
async def test_any_path_upgrades_and_frames_pass(folder: Path, uri: str) -> None:
    path = folder / "a.sock"
    async with listening(path) as address:
        assert (address, str(address)) == (ListenAddress(scheme="unix", path=path), f"unix://{path}")
        assert await said_back(path, "text ä", uri) == "text ä"


@pytest.mark.anyio
async def test_probes_and_routes_are_answered_and_an_origin_is_refused(folder: Path) -> None:
    path = folder / "a.sock"
    async with listening(path):
        assert (await get(path, "/readyz")).startswith(b"HTTP/1.1 200 ")
        assert (await get(path, "/signed/x")).endswith(b"hello")
        with pytest.raises(InvalidStatus) as refused:
            await unix_connect(str(path), "ws://localhost/", origin="http://bad")
    assert refused.value.response.status_code == 403


@pytest.mark.anyio
async def test_the_socket_and_its_new_folder_are_private_and_the_socket_goes_at_the_end(folder: Path) -> None:
    path = control_socket(folder / "home")
    async with listening(path):
        assert (mode(path.parent), mode(path)) == (0o700, 0o600)
        assert sorted(each.name for each in path.parent.iterdir()) == [path.name, f"{path.name}.lock"]
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}.lock"]


def test_the_folder_below_the_home_is_made_private_and_another_one_is_left_as_it_is(folder: Path) -> None:
    for path, expected in ((control_socket(folder), 0o700), (folder / "other" / "a.sock", 0o755)):
        path.parent.mkdir()
        path.parent.chmod(0o755)
        remove_socket(bind_socket(path))
        assert mode(path.parent) == expected


@pytest.mark.anyio
async def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        path.chmod(0o755)
    async with listening(path):
        assert mode(path) == 0o600
        assert await said_back(path, "x") == "x"


@pytest.mark.anyio
async def test_a_live_socket_is_left_alone_and_named(folder: Path) -> None:
    path = folder / "a.sock"
    async with listening(path):
        message = await anyio.to_thread.run_sync(refusal, path)
        assert await said_back(path, "x") == "x"
    assert message == (
        f"A server already listens on {path}; connect to it, end it, or choose another path with --listen unix://PATH."
    )


def test_a_socket_whose_queue_is_full_is_live(folder: Path) -> None:
    path = folder / "a.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        assert refusal(path).startswith(f"A server already listens on {path};")


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_never_replaced(folder: Path, kind: str) -> None:
    path, target = folder / "a.sock", folder / "target"
    match kind:
        case "file":
            path.write_text("mine", encoding="utf-8")
        case "folder":
            path.mkdir()
        case _:
            target.write_text("mine", encoding="utf-8")
            path.symlink_to(target)
    assert refusal(path) == (
        f"The path {path} holds something that is no socket; remove it, or choose another path with "
        "--listen unix://PATH."
    )
    assert path.exists()


def test_a_link_to_nothing_is_never_replaced(folder: Path) -> None:
    path = folder / "a.sock"
    path.symlink_to(folder / "nowhere")
    assert "holds something that is no socket" in refusal(path)
    assert path.is_symlink()


@pytest.mark.parametrize(
    ("name", "cause"),
    [("a-file/a.sock", "file exists"), ("x" * 110, "the path is too long for a socket")],
)
def test_a_path_that_cannot_be_used_is_told_with_its_cause(folder: Path, name: str, cause: str) -> None:
    (folder / "a-file").write_text("", encoding="utf-8")
    path = folder / name
    assert refusal(path) == (
        f"The socket {path} cannot be listened on ({cause}); choose another path with --listen unix://PATH."
    )


def test_the_socket_of_a_successor_is_not_removed(folder: Path) -> None:
    path = folder / "a.sock"
    first = bind_socket(path)
    path.unlink()
    second = bind_socket(path)
    remove_socket(first)
    assert path.is_socket()
    remove_socket(second)
    remove_socket(second)
    assert not path.exists()


@pytest.mark.anyio
async def test_clients_are_closed_when_the_listener_ends(folder: Path) -> None:
    path = folder / "a.sock"
    async with listening(path):
        client = await unix_connect(str(path), "ws://localhost/")
    with pytest.raises(ConnectionClosed):
        await client.recv()
    await client.close()
