"""P6, P7 and `thread/list` of P5: a thousand threads, loaded in one process and stored for another."""

from __future__ import annotations

from statistics import median

from benchmarks.bench import Bench, Running, Samples
from benchmarks.client import Client
from benchmarks.directive import Directive
from benchmarks.homes import Home
from benchmarks.process import open_files, rss_mb, wait_idle
from benchmarks.rows_calls import pace_us
from benchmarks.turns import run_side_by_side, run_turn, start_thread

_PAGE = 25
_SIDE_BY_SIDE = 16


def measure(bench: Bench) -> Samples:
    """Load the threads; list the stored ones in a new process."""
    threads = bench.times(1000, 30)
    with bench.initialized(bench.home()) as running:
        found = _loaded(running, threads)
    home = bench.kept_home("stored", lambda fresh: _store(bench, fresh, threads))
    with bench.initialized(home) as running:
        client = running.client
        page = client.request("thread/list", {"limit": _PAGE})
        assert len(page["data"]) == _PAGE
        found["thread_list_us"] = [
            pace_us(client, "thread/list", bench.times(20, 3), {"limit": _PAGE}) for _ in range(5)
        ]
    return found


def _loaded(running: Running, threads: int) -> Samples:
    client, pid = running.client, running.pid
    run_turn(client, start_thread(client), Directive())
    wait_idle(pid)
    before_mb, before_files = rss_mb(pid), open_files(pid)
    taken = [client.timed_ms("thread/start") for _ in range(threads)]
    wait_idle(pid)
    tenth = max(1, threads // 10)
    return {
        "thread_start_ms": taken,
        "thread_start_growth": [median(taken[-tenth:]) / median(taken[:tenth])],
        "thread_rss_kb": [(rss_mb(pid) - before_mb) * 1024 / threads],
        "thread_files": [(open_files(pid) - before_files) / threads],
    }


def _store(bench: Bench, home: Home, threads: int) -> None:
    with bench.initialized(home) as running:
        _fill(running.client, threads)


def _fill(client: Client, threads: int) -> None:
    """Threads of one turn each."""
    for begin in range(0, threads, _SIDE_BY_SIDE):
        ids = [start_thread(client) for _ in range(min(_SIDE_BY_SIDE, threads - begin))]
        run_side_by_side(client, ids, 1, Directive())
