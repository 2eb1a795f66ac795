"""A whole run as data, and as JSON on disk: which servers, where, what was measured. Everything else follows from it.

`session` makes one, `table` shows one, `__main__` writes and reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from benchmarks.machine import Machine

FORMAT: Final = 1

Rounds = Sequence[Mapping[str, Sequence[float]]]
"""For each round: figure → values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One session. `servers`: one name, or the peer's before ours; the keys of `rounds` are the same."""

    machine: Machine
    day: str
    servers: Mapping[str, str]
    """Name → command."""
    rows: Sequence[str]
    scale: float
    rounds: Mapping[str, Rounds]
    failures: Sequence[str] = ()
    """What could not be measured, and why."""

    def values(self, server: str, figure: str) -> list[list[float]]:
        """The values of a figure, for each round."""
        return [list(one.get(figure, ())) for one in self.rounds[server]]


def to_json(run: Run) -> bytes:
    """The run as a file."""
    return orjson.dumps({"format": FORMAT, **asdict(run)}, option=orjson.OPT_INDENT_2) + b"\n"


def from_json(data: bytes) -> Run:
    """Raises ValueError where this is no file of a run."""
    told: dict[str, Any] = orjson.loads(data)
    if told.pop("format", None) != FORMAT:
        raise ValueError(f"This is no file of a benchmark run of format {FORMAT}: measure again with --json.")
    return Run(**{**told, "machine": Machine(**told["machine"])})
