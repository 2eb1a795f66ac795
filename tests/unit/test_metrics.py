"""Numbers and their text: counters, histograms, gauges, and labels that cannot grow without bound."""

from __future__ import annotations

import re
from pathlib import Path

from app_server.observability.metrics import Counter, Histogram, Metrics
from app_server.observability.metrics_text import PREFIX, exposition
from app_server.version import __version__


def family(text: bytes, name: str) -> list[str]:
    """The samples of one family."""
    return [line for line in text.decode().splitlines() if line.startswith(name) and not line.startswith("#")]


def test_a_counter_keeps_to_the_values_that_it_knows() -> None:
    counter = Counter("n", "Doc.", "status", ("good", "bad"))
    for status in ("good", "good", "anything", "else"):
        counter.add(status)
    assert counter.by == {"good": 2, "bad": 0, "other": 2}


def test_a_histogram_counts_a_value_at_its_bound_and_one_beyond_all_bounds() -> None:
    histogram = Histogram("n", "Doc.", (0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(seconds)
    series = histogram.series[""]
    assert (series.counts, round(series.sum, 2)) == ([2, 1, 1], 7.65)


def test_only_methods_that_are_served_are_labels() -> None:
    metrics = Metrics(["thread/start"])
    for method in ("thread/start", "thread/start/../../", "x" * 1000):
        metrics.request_s.observe(0.002, metrics.method_label(method))
    assert sorted(metrics.request_s.series) == ["other", "thread/start"]


def test_the_text_has_help_type_cumulative_buckets_and_the_end_of_a_line() -> None:
    metrics = Metrics(["thread/start"])
    metrics.deltas.total += 3
    metrics.commit_s.observe(0.003)
    metrics.request_s.observe(0.02, "thread/start")
    metrics.threads_loaded.read = lambda: 12_345_678
    text = exposition(metrics)

    assert text.endswith(b"\n")
    assert family(text, "app_server_info") == [f'app_server_info{{version="{__version__}"}} 1']
    assert family(text, "app_server_deltas_total") == ["app_server_deltas_total 3"]
    assert family(text, "app_server_threads_loaded") == ["app_server_threads_loaded 12345678"]
    assert [line.split()[1] for line in family(text, "app_server_commit_seconds_bucket")] == ["0"] * 2 + ["1"] * 11
    assert family(text, "app_server_commit_seconds_count") == ["app_server_commit_seconds_count 1"]
    assert 'app_server_request_seconds_bucket{method="thread/start",le="+Inf"} 1' in text.decode()
    names = [line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


def test_a_label_is_escaped() -> None:
    metrics = Metrics()
    metrics.request_s.observe(0.002, 'a"b\\c\nd')
    assert b'method="a\\"b\\\\c\\nd"' in exposition(metrics)


def test_the_page_for_hosts_lists_every_number_with_its_label() -> None:
    page = (Path(__file__).parents[2] / "docs" / "hosting.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`(?:app_server|process)_[^|]+) \|([^|]*)\|", page, re.MULTILINE)
    listed = {name: re.findall(r"`(\w+)`", label)[:1] for cell, label in rows for name in re.findall(r"`(\w+)`", cell)}
    families = {PREFIX + family.name: family for family in Metrics().families}
    labels = {name: getattr(family, "label", "") for name, family in families.items()}
    told = {name: [label] if label else [] for name, label in labels.items()}
    process = {"process_cpu_seconds_total": [], "process_resident_memory_bytes": []}
    assert listed == {**told, "app_server_info": ["version"], **process}
