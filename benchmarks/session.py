"""Runs the groups of rows on one server, or on two in turn, and makes a `Run` of it.

A group is measured in all its rounds before the next one begins, so that the two servers of a round are measured
seconds apart. A group that fails is left out, with its reason, and the others go on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks import (
    machine,
    rows_calls,
    rows_deltas,
    rows_history,
    rows_hosted,
    rows_pictures,
    rows_start,
    rows_threads,
    rows_turns,
    rows_websocket,
)
from benchmarks.bench import Bench, Samples
from benchmarks.channels import Gone
from benchmarks.client import Refused
from benchmarks.provider import Provider
from benchmarks.rounds import interleaved
from benchmarks.run import Run
from benchmarks.turns import Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that are measured together, because they need the same servers."""

    rows: frozenset[str]
    measure: Callable[[Bench], Samples]

    @property
    def name(self) -> str:
        """Its rows, in order: P1/P2/P3."""
        return "/".join(sorted(self.rows, key=lambda row: int(row[1:])))


GROUPS: Final = (
    Group(rows=frozenset({"P1", "P2", "P3"}), measure=rows_start.measure),
    Group(rows=frozenset({"P4", "P5"}), measure=rows_calls.measure),
    Group(rows=frozenset({"P5", "P6", "P7"}), measure=rows_threads.measure),
    Group(rows=frozenset({"P8", "P9", "P16"}), measure=rows_turns.measure),
    Group(rows=frozenset({"P10", "P11"}), measure=rows_deltas.measure),
    Group(rows=frozenset({"P12", "P13"}), measure=rows_history.measure),
    Group(rows=frozenset({"P14"}), measure=rows_websocket.measure),
    Group(rows=frozenset({"P15"}), measure=rows_pictures.measure),
    Group(rows=frozenset({"H1", "H2", "H3"}), measure=rows_hosted.measure),
)


def measured(
    servers: Mapping[str, str], rows: Sequence[str], *, rounds: int, scale: float, folder: Path, provider: Provider
) -> Run:
    """Measure these rows. `servers`: name → command, the peer's first."""
    loads, loop_before_ms = [machine.load()], machine.loop_ms()
    benches = {
        name: Bench(command=command, folder=folder / f"server-{at}", provider=provider, scale=scale)
        for at, (name, command) in enumerate(servers.items())
    }
    found: dict[str, list[Samples]] = {name: [{} for _ in range(rounds)] for name in servers}
    failures: list[str] = []
    for group in GROUPS:
        if group.rows.isdisjoint(rows):
            continue
        for number, name in interleaved(list(servers), rounds):
            loads.append(machine.load())
            _tell(f"{group.name}, round {number + 1} of {rounds}, {name}, load {loads[-1]:.2f}")
            try:
                found[name][number].update(group.measure(benches[name]))
            except (Failed, Gone, Refused, OSError, ValueError, KeyError, AssertionError) as error:
                failures.append(f"{group.name} of {name}: {error}")
                _tell(failures[-1])
    return Run(
        machine=machine.describe(folder, loads, loop_before_ms),
        day=time.strftime("%Y-%m-%d"),
        servers=servers,
        rows=rows,
        scale=scale,
        rounds=found,
        failures=failures,
    )


def _tell(what: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stderr.flush()
