"""The numbers as text, in the format that Prometheus scrapes (text 0.0.4). Pure but for the facts of the process.

Loaded with the first question. Every name begins with `app_server_`; those of the process have names that dashboards
know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app_server.observability.metrics import Counter, Gauge, Histogram, Metrics, Series
from app_server.version import __version__

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "app_server_"


def exposition(metrics: Metrics) -> bytes:
    """All of it as one answer."""
    lines = [*_info(), *(line for family in metrics.families for line in _family(family)), *_process()]
    return ("\n".join(lines) + "\n").encode()


def _family(family: Counter | Histogram | Gauge) -> Iterator[str]:
    name = PREFIX + family.name
    match family:
        case Counter():
            yield from _head(name, family.doc, "counter")
            if not family.label:
                yield f"{name} {family.total}"
            for value, count in family.by.items():
                yield f"{name}{_labels({family.label: value})} {count}"
        case Histogram():
            yield from _head(name, family.doc, "histogram")
            for value, series in family.series.items():
                yield from _series(name, {family.label: value} if family.label else {}, series)
        case Gauge():
            yield from _head(name, family.doc, "gauge")
            yield f"{name} {family.read():.15g}"


def _series(name: str, labels: dict[str, str], series: Series) -> Iterator[str]:
    total = 0
    for bound, count in zip((*series.bounds, float("inf")), series.counts, strict=True):
        total += count
        shown = "+Inf" if bound == float("inf") else f"{bound:g}"
        yield f"{name}_bucket{_labels({**labels, 'le': shown})} {total}"
    yield f"{name}_sum{_labels(labels)} {series.sum:.6f}"
    yield f"{name}_count{_labels(labels)} {total}"


def _head(name: str, doc: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {doc}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: dict[str, str]) -> str:
    """`{name="value"}` with what the format escapes; nothing without labels."""
    shown = [f'{name}="{_escaped(value)}"' for name, value in labels.items()]
    return "{" + ",".join(shown) + "}" if shown else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _info() -> Iterator[str]:
    yield from _head(f"{PREFIX}info", "The version of the server.", "gauge")
    yield f"{PREFIX}info{_labels({'version': __version__})} 1"


def _process() -> Iterator[str]:
    yield from _head("process_cpu_seconds_total", "Time on the processor.", "counter")
    yield f"process_cpu_seconds_total {time.process_time():.3f}"
    if (resident_bytes := _resident_bytes()) is not None:
        yield from _head("process_resident_memory_bytes", "Memory of the process.", "gauge")
        yield f"process_resident_memory_bytes {resident_bytes}"


def _resident_bytes() -> int | None:
    """As Linux tells it; elsewhere it is not told."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
