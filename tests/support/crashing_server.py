"""A server over stdio that kills itself right before or right after one append to a thread's log. Run as a child.

    python -m tests.support.crashing_server HOME CWD before|after|never NUMBER

The kill is SIGKILL: nothing is flushed, closed or told. The kinds of the records of each append are written to
`<CWD>/appends`, a line each, so that a run without a kill tells how many boundaries a turn has.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio

from app_server.bootstrap import App, Options
from app_server.storage import registry
from app_server.storage.base import Lease, Record, StorageSource, ThreadLog, ThreadRow
from app_server.storage.local import open_local_storage
from app_server.transport.stdio import StdioStream, claim_stdio

APPENDS = "appends"


class CrashingLog:
    """A `ThreadLog` in front of a real one: everything passes, until the append that was named."""

    def __init__(self, log: ThreadLog, told: Path, when: str, number: int) -> None:
        self._log, self._told, self._when, self._number = log, told, when, number
        self._count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        number, self._count = self._count, self._count + 1
        with self._told.open("a", encoding="utf-8") as file:
            file.write(" ".join(record.kind for record in records) + "\n")
        self._die("before", number)
        last = await self._log.append(lease, records, row=row)
        self._die("after", number)
        return last

    def _die(self, when: str, number: int) -> None:
        if (when, number) == (self._when, self._number):
            os.kill(os.getpid(), signal.SIGKILL)


async def _main(home: Path, cwd: Path, when: str, number: int) -> None:
    def crashing(rest: str, blobs: str | None, folder: Path) -> StorageSource:
        storage = open_local_storage(folder)
        storage = replace(storage, log=CrashingLog(storage.log, cwd / APPENDS, when, number))
        return registry.PlainSource(lambda tenant: storage)

    registry.FACTORIES = MappingProxyType({**registry.FACTORIES, "crashing": crashing})
    options = Options(
        cwd=cwd,
        home=home,
        enable=("imagegenext",),
        extensions=("extensions.image_generation",),
        storage_url="crashing:",
    )
    async with App(options).running() as app:
        await app.serve(StdioStream(*claim_stdio()))


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
