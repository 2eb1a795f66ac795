"""Every figure that is measured: the row of the table it belongs to, its unit, and what it must and should reach.

One row of `FIGURES` for each. `session` knows which module measures a row; `table` prints them in this order.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal

from benchmarks.samples import Ratio, Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure. `more`: more is better. `own`: its limits hold for the server's own value, else for the ratio."""

    key: str
    row: str
    what: str
    unit: str
    must: float | None = None
    aim: float | None = None
    more: bool = False
    own: bool = False


FIGURES: Final[tuple[Figure, ...]] = (
    Figure(key="initialize_ms", row="P1", what="spawn → initialize answered, warm", unit="ms", must=1.25, aim=0.6),
    Figure(key="first_thread_ms", row="P2", what="spawn → thread/start answered", unit="ms", must=3, aim=1.5),
    Figure(key="initialized_rss_mb", row="P3", what="RSS after initialize, once idle", unit="MB", must=0.6, aim=0.45),
    Figure(key="initialized_anon_mb", row="P3", what="… of it anonymous", unit="MB"),
    Figure(key="warm_cpu_ms", row="P3", what="CPU until idle after initialize", unit="ms", must=8, aim=4),
    Figure(key="cheap_p50_us", row="P4", what="thread/loaded/list, one at a time", unit="µs", must=0.6, aim=0.3),
    Figure(key="cheap_64_per_s", row="P4", what="… 64 in flight", unit="/s", must=3, aim=8, more=True),
    Figure(key="model_list_us", row="P5", what="model/list", unit="µs", must=0.3, aim=0.1),
    Figure(key="thread_list_us", row="P5", what="thread/list, 25 of 1,000 stored", unit="µs", must=0.15, aim=0.05),
    Figure(key="thread_start_ms", row="P6", what="thread/start, 1 to 1,000 loaded", unit="ms", must=0.2, aim=0.05),
    Figure(key="thread_start_growth", row="P6", what="… the last 100 ÷ the first 100", unit="×", own=True),
    Figure(key="thread_rss_kb", row="P7", what="RSS of a loaded thread", unit="KB", must=0.1, aim=0.03),
    Figure(key="thread_files", row="P7", what="file descriptors of a loaded thread", unit="", must=0, aim=0, own=True),
    Figure(key="turn_overhead_ms", row="P8", what="turn of 1 delta, less the provider", unit="ms", must=0.25, aim=0.1),
    Figure(key="turn_cpu_ms", row="P8", what="… its CPU", unit="ms"),
    Figure(key="turns_16_per_s", row="P9", what="turns/s, 16 threads", unit="/s", must=4, aim=8, more=True),
    Figure(key="turns_64_per_s", row="P9", what="turns/s, 64 threads", unit="/s", must=4, aim=8, more=True),
    Figure(key="turns_64_by_16", row="P9", what="… 64 ÷ 16 threads", unit="×", must=1, more=True, own=True),
    Figure(key="deltas_per_s", row="P10", what="burst of 20,000 deltas", unit="/s", must=1.5, aim=2.5, more=True),
    Figure(key="delta_cpu_us", row="P10", what="… CPU of a delta", unit="µs", must=0.5, aim=0.25),
    Figure(key="delta_notifications", row="P10", what="… notifications ÷ deltas", unit="×"),
    Figure(key="added_p50_us", row="P11", what="added to a delta at 1 ms pace, p50", unit="µs", must=0.9, aim=0.65),
    Figure(key="added_p99_us", row="P11", what="… p99", unit="µs", must=1.5, aim=1.0),
    Figure(key="turn_500_by_10", row="P12", what="turn 500 ÷ turn 10", unit="×", must=1.2, aim=1.05, own=True),
    Figure(key="turn_disk_kb", row="P12", what="disk of a turn, whole home", unit="KB", must=0.6, aim=0.3),
    Figure(key="turn_log_kb", row="P12", what="… the peer's rollout alone", unit="KB"),
    Figure(key="resume_500_ms", row="P13", what="resume of 500 turns, new process", unit="ms", must=0.5, aim=0.2),
    Figure(key="resume_warm_ms", row="P13", what="… once the process is idle", unit="ms"),
    Figure(key="read_500_ms", row="P13", what="thread/read with 500 turns, new process", unit="ms", must=0.3, aim=0.2),
    Figure(key="fork_500_ms", row="P13", what="fork of 500 turns", unit="ms", must=0.3, aim=0.2),
    Figure(key="connection_rss_kb", row="P14", what="RSS of an idle websocket", unit="KB", must=0.3, aim=0.15),
    Figure(key="deliveries_per_s", row="P14", what="deltas to 50 subscribers", unit="/s", must=2, aim=4, more=True),
    Figure(key="delivery_cpu_us", row="P14", what="… CPU of a delivery", unit="µs"),
    Figure(key="picture_ms", row="P15", what="picture of 16 MB: body → item and file", unit="ms", must=0.6, aim=0.4),
    Figure(key="picture_peak_mb", row="P15", what="… growth of peak RSS", unit="MB", must=0.4, aim=0.25),
    Figure(key="picture_log_kb", row="P15", what="… disk beside the file", unit="KB", must=0.01, aim=0.001),
    Figure(key="picture_message_mb", row="P15", what="… largest message to the client", unit="MB"),
    Figure(key="new_connections", row="P16", what="new upstream connections a turn", unit="", must=0, aim=0, own=True),
    Figure(key="embedded_turns_per_s", row="H1", what="turns/s, 32 threads, embedded", unit="/s", more=True),
    Figure(key="hosted_1_turns_per_s", row="H1", what="… hosted, 1 replica", unit="/s", more=True),
    Figure(key="hosted_2_turns_per_s", row="H1", what="… 2 replicas", unit="/s", more=True),
    Figure(key="hosted_4_turns_per_s", row="H1", what="… 4 replicas", unit="/s", more=True),
    Figure(key="embedded_deltas_per_s", row="H2", what="burst of 20,000 deltas, embedded", unit="/s", more=True),
    Figure(key="hosted_1_deltas_per_s", row="H2", what="… hosted, 1 replica", unit="/s", more=True),
    Figure(key="hosted_2_deltas_per_s", row="H2", what="… 2 replicas, a burst at each", unit="/s", more=True),
    Figure(key="hosted_4_deltas_per_s", row="H2", what="… 4 replicas, a burst at each", unit="/s", more=True),
    Figure(key="turn_transactions", row="H3", what="transactions of a turn, client at the owner", unit=""),
    Figure(key="turn_transactions_across", row="H3", what="… client at another replica", unit=""),
    Figure(key="turn_across_ms", row="H3", what="turn of 1 delta at another replica, less the provider", unit="ms"),
    Figure(key="turn_at_owner_ms", row="H3", what="… at the owner", unit="ms"),
)  # fmt: skip

ROWS: Final = tuple(dict.fromkeys(figure.row for figure in FIGURES))
HOSTED: Final = frozenset({"H1", "H2", "H3"})
"""They need a PostgreSQL, and are measured only where they are asked for."""
DEFAULT_ROWS: Final = tuple(row for row in ROWS if row not in HOSTED)

Verdict = Literal["aim", "must", "missed", ""]


def of_rows(rows: Collection[str]) -> tuple[Figure, ...]:
    """The figures of these rows."""
    return tuple(figure for figure in FIGURES if figure.row in rows)


def verdict(figure: Figure, own: Summary | None, ratio: Ratio | None) -> Verdict:
    """What the figure reaches, by the median; empty where nothing was asked or nothing can be said."""
    if figure.own:
        value = None if own is None else own.median
    else:
        value = None if ratio is None else ratio.value
    if value is None or (figure.must is None and figure.aim is None):
        return ""
    if reaches(figure, value, figure.aim):
        return "aim"
    return "must" if reaches(figure, value, figure.must) else "missed"


def steady(figure: Figure, ratio: Ratio | None, reached: Verdict) -> bool:
    """Whether every single round reaches what the median does."""
    limit = {"aim": figure.aim, "must": figure.must}.get(reached)
    if figure.own or ratio is None or limit is None:
        return True
    return reaches(figure, ratio.least if figure.more else ratio.most, limit)


def reaches(figure: Figure, value: float, limit: float | None) -> bool:
    """Whether the value is on the good side of the limit."""
    if limit is None:
        return False
    return value >= limit if figure.more else value <= limit
