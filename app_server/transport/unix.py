"""The websocket listener over a unix socket, for clients of the same user: `websocket.py` on another kind of address.

The permissions are the login: the socket has mode 0600, and a folder that is made for it 0700. A socket is bound and
made private in a folder of its own and then moved to its place, so that nobody can connect before it is ready, and a
stale one is replaced in one step. What a running server listens on, and what is no socket, is never replaced.
`commands/serve.py` calls it; only POSIX systems have it.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio.to_thread

from app_server.errors import ConfigurationError
from app_server.transport.address import CONTROL_SOCKET, ListenAddress
from app_server.transport.base import MAX_FRAME_BYTES
from app_server.transport.http import HttpRoutes, ListenPolicy
from app_server.transport.websocket import CLOSE_TIMEOUT_S, Farewell, OnConnection, accept

if TYPE_CHECKING:
    from websockets.asyncio.server import Server, ServerConnection

BACKLOG = 128
_ALIVE = frozenset({0, errno.EAGAIN, errno.EINPROGRESS})
"""What connecting to a socket says that somebody listens on; EAGAIN: with a full backlog."""


class BoundSocket(NamedTuple):
    """A listening socket at its place, and the identity of its file."""

    socket: socket.socket
    path: Path
    device: int
    inode: int


@asynccontextmanager
async def serve_unix(
    path: Path,
    on_connection: OnConnection,
    *,
    routes: HttpRoutes,
    ready: Callable[[], bool],
    signed_routes: HttpRoutes | None = None,
    allowed_origins: frozenset[str] = frozenset(),
    max_frame_bytes: int = MAX_FRAME_BYTES,
    close_timeout_s: float = CLOSE_TIMEOUT_S,
    farewell: Farewell = lambda: None,
) -> AsyncIterator[ListenAddress]:
    """Listen on a unix socket while the block runs (see `accept`); at its end the socket is removed.

    Raises ConfigurationError when the path cannot be used, or a server that lives listens there.
    """
    bound = await anyio.to_thread.run_sync(bind_socket, path)
    try:
        from websockets.asyncio.server import unix_serve

        async def open_server(handler: Callable[[ServerConnection], Awaitable[None]], **settings: Any) -> Server:
            return await unix_serve(handler, sock=bound.socket, **settings)

        policy = ListenPolicy(
            routes=routes, ready=ready, allowed_origins=allowed_origins, signed_routes=signed_routes or {}
        )
        async with accept(
            open_server,
            on_connection,
            policy,
            max_frame_bytes=max_frame_bytes,
            close_timeout_s=close_timeout_s,
            farewell=farewell,
        ):
            yield ListenAddress(scheme="unix", path=path)
    finally:
        remove_socket(bound)


def bind_socket(path: Path) -> BoundSocket:
    """A private socket that listens at `path`. Blocks for a moment; raises ConfigurationError."""
    if not hasattr(socket, "AF_UNIX") or sys.platform == "win32":
        raise ConfigurationError("This system has no unix sockets; listen on a websocket, such as ws://127.0.0.1:0.")
    with _refusing(path):
        _make_folder(path.parent)
        with _alone(path):
            _check_free(path)
            return _publish(path)


def remove_socket(bound: BoundSocket) -> None:
    """Close it and remove its file, unless another server has put its own there."""
    bound.socket.close()
    with suppress(OSError):
        found = bound.path.lstat()
        if (found.st_dev, found.st_ino) == (bound.device, bound.inode):
            bound.path.unlink()


def _make_folder(folder: Path) -> None:
    """The folder, private when it is made here. The one below the home is ours, and private in any case."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.name == CONTROL_SOCKET[0] and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time looks at this path and takes it; a lock held for a moment, which dies with its process."""
    if sys.platform == "win32":
        raise AssertionError("bind_socket has refused this system")
    import fcntl

    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_free(path: Path) -> None:
    """Raises ConfigurationError for a live server and for what is no socket; a stale socket is fine."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        number = probe.connect_ex(str(path))  # raises for a path that no client could name either
    if number == errno.ENOENT and not path.is_symlink():
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise ConfigurationError(
            f"The path {path} holds something that is no socket; remove it, or choose another path with "
            "--listen unix://PATH."
        )
    if number in _ALIVE:
        raise ConfigurationError(
            f"A server already listens on {path}; connect to it, end it, or choose another path with "
            "--listen unix://PATH."
        )
    if number != errno.ECONNREFUSED:
        raise OSError(number, os.strerror(number))


def _publish(path: Path) -> BoundSocket:
    """Bind, make private, listen, and only then move to the place."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as folder:
            private = Path(folder, "s")
            listening.bind(str(private))
            private.chmod(0o600)
            listening.listen(BACKLOG)
            listening.setblocking(False)
            identity = private.lstat()
            private.replace(path)
    except BaseException:
        listening.close()
        raise
    return BoundSocket(listening, path, identity.st_dev, identity.st_ino)


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Say what is wrong with a path that cannot be used."""
    try:
        yield
    except OSError as error:
        # Python itself refuses a path that the address has no room for, without a number
        cause = os.strerror(error.errno).lower() if error.errno else "the path is too long for a socket"
        raise ConfigurationError(
            f"The socket {path} cannot be listened on ({cause}); choose another path with --listen unix://PATH."
        ) from None
