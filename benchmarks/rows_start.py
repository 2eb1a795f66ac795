"""P1–P3: from the spawn to the first answers, and what a server that only shook hands costs.

The home has been used before, and the files of the program are in the page cache: a start as it is on the second day.
"""

from __future__ import annotations

from benchmarks.bench import Bench, Samples
from benchmarks.client import HELLO
from benchmarks.process import anonymous_mb, cpu_ms, rss_mb, wait_idle
from benchmarks.turns import start_thread


def measure(bench: Bench) -> Samples:
    """Starts in turn: one that waits until it is warm, one that begins a thread at once."""
    home = bench.home()
    with bench.initialized(home) as running:
        start_thread(running.client)
    found: Samples = {}
    for _ in range(bench.times(8, 2)):
        with bench.running(home) as running:
            reply = running.client.initialize()
            found.setdefault("initialize_ms", []).append((reply.at_ns - running.spawned_ns) / 1e6)
            wait_idle(running.pid)
            found.setdefault("initialized_rss_mb", []).append(rss_mb(running.pid))
            found.setdefault("initialized_anon_mb", []).append(anonymous_mb(running.pid))
            found.setdefault("warm_cpu_ms", []).append(cpu_ms(running.pid))
        with bench.running(home) as running:
            client = running.client
            _hello, start = client.post_all([("initialize", HELLO), ("thread/start", {})])
            reply = client.reply(start)
            reply.result("thread/start")
            found.setdefault("first_thread_ms", []).append((reply.at_ns - running.spawned_ns) / 1e6)
    return found
