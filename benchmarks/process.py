"""What the system says of a running server: CPU, memory, open files of a process and its children. Linux alone.

Never changes a process but for its peak of memory, which `forget_peak` sets back. Called by `rows_*`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_SCHEDULED_CLOCK: Final = 2
_QUIET_MS: Final = 2.0
_LOOK_S: Final = 0.05
_QUIET_LOOKS: Final = 5


def family(pid: int) -> Iterator[int]:
    """The process and its descendants: a server may be started through a launcher."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _words(children):
            yield from family(int(child))


def cpu_ms(pid: int) -> float:
    """CPU that the process and its living children have used, ended threads included."""
    return sum(_cpu_ns(one) for one in family(pid)) / 1e6


def _cpu_ns(pid: int) -> int:
    try:
        return time.clock_gettime_ns(
            (~pid << 3) | _SCHEDULED_CLOCK
        )  # the CPU clock of another process, as Linux counts it
    except OSError:
        return 0  # it ended meanwhile


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return _status_mb(pid, "VmRSS")


def anonymous_mb(pid: int) -> float:
    """Resident memory that is not mapped from files."""
    return _status_mb(pid, "RssAnon")


def peak_mb(pid: int) -> float:
    """The largest resident memory since the start, or since `forget_peak`."""
    return _status_mb(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Let `peak_mb` count from now on."""
    for one in family(pid):
        Path(f"/proc/{one}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    """File descriptors."""
    return sum(len(os.listdir(f"/proc/{one}/fd")) for one in family(pid))


def wait_idle(pid: int, limit_s: float = 10) -> None:
    """Return when the process has done next to nothing for a while, or at the limit: some are never quite idle."""
    end = time.monotonic() + limit_s
    quiet, used = 0, cpu_ms(pid)
    while quiet < _QUIET_LOOKS and time.monotonic() < end:
        time.sleep(_LOOK_S)
        now = cpu_ms(pid)
        quiet = quiet + 1 if now - used < _QUIET_MS else 0
        used = now


def disk_bytes(folder: Path) -> int:
    """Sizes of all files below a folder; one that goes while we look counts nothing."""
    total = 0
    for place, _folders, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except FileNotFoundError:
                continue
    return total


def _status_mb(pid: int, name: str) -> float:
    lines = (line for one in family(pid) for line in _lines(Path(f"/proc/{one}/status")))
    return sum(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 1024


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []  # it ended meanwhile


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path) for word in line.split()]
