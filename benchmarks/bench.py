"""One server under measurement: starts it on homes of its own, ends it, and keeps what a later round can use again.

`session` makes one for each server; `rows_*` measure with it. Every process that is started here has ended when its
`with` is left.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO, Final

from benchmarks.channels import PipeChannel, WebsocketChannel, connected
from benchmarks.client import Client
from benchmarks.homes import Home, make_home
from benchmarks.provider import Provider

Samples = dict[str, list[float]]
"""Figure → what was measured."""
_EXIT_S: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that was started, and its client over stdio."""

    process: subprocess.Popen[bytes]
    spawned_ns: int
    client: Client

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass(slots=True, kw_only=True)
class Bench:
    """A server's command and where it works. `scale` below 1: fewer repetitions, for a quick look."""

    command: str
    folder: Path
    provider: Provider
    scale: float = 1.0
    kept: dict[str, Home] = field(default_factory=dict)
    """Homes that were costly to fill, for the rounds to come."""
    _numbers: Iterator[int] = field(default_factory=count)

    def times(self, count: int, least: int = 1) -> int:
        """How often to do something, by the scale."""
        return max(least, round(count * self.scale))

    def home(self, *, with_login: bool = False) -> Home:
        """A fresh home."""
        return make_home(self.folder / f"{next(self._numbers)}", self.provider.url, with_login=with_login)

    def kept_home(self, name: str, fill: Callable[[Home], None]) -> Home:
        """A home that is made and filled once for all rounds."""
        if name not in self.kept:
            home = self.home()
            fill(home)
            self.kept[name] = home
        return self.kept[name]

    @contextmanager
    def running(self, home: Home) -> Iterator[Running]:
        """A server on stdin and stdout; nothing has been said to it."""
        with ExitStack() as stack:
            log = stack.enter_context(home.log.open("ab"))
            spawned_ns = time.monotonic_ns()
            process = self._popen(shlex.split(self.command), home, log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdout.close)
            stack.callback(_end, process)
            stack.callback(_close_quietly, process.stdin)
            channel = PipeChannel(process.stdin.fileno(), process.stdout.fileno())
            yield Running(process=process, spawned_ns=spawned_ns, client=Client(channel))

    @contextmanager
    def initialized(self, home: Home) -> Iterator[Running]:
        """A server that has shaken hands."""
        with self.running(home) as running:
            running.client.initialize()
            yield running

    @contextmanager
    def listening(self, home: Home) -> Iterator[tuple[subprocess.Popen[bytes], Callable[[], WebsocketChannel]]]:
        """A server on a websocket: its process, and what opens one more connection to it."""
        port = _free_port()
        argv = [*shlex.split(self.command), "--listen", f"ws://127.0.0.1:{port}"]
        with home.log.open("ab") as log:
            process = self._popen(argv, home, log, stdin=subprocess.DEVNULL, stdout=log)
            try:
                yield process, lambda: connected(port)
            finally:
                process.terminate()
                _end(process)

    def _popen(
        self, argv: list[str], home: Home, log: IO[bytes], *, stdin: int, stdout: int | IO[bytes]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv, cwd=home.cwd, env=dict(home.env), stdin=stdin, stdout=stdout, stderr=log, bufsize=0
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end that the server was told of; one that does not come is made."""
    try:
        process.wait(_EXIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _close_quietly(stream: IO[bytes]) -> None:
    with suppress(OSError):  # the server went first
        stream.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
