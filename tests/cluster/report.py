"""A cluster run in figures: the table for people and for docs/reliability.md, and the same as JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.samples import percentile

SHOWN_FAULTS = 60

Figures = Mapping[str, Mapping[str, Any]]
"""Section → figure → value."""


def spread(values: Sequence[float], digits: int = 2) -> dict[str, Any]:
    """Count, p50, p95, p99 and most; the count alone where nothing was measured."""
    if not values:
        return {"n": 0}
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    told = {name: round(percentile(values, share), digits) for name, share in shares.items()}
    return {"n": len(values), **told, "max": round(max(values), digits)}


def table(figures: Figures) -> list[str]:
    """The figures as a table of Markdown."""
    lines = ["| what | figure |", "|---|---|"]
    for section, values in figures.items():
        for name, value in values.items():
            shown = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, Mapping) else value
            lines.append(f"| {section}: {name} | {shown} |")
    return lines


def fault_lines(faults: Sequence[str]) -> list[str]:
    """The faults, the first of many."""
    more = len(faults) - SHOWN_FAULTS
    return [*(f"FAULT {one}" for one in faults[:SHOWN_FAULTS]), *([f"… and {more} more"] if more > 0 else [])]
