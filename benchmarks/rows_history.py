"""P12, P13: a thread of 500 turns: what its last turns cost, what it takes on disk, how fast it comes back."""

from __future__ import annotations

from benchmarks.bench import Bench, Running, Samples
from benchmarks.directive import Directive
from benchmarks.homes import Home
from benchmarks.process import disk_bytes, wait_idle
from benchmarks.turns import run_turn, start_thread

_FEW, _PAIRS = 10, 10
_ANSWER = Directive(deltas=2, size_chars=100)


def measure(bench: Bench) -> Samples:
    """The first round makes the history, and times it; every round reads it."""
    turns = bench.times(500, 30)
    made: Samples = {}
    home = bench.kept_home("history", lambda fresh: made.update(_make(bench, fresh, turns)))
    with bench.initialized(home) as running:
        page = running.client.request("thread/list", {"limit": 1, "sortKey": "created_at", "sortDirection": "asc"})
        thread_id = page["data"][0]["id"]
        made["read_500_ms"] = [
            running.client.timed_ms("thread/read", {"threadId": thread_id, "includeTurns": True}) for _ in range(2)
        ]
    for warm, key in ((False, "resume_500_ms"), (True, "resume_warm_ms")) * 2:
        with bench.initialized(home) as running:
            if warm:
                wait_idle(running.pid)
            made.setdefault(key, []).append(running.client.timed_ms("thread/resume", {"threadId": thread_id}))
            made.setdefault("fork_500_ms", []).append(running.client.timed_ms("thread/fork", {"threadId": thread_id}))
    return made


def _make(bench: Bench, home: Home, turns: int) -> Samples:
    """Fill the home with one long thread and a short one beside it; the last turns of both are run in turn."""
    small = bench.home()
    with bench.initialized(small) as running:
        _run(running, start_thread(running.client), _FEW)
    with bench.initialized(home) as running:
        long, short = start_thread(running.client), start_thread(running.client)
        _run(running, long, turns - _PAIRS)
        _run(running, short, _FEW - _PAIRS // 2)
        pairs = [(_own_ms(bench, running, long), _own_ms(bench, running, short)) for _ in range(_PAIRS)]
    more = turns + _PAIRS // 2  # of both threads, less those of the small home
    return {
        "turn_500_by_10": [late / early for late, early in pairs],
        "turn_disk_kb": [(disk_bytes(home.home) - disk_bytes(small.home)) / 1000 / more],
        "turn_log_kb": [(_log_bytes(home) - _log_bytes(small)) / 1000 / more],
    }


def _run(running: Running, thread_id: str, turns: int) -> float:
    """More turns of a thread; what the last one took, in ms."""
    taken = [run_turn(running.client, thread_id, _ANSWER, f"go {'w' * 100}").took_ms for _ in range(turns)]
    return taken[-1]


def _own_ms(bench: Bench, running: Running, thread_id: str) -> float:
    """What one more turn took, less the provider's own time, which grows with what it is sent."""
    bench.provider.report()
    took_ms = _run(running, thread_id, 1)
    (asked,) = bench.provider.report().of("/responses")
    return took_ms - asked.took_ms


def _log_bytes(home: Home) -> int:
    """Where a server keeps rollouts of its threads, these alone; else the whole home, which is its log."""
    rollouts = home.home / "sessions"
    return disk_bytes(rollouts if rollouts.is_dir() else home.home)
