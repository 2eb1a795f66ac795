"""Where a run took place, and how busy that place was: figures of different machines or days do not compare.

`session` asks before and after a run; `run` keeps it, `table` prints it.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

_LOOP: Final = 200_000
_LOOPS: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One line about the machine, in fields."""

    cpu: str
    cores: int
    python: str
    kernel: str
    filesystem: str
    """Of the folder with the homes: a durable log waits for it."""
    load_before: float
    load_most: float
    """The most that was seen on the way; the benchmark's own processes count as well."""
    load_after: float
    loop_before_ms: float
    """A fixed loop of Python: how fast one core was."""
    loop_after_ms: float

    def line(self) -> str:
        """For people."""
        place = f"{self.cpu}, {self.cores} cores, {self.kernel}, {self.filesystem}, Python {self.python}"
        load = f"load {self.load_before:.2f} before, up to {self.load_most:.2f}, {self.load_after:.2f} after"
        return (
            f"{place}; {load}; a fixed loop in {self.loop_before_ms:.1f} ms before, {self.loop_after_ms:.1f} ms after"
        )


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def loop_ms() -> float:
    """The median time of a loop that is the same everywhere."""
    return median(_one_loop_ms() for _ in range(_LOOPS))


def _one_loop_ms() -> float:
    began_ns = time.perf_counter_ns()
    total = 0
    for number in range(_LOOP):
        total += number & 7
    return (time.perf_counter_ns() - began_ns) / 1e6


def describe(folder: Path, loads: Sequence[float], loop_before_ms: float) -> Machine:
    """The machine at the end of a run: the loads that were seen, in order, and the loop at its begin."""
    return Machine(
        cpu=cpu_model(Path("/proc/cpuinfo").read_text().splitlines()),
        cores=os.cpu_count() or 0,
        python=platform.python_version(),
        kernel=f"{platform.system()} {platform.release().partition('-')[0]}",
        filesystem=filesystem_of(folder.resolve(), Path("/proc/mounts").read_text().splitlines()),
        load_before=loads[0],
        load_most=max(loads),
        load_after=load(),
        loop_before_ms=loop_before_ms,
        loop_after_ms=loop_ms(),
    )


def cpu_model(lines: Iterable[str]) -> str:
    """The name of the processor, from /proc/cpuinfo."""
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def filesystem_of(folder: Path, lines: Iterable[str]) -> str:
    """The type of the file system that holds a folder, from /proc/mounts: the longest mount point above it."""
    mounts = [(Path(point), kind) for _device, point, kind, *_ in (line.split() for line in lines)]
    above = [(len(point.parts), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(above, default=(0, "unknown"))[1]
