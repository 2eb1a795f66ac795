"""What a list of measured values says: median, spread, percentiles, and the ratio of two servers. Pure.

`table` shows it; `rows_*` use the percentiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One figure of one server. `mad`: the median of the distances from the median."""

    median: float
    mad: float
    least: float
    most: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """B divided by A: of the medians of all rounds, and the least and most of a single round."""

    value: float
    least: float
    most: float


def summary(values: Sequence[float]) -> Summary | None:
    """None where there is no value."""
    if not values:
        return None
    middle = median(values)
    distance = median(abs(value - middle) for value in values)
    return Summary(median=middle, mad=distance, least=min(values), most=max(values), count=len(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies, without interpolation: one that was measured."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio(rounds_a: Sequence[Sequence[float]], rounds_b: Sequence[Sequence[float]]) -> Ratio | None:
    """Compare two servers by their values of each round; None where nothing can be divided.

    A round in which one of the two has no value, or A is zero, has no ratio of its own."""
    all_a, all_b = ([value for one in rounds for value in one] for rounds in (rounds_a, rounds_b))
    single = [median(b) / median(a) for a, b in zip(rounds_a, rounds_b, strict=True) if a and b and median(a) != 0]
    if not single or median(all_a) == 0:
        return None
    return Ratio(value=median(all_b) / median(all_a), least=min(single), most=max(single))
