"""What the figures of a soak mean: the growth that a straight line through them shows, and the bound that it must keep.

    growth while the load runs   slope of the least-squares line × time    ≤ noise + per_hour × time
    left behind at rest          last figure without load − the first one  ≤ at_rest

Pure. A figure may rise and fall with the load; what may not be is that it goes on rising, or does not come back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a server process was like at a moment, `at_s` seconds after the begin."""

    at_s: float
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How much one figure may grow. `per_hour` and `noise` count under load, `at_rest` from rest to rest."""

    figure: str
    noise: float
    per_hour: float = 0.0
    at_rest: float = 0.0


BOUNDS: Final = (
    Bound(figure="memory MiB", noise=6.0, per_hour=6.0, at_rest=8.0),
    Bound(figure="open files", noise=4.0, at_rest=2.0),
    Bound(figure="threads of the process", noise=4.0, at_rest=2.0),
    Bound(figure="asyncio tasks", noise=6.0, at_rest=1.0),
    Bound(figure="stored threads", noise=4.0),
    Bound(figure="picture files", noise=4.0),
)
"""Memory is the allocator's: its pools settle in the first minutes, so a little growth is no leak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the table."""

    figure: str
    first: float
    last: float
    """At rest: before the load that counts, and behind it."""
    highest: float
    grew: float
    """By the fitted line, over the whole time that counts."""
    allowed: float
    left: float
    left_allowed: float

    @property
    def good(self) -> bool:
        return self.grew <= self.allowed and self.left <= self.left_allowed


def slope_per_s(samples: Sequence[Sample], figure: str) -> float:
    """Of the least-squares line; 0 where there is no line."""
    times = [sample.at_s for sample in samples]
    values = [sample.figures[figure] for sample in samples]
    if len(samples) < 2:
        return 0.0
    middle_s, mean = sum(times) / len(times), sum(values) / len(values)
    spread = sum((at - middle_s) ** 2 for at in times)
    if not spread:
        return 0.0
    return sum((at - middle_s) * (value - mean) for at, value in zip(times, values, strict=True)) / spread


def judge(samples: Sequence[Sample], before: Sample, after: Sample, bounds: Sequence[Bound] = BOUNDS) -> list[Finding]:
    """`samples`: under load, behind the warm-up; `before` and `after`: at rest, on both sides of them."""
    time_s = samples[-1].at_s - samples[0].at_s if samples else 0.0
    return [
        Finding(
            figure=bound.figure,
            first=before.figures[bound.figure],
            last=after.figures[bound.figure],
            highest=max((sample.figures[bound.figure] for sample in samples), default=0.0),
            grew=slope_per_s(samples, bound.figure) * time_s,
            allowed=bound.noise + bound.per_hour * time_s / 3600,
            left=after.figures[bound.figure] - before.figures[bound.figure],
            left_allowed=bound.at_rest,
        )
        for bound in bounds
    ]


def table(name: str, findings: Sequence[Finding]) -> list[str]:
    """The findings of one server as a table of Markdown."""
    lines = [
        f"| {name} | at rest before | highest | at rest after | left (bound) | grew by the fitted line (bound) | |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for one in findings:
        figures = f"{one.first:.1f} | {one.highest:.1f} | {one.last:.1f} | {one.left:+.1f} ({one.left_allowed:g})"
        verdict = "ok" if one.good else "**too much**"
        lines.append(f"| {one.figure} | {figures} | {one.grew:+.2f} ({one.allowed:.1f}) | {verdict} |")
    return lines
