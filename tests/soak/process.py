"""The server processes of a soak: started on a home of their own, looked at from outside, ended by SIGTERM.

Memory, files and threads are the kernel's figures (`/proc`), tasks come by `server.py`, rows are read from the database
beside the server. Linux only.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from urllib.request import pathname2url

import anyio
from anyio.abc import Process

from tests.soak.judgement import MIB, Sample
from tests.soak.server import TASKS
from tests.support.accounts import write_chatgpt_auth
from tests.support.bell import Bell
from tests.support.server import make_home
from tests.support.streams import INHERITED, ChildStream

ROOT = Path(__file__).resolve().parents[2]
END_TIMEOUT_S = 30.0


class ServerProcess:
    """A server that runs. `url` where it listens, None where it speaks over its pipes."""

    def __init__(self, name: str, process: Process, home: Path) -> None:
        self.name, self.process, self._home = name, process, home
        self.url: str | None = None
        self.errors: list[str] = []
        """Lines that it logged as errors."""
        self._told: list[int] = []
        self._bell = Bell()

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def sample(self, at_s: float) -> Sample:
        """What it is like now."""
        proc = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        return Sample(
            at_s=at_s,
            figures={
                "memory MiB": int(status["VmRSS"].split()[0]) * 1024 / MIB,
                "open files": len(os.listdir(proc / "fd")),
                "threads of the process": int(status["Threads"]),
                "asyncio tasks": await self._tasks(),
                "stored threads": self._rows(),
                "picture files": sum(1 for path in (self._home / "generated_images").rglob("*") if path.is_file()),
            },
        )

    async def wait_listening(self) -> None:
        """Until `url` is known."""
        await self._bell.until(lambda: self.url is not None, END_TIMEOUT_S, lambda: f"{self.name} listens")

    async def read_stderr(self) -> None:
        """Until its end; a task of `serving`."""
        rest = b""
        assert self.process.stderr is not None
        async for piece in self.process.stderr:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line.decode())
            self._bell.ring()

    def _take(self, line: str) -> None:
        if line.startswith(TASKS):
            self._told.append(int(line.removeprefix(TASKS)))
        elif "listening on " in line:
            self.url = line.split("listening on ")[1].split()[0]
        elif '"level":"error"' in line:
            self.errors.append(line)

    async def _tasks(self) -> int:
        self._told.clear()
        self.process.send_signal(signal.SIGUSR1)
        await self._bell.until(lambda: bool(self._told), END_TIMEOUT_S, lambda: f"{self.name} tells its tasks")
        return self._told[0]

    def _rows(self) -> int:
        path = self._home / "state.sqlite"
        if not path.exists():
            return 0
        with closing(sqlite3.connect(f"file:{pathname2url(str(path))}?mode=ro", uri=True)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'threads'").fetchone() is None:
                return 0
            count: int = connection.execute("SELECT count(*) FROM threads").fetchone()[0]
        return count


@asynccontextmanager
async def serving(
    name: str, folder: Path, upstream_url: str, options: Sequence[str] = ()
) -> AsyncIterator[ServerProcess]:
    """A server while the block runs: at `--listen` addresses when `options` name some, else on its pipes.

    Raises AssertionError when it does not end in order, or logged an error."""
    home = make_home(folder, upstream_url, login="requires_openai_auth = true", features="imagegenext = true")
    write_chatgpt_auth(home.home)
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    env = {**inherited, "APP_SERVER_HOME": str(home.home), "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "tests.soak.server", *options]
    async with (
        await anyio.open_process(argv, cwd=home.cwd, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process,
        anyio.create_task_group() as tasks,
    ):
        server = ServerProcess(name, process, home.home)
        tasks.start_soon(server.read_stderr)
        try:
            if options:
                await server.wait_listening()
            yield server
        finally:
            await _end(process)
    assert (process.returncode, server.errors) == (0, []), f"{name}: {process.returncode}, {server.errors[:3]}"


async def _end(process: Process) -> None:
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.terminate()
        with anyio.move_on_after(END_TIMEOUT_S):
            await process.wait()
        if process.returncode is None:
            process.kill()


def pipes(server: ServerProcess) -> ChildStream:
    """The stream of a server on its pipes; closing it ends the server."""
    return ChildStream(server.process)
