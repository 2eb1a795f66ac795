"""Our end of the fake provider: starts its process, knows its address, asks what it saw.

`bench` starts one for a whole run; `rows_*` ask it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import orjson

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request that the provider got. Times in nanoseconds of the monotonic clock."""

    path: str
    body_bytes: int
    asked_ns: int
    answered_ns: int

    @property
    def took_ms(self) -> float:
        """From the whole request to the whole answer: the provider's own time."""
        return (self.answered_ns - self.asked_ns) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the provider saw since the report before."""

    connections: int
    requests: tuple[Asked, ...]

    def of(self, suffix: str) -> tuple[Asked, ...]:
        """Answered requests whose path ends so, in order."""
        return tuple(one for one in self.requests if one.path.endswith(suffix) and one.answered_ns)


class Provider:
    """A running fake provider; use it in a `with`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.upstream"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.url = f"http://127.0.0.1:{int(self._line())}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)

    def report(self) -> Report:
        """What was asked since the last report."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        told = orjson.loads(self._line())
        return Report(connections=told["connections"], requests=tuple(Asked(**one) for one in told["requests"]))

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()
