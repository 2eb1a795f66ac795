"""The replicas of a cluster run: real server processes, each with a home of its own, and one storage for all.

Starts, kills, stops, continues and drains them; knows which of them a balancer would send clients to. `trouble.py`
decides what happens to which. Every process that was started here has ended when `Fleet.running` is left.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import anyio
import orjson
from anyio.abc import Process, TaskGroup

from app_server.storage.cluster import LEASE_TTL_S
from tests.support.accounts import write_chatgpt_auth
from tests.support.bell import Bell
from tests.support.replica_server import TTL_S
from tests.support.s3 import CREDENTIALS
from tests.support.server import make_home
from tests.support.streams import INHERITED

LOGS = "CLUSTER_LOGS"
"""Names a folder in which all that the replicas log is kept."""
FENCED_OFF = ("turn_end_not_stored", "tool_crashed")
"""What a replica logs that slept too long: its turns have another owner by now."""
ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0
TOP = 'storage.url = "{url}"\nstorage.blobs = "{blobs}"\nserver.inline_images = "never"\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What all replicas share."""

    provider: str
    database: str
    blobs: str
    ttl_s: float


@dataclass(slots=True, eq=False)
class Replica:
    """One process. `owner` is its id in the table of leases, once it is known."""

    number: int
    process: Process
    url: str = ""
    owner: str = ""
    ready: bool = False
    """Whether clients are sent to it."""
    errors: list[str] = field(default_factory=list)
    """What it logged as errors."""
    was_stopped: bool = False

    @property
    def name(self) -> str:
        return f"replica {self.number} (pid {self.process.pid})"


class Fleet:
    """The processes, in as many places as there are replicas."""

    def __init__(self, wiring: Wiring, folder: Path, count: int, tasks: TaskGroup) -> None:
        self.wiring = wiring
        self.now: list[Replica | None] = [None] * count
        self.all: list[Replica] = []
        self._folder, self._tasks = folder, tasks
        self._bell = Bell()
        self._logs = Path(os.environ[LOGS]) if LOGS in os.environ else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Fleet]:
        """All of them, started one behind the other; ended by SIGTERM."""
        try:
            for place in range(len(self.now)):
                await self.start(place)
            yield self
        finally:
            await self.end()

    async def end(self) -> None:
        """End every process by SIGTERM."""
        with anyio.CancelScope(shield=True):
            for replica in self.all:
                if replica.process.returncode is None:
                    replica.process.send_signal(signal.SIGCONT)
                    replica.process.terminate()
            for replica in self.all:
                await _ended(replica.process)

    def ready(self) -> list[Replica]:
        """Where a balancer would send a client."""
        return [replica for replica in self.now if replica is not None and replica.ready]

    async def any_ready(self) -> Replica:
        """One of them by chance, as soon as there is one."""
        return random.choice(await self.several_ready(1))

    async def several_ready(self, count: int) -> list[Replica]:
        """All that are ready, as soon as there are so many."""
        await self._bell.until(
            lambda: len(self.ready()) >= count, START_TIMEOUT_S, lambda: f"{count} replicas are ready"
        )
        return self.ready()

    async def start(self, place: int, env: Mapping[str, str] = MappingProxyType({})) -> Replica:
        """A new process in this place, with this environment on top; it listens when this returns."""
        replica = Replica(number=len(self.all), process=await self._open(place, env))
        self.all.append(replica)
        self.now[place] = replica
        self._tasks.start_soon(self._read, replica)
        await self._bell.until(
            lambda: bool(replica.url) or replica.process.returncode is not None,
            START_TIMEOUT_S,
            lambda: f"{replica.name} listens",
        )
        assert replica.url, f"{replica.name} ended with {replica.process.returncode}: {replica.errors}"
        return replica

    def let_in(self, replica: Replica) -> None:
        """Send clients to it from now on."""
        replica.ready = True
        self._bell.ring()

    async def kill(self, replica: Replica) -> None:
        """SIGKILL; returns when the process is gone."""
        replica.ready = False
        replica.process.send_signal(signal.SIGKILL)
        await replica.process.wait()

    def stop(self, replica: Replica) -> None:
        """SIGSTOP: it holds its connections and does nothing."""
        replica.ready, replica.was_stopped = False, True
        replica.process.send_signal(signal.SIGSTOP)

    def go_on(self, replica: Replica) -> None:
        replica.process.send_signal(signal.SIGCONT)
        self.let_in(replica)

    async def drain(self, replica: Replica) -> int:
        """SIGTERM; the exit status."""
        replica.ready = False
        replica.process.terminate()
        return await _ended(replica.process)

    async def _open(self, place: int, more: Mapping[str, str]) -> Process:
        shared, folder = self.wiring, self._folder / f"replica-{place}"
        top = TOP.format(url=shared.database, blobs=shared.blobs)
        home = make_home(
            folder, shared.provider, login="requires_openai_auth = true", top=top, features="imagegenext = true"
        )
        write_chatgpt_auth(home.home)
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        env = {**inherited, **CREDENTIALS, "APP_SERVER_HOME": str(home.home), "HOME": str(folder)}
        env |= {
            "APP_SERVER_LOG": "info" if self._logs is not None else "warn",
            "PYTHONPATH": str(ROOT),
            TTL_S: str(shared.ttl_s),
            **more,
        }
        module = "app_server" if shared.ttl_s == LEASE_TTL_S else "tests.support.replica_server"
        return await anyio.open_process(
            [sys.executable, "-m", module, "--listen", "ws://127.0.0.1:0"],
            cwd=home.cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    async def _read(self, replica: Replica) -> None:
        """Its log, until it ends."""
        rest = b""
        assert replica.process.stderr is not None
        async for piece in replica.process.stderr:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                _take(replica, line.decode("utf-8", "replace"))
                if self._logs is not None:
                    with (self._logs / f"replica-{replica.number}.log").open("ab") as file:
                        file.write(line + b"\n")
            self._bell.ring()
        await replica.process.wait()
        self._bell.ring()


def _take(replica: Replica, line: str) -> None:
    if "listening on " in line and not replica.url:
        replica.url = line.split("listening on ")[1].split()[0]
        return
    try:
        told = orjson.loads(line)
    except orjson.JSONDecodeError:
        if line.strip():
            replica.errors.append(line)
        return
    if told.get("level") == "error" and not (replica.was_stopped and told.get("event") in FENCED_OFF):
        replica.errors.append(line)


async def _ended(process: Process) -> int:
    with anyio.move_on_after(END_TIMEOUT_S):
        await process.wait()
    if process.returncode is None:
        process.kill()
    return await process.wait()
