"""What is counted of a process: `Metrics`, one object for all its tenants, filled by `observer.py`.

Rules: a label has few values, known beforehand; no id, tenant, prompt or name that a model or client gave is one. What
happens often is an integer that grows (`metrics.deltas.total += 1`). Not locked: all of it happens on the event loop.
Our own, because the usual client library takes a lock for each number and costs every start that imports it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final

COMMIT_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
REQUEST_BUCKETS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
TURN_BUCKETS_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
OTHER: Final = "other"
"""The label in place of one that is not known: a slip costs a word, never a new series."""


class Counter:
    """A number that grows. Without a label add to `total`; with one call `add`."""

    def __init__(self, name: str, doc: str, label: str = "", values: Iterable[str] = ()) -> None:
        self.name, self.doc, self.label = name, doc, label
        self.total = 0
        self.by = dict.fromkeys(values, 0)

    def add(self, value: str) -> None:
        """Count one more with this value of the label."""
        known = value if value in self.by else OTHER
        self.by[known] = self.by.get(known, 0) + 1


class Series:
    """One distribution: how many were at most each bound, and their sum."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Histogram:
    """Seconds in fixed buckets, one series for each value of the label that was seen."""

    def __init__(self, name: str, doc: str, bounds_s: tuple[float, ...], label: str = "") -> None:
        self.name, self.doc, self.bounds_s, self.label = name, doc, bounds_s, label
        self.series: dict[str, Series] = {} if label else {"": Series(bounds_s)}

    def observe(self, seconds: float, value: str = "") -> None:
        if (series := self.series.get(value)) is None:
            series = self.series[value] = Series(self.bounds_s)
        series.observe(seconds)


class Gauge:
    """A number as it is now, read when somebody looks."""

    def __init__(self, name: str, doc: str) -> None:
        self.name, self.doc = name, doc
        self.read: Callable[[], float] = lambda: 0


class Metrics:
    """All numbers, in the order in which they are shown. `methods`: those that are served, the labels of requests."""

    def __init__(self, methods: Iterable[str] = ()) -> None:
        self.methods = frozenset(methods)
        self.turns_started = Counter("turns_started_total", "Turns that began.")
        self.turns_ended = Counter(
            "turns_ended_total",
            "Turns that ended, by how.",
            "status",
            ("completed", "failed", "interrupted", "handed_over"),
        )
        self.turn_s = Histogram("turn_seconds", "How long turns took.", TURN_BUCKETS_S)
        self.deltas = Counter("deltas_total", "Pieces of running text, as turns showed them.")
        self.pictures = Counter(
            "pictures_total", "Pictures that turns ended with, by how.", "outcome", ("completed", "failed", "cancelled")
        )
        self.tool_calls = Counter(
            "tool_calls_total", "Calls of tools, by how they ended.", "outcome", ("succeeded", "failed", "cancelled")
        )
        self.provider_requests = Counter(
            "provider_requests_total",
            "Requests to model providers, retries included, by the class of the answer's status.",
            "status",
            ("2xx", "3xx", "4xx", "5xx", "none"),
        )
        self.request_s = Histogram(
            "request_seconds", "From a client's request to its answer.", REQUEST_BUCKETS_S, "method"
        )
        self.requests_failed = Counter("requests_failed_total", "Requests that were answered with an error.")
        self.commit_s = Histogram("commit_seconds", "From records to their commit.", COMMIT_BUCKETS_S)
        self.leases = Counter(
            "lease_changes_total",
            "Rights to write a thread: taken, lost to another process, or taken over from a dead one.",
            "change",
            ("taken", "lost", "taken_over"),
        )
        self.letters = Counter(
            "letters_total",
            "Letters between replicas: written to another one, done for it, or answered by it.",
            "event",
            ("posted", "taken", "answered"),
        )
        self.connections = Gauge("connections", "Clients that are connected.")
        self.requests_in_flight = Gauge("requests_in_flight", "Requests without an answer so far.")
        self.outbox_bytes = Gauge("outbox_bytes", "What waits to be read by clients.")
        self.threads_loaded = Gauge("threads_loaded", "Threads in memory.")
        self.turns_running = Gauge("turns_running", "Turns that run.")
        self.commits_waiting = Gauge("commits_waiting", "Appends that wait for their commit.")
        self.draining = Gauge("draining", "1 while this process ends and takes no thread any more.")

    def method_label(self, method: str) -> str:
        """The method, if it is one of ours."""
        return method if method in self.methods else OTHER

    @property
    def families(self) -> list[Counter | Histogram | Gauge]:
        """Everything that is counted."""
        return [each for each in vars(self).values() if isinstance(each, Counter | Histogram | Gauge)]
