"""P8, P9, P16: turns of one delta, one after another and in many threads at once."""

from __future__ import annotations

from benchmarks.bench import Bench, Samples
from benchmarks.client import Client
from benchmarks.directive import Directive
from benchmarks.process import cpu_ms
from benchmarks.turns import run_side_by_side, run_turn, start_thread


def measure(bench: Bench) -> Samples:
    """One process for all of it; a thread's first turn, which is dearer, is never counted."""
    with bench.initialized(bench.home()) as running:
        found = _one_after_another(bench, running.client, running.pid)
        for threads, each in ((16, 4), (64, 1)):
            ids = [start_thread(running.client) for _ in range(threads)]
            run_side_by_side(running.client, ids, 1, Directive())
            found[f"turns_{threads}_per_s"] = [
                run_side_by_side(running.client, ids, bench.times(each), Directive()) for _ in range(3)
            ]
    pairs = zip(found["turns_64_per_s"], found["turns_16_per_s"], strict=True)
    found["turns_64_by_16"] = [at_64 / at_16 for at_64, at_16 in pairs]
    return found


def _one_after_another(bench: Bench, client: Client, pid: int) -> Samples:
    thread_id = start_thread(client)
    run_turn(client, thread_id, Directive())
    bench.provider.report()
    used_ms = cpu_ms(pid)
    turns = [run_turn(client, thread_id, Directive()) for _ in range(bench.times(40, 5))]
    used_ms = cpu_ms(pid) - used_ms
    report = bench.provider.report()
    answered = report.of("/responses")
    return {
        "turn_overhead_ms": [turn.took_ms - asked.took_ms for turn, asked in zip(turns, answered, strict=True)],
        "turn_cpu_ms": [used_ms / len(turns)],
        "new_connections": [report.connections / len(turns)],
    }
