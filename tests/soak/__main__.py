"""`make soak`: a mixed load on two servers for SOAK_SECONDS (1800), one at a websocket and one on its pipes.

Prints a table for each, as it stands in docs/reliability.md. Exit status: 0 nothing grew beyond its bound, or this
system has no /proc (SKIPPED); 1 something did, or a turn did not end as it should.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from tests.soak.client import SoakClient
from tests.soak.judgement import Sample, judge, table
from tests.soak.load import Pace, Visitor, over_websocket
from tests.soak.process import ServerProcess, pipes, serving
from tests.soak.upstream import SoakUpstream

DEFAULT_SECONDS = 1800
WEBSOCKET_VISITORS = 4
WARM_UP = 0.3
"""Of the time: caches fill and the allocator's pools settle, and no figure counts."""
SAMPLES = 150
REST_S = 12.0
"""Worker threads of the process that are idle for ten seconds end."""


@dataclass(slots=True)
class Record:
    """The figures of one server."""

    server: ServerProcess
    samples: list[Sample] = field(default_factory=list)
    at_rest: list[Sample] = field(default_factory=list)


class Soak:
    """One run."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun = time.monotonic()
        self._pace, self._done = Pace(), Counter[str]()
        self._up = SoakUpstream()
        self._visitors = 0

    async def run(self, folder: Path) -> int:
        """The exit status."""
        async with (
            self._up as up,
            serving("websocket", folder / "websocket", up.base_url, ["--listen", "ws://127.0.0.1:0"]) as listener,
            serving("stdio", folder / "stdio", up.base_url) as child,
            anyio.create_task_group() as tasks,
            SoakClient(pipes(child), tasks) as over_pipes,
        ):
            records = [Record(listener), Record(child)]
            async with anyio.create_task_group() as at_work:
                for visitor in self._visitors_of(str(listener.url), over_pipes):
                    at_work.start_soon(visitor.run)
                await self._watch(records)
                at_work.cancel_scope.cancel()
        return self._report(records)

    def _visitors_of(self, url: str, over_pipes: SoakClient) -> list[Visitor]:
        guests = [
            Visitor(lambda: over_websocket(url), self._up, self._pace, self._done, drops=True)
            for _ in range(WEBSOCKET_VISITORS)
        ]
        resident = Visitor(lambda: nullcontext(over_pipes), self._up, self._pace, self._done, drops=False)
        self._visitors = len(guests) + 1
        return [*guests, resident]

    async def _watch(self, records: list[Record]) -> None:
        await self._load(records, self._seconds * WARM_UP)
        await self._rest(records)
        for record in records:
            record.samples.clear()
        await self._load(records, self._seconds * (1 - WARM_UP))
        await self._rest(records)

    async def _load(self, records: list[Record], seconds: float) -> None:
        """Take a sample of each from time to time, and mind the pace."""
        every_s = max(0.5, self._seconds / SAMPLES)
        until_s = time.monotonic() + seconds
        busy_s, at_s = _cpu_s(records), time.monotonic()
        while time.monotonic() < until_s:
            await anyio.sleep(every_s)
            self._up.forget()
            for record in records:
                record.samples.append(await record.server.sample(time.monotonic() - self._begun))
            now_busy_s, now_s = _cpu_s(records), time.monotonic()
            self._pace.adapt((now_busy_s - busy_s) / (now_s - at_s))
            busy_s, at_s = now_busy_s, now_s

    async def _rest(self, records: list[Record]) -> None:
        """Let every visit end, wait until idle threads are gone, look, and go on."""
        await self._pace.pause(self._visitors)
        await anyio.sleep(REST_S)
        for record in records:
            record.at_rest.append(await record.server.sample(time.monotonic() - self._begun))
        self._pace.go_on()

    def _report(self, records: list[Record]) -> int:
        good = True
        print(f"{self._seconds:.0f} s; " + ", ".join(f"{count} {what}" for what, count in sorted(self._done.items())))
        for record in records:
            before, after = record.at_rest
            findings = judge(record.samples, before, after)
            good = good and all(one.good for one in findings)
            print("\n" + "\n".join(table(record.server.name, findings)))
        return 0 if good else 1


def _cpu_s(records: list[Record]) -> float:
    return sum(record.server.cpu_s() for record in records) + time.process_time()


def main() -> int:
    """Run it for as long as the environment says."""
    if not sys.platform.startswith("linux"):
        print(f"SKIPPED: the figures come from /proc, and this is {sys.platform}")
        return 0
    seconds = float(os.environ.get("SOAK_SECONDS") or DEFAULT_SECONDS)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        return anyio.run(Soak(seconds).run, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
