"""A real PostgreSQL for tests: one cluster for a test run, in a temporary folder, and a new database for each test.

The cluster listens on a unix socket in its folder and on a free port of 127.0.0.1, trusts everybody and syncs nothing
to disk. Each process of a parallel run has one of its own. A database is a copy of one that was migrated once. Where
there are no binaries the test is skipped with the reason; on continuous integration (`CI=true`) that is a failure.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app_server.storage.postgres.database import PostgresDatabase

START_TIMEOUT_S = 60
_TEMPLATE = "template_migrated"
_SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "on",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}
_DURABLE: Mapping[str, str] = {"fsync": "on", "full_page_writes": "on"}
MISSING = "needs the PostgreSQL server: no initdb on the PATH or in /usr/lib/postgresql"


class Cluster:
    """A running server."""

    def __init__(self, binaries: Path, folder: Path, *, durable: bool = False) -> None:
        """`durable`: commits reach the disk, as they do where people keep something."""
        self._binaries = binaries
        self._data = folder / "data"
        self._folder = folder
        self._settings = {**_SETTINGS, **(_DURABLE if durable else {})}
        self._user = _other_user()
        self._numbers = count(1)
        self.port = _free_port()
        if self._user is not None:
            shutil.chown(folder, self._user)
        self._run("initdb", "-D", str(self._data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        self._has_template = False
        self._start()

    def url(self, database: str, **options: str) -> str:
        """Of a database in it, with a password that it does not ask for."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://tester:sesame@127.0.0.1:{self.port}/{database}{'?' if query else ''}{query}"

    def _start(self) -> None:
        options = " ".join([f"-c {name}={value}" for name, value in self._settings.items()])
        options += f" -p {self.port} -k {self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", str(START_TIMEOUT_S), "-l", log, "-o", options, "start")

    def end(self) -> None:
        """Stop for good and remove the folder."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().splitlines()[0])
            os.kill(pid, signal.SIGQUIT)
        except (OSError, ValueError, IndexError):
            pass  # it has ended
        shutil.rmtree(self._folder, ignore_errors=True)

    async def new_database(self) -> str:
        """A database of its own with today's schema; returns its URL."""
        if not self._has_template:
            await self._make_template()
            self._has_template = True
        name = f"test_{next(self._numbers)}"
        await self._ask(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url(name)

    async def empty_database(self, options: str = "") -> str:
        """A database in which nothing was made; returns its URL."""
        name = f"empty_{next(self._numbers)}"
        await self._ask(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    async def drop(self, url: str) -> None:
        """Remove a database, whoever is connected to it."""
        await self._ask(f"DROP DATABASE IF EXISTS {url.partition('?')[0].rpartition('/')[2]} WITH (FORCE)")

    async def _make_template(self) -> None:
        await self._ask(f"CREATE DATABASE {_TEMPLATE}")
        database = PostgresDatabase(self.url(_TEMPLATE, pool_size="1"))
        await database.run(lambda connection: connection.fetchval("SELECT 1"))
        await database.aclose()

    async def _ask(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            user=self._user,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it starts would keep a pipe open
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C", "HOME": str(self._folder)},
            timeout=START_TIMEOUT_S + 10,
            check=False,
        )
        if done.returncode:
            log = self._folder / "log"
            raise RuntimeError(f"{program} failed: {log.read_text()[-2000:] if log.exists() else 'it wrote no log'}")


@cache
def cluster() -> Cluster:
    """The cluster of this process; made with the first test that needs it, ended with the process."""
    made = new_cluster()
    if made is None:
        if os.environ.get("CI") == "true":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    atexit.register(made.end)
    return made


def has_binaries() -> bool:
    """Whether there is a PostgreSQL to start on this machine."""
    return _binaries() is not None


def new_cluster(*, durable: bool = False) -> Cluster | None:
    """One more, for whoever ends it; None where there are no binaries."""
    binaries = _binaries()
    if binaries is None:
        return None
    folder = Path(tempfile.mkdtemp(prefix="app-server-postgres-"))
    folder.chmod(0o755)
    return Cluster(binaries, folder, durable=durable)


async def ask(url: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a statement answers, on a connection of the test's own."""
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *values)]
    finally:
        await connection.close()


def _binaries() -> Path | None:
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[-3]))
    return versions[-1].parent if versions else None


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root: who to run it as then; None is ourselves."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
