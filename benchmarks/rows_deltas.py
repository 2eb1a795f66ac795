"""P10, P11: the text of an answer on its way from the provider to the client."""

from __future__ import annotations

from benchmarks.bench import Bench, Running, Samples
from benchmarks.directive import Directive
from benchmarks.process import cpu_ms
from benchmarks.samples import percentile
from benchmarks.turns import STAMP, Failed, Turn, run_turn, start_thread

_SIZE_CHARS = 24
_PACE_US = 1000


def measure(bench: Bench) -> Samples:
    """Bursts as fast as the server takes them, then a calm stream."""
    found: Samples = {}
    with bench.initialized(bench.home()) as running:
        for _ in range(3):
            _add(found, _burst(running, bench.times(20_000, 500)))
        for _ in range(2):
            _add(found, _calm(running, bench.times(1000, 100)))
    return found


def _burst(running: Running, deltas: int) -> dict[str, float]:
    thread_id = _warm_thread(running)
    used_ms = cpu_ms(running.pid)
    turn = run_turn(running.client, thread_id, Directive(deltas=deltas, size_chars=_SIZE_CHARS))
    used_ms = cpu_ms(running.pid) - used_ms
    came = turn.deltas()
    _require_all(turn, deltas)
    return {
        "deltas_per_s": deltas / ((came[-1].at_ns - came[0].at_ns) / 1e9),
        "delta_cpu_us": used_ms * 1000 / deltas,
        "delta_notifications": len(came) / deltas,
    }


def _calm(running: Running, deltas: int) -> dict[str, float]:
    thread_id = _warm_thread(running)
    directive = Directive(deltas=deltas, size_chars=_SIZE_CHARS, pace_us=_PACE_US)
    turn = run_turn(running.client, thread_id, directive)
    _require_all(turn, deltas)
    late_us = [
        (note.at_ns - int(stamp)) / 1000 for note in turn.deltas() for stamp in STAMP.findall(note.params["delta"])
    ]
    return {"added_p50_us": percentile(late_us, 0.5), "added_p99_us": percentile(late_us, 0.99)}


def _warm_thread(running: Running) -> str:
    thread_id = start_thread(running.client)
    run_turn(running.client, thread_id, Directive())
    return thread_id


def _require_all(turn: Turn, deltas: int) -> None:
    """The pieces are the whole text, none of it lost: a server may not be fast by leaving something out."""
    text = "".join(note.params["delta"] for note in turn.deltas())
    items = (note.params["item"] for note in turn.notes if note.method == "item/completed")
    whole = next((item["text"] for item in items if item["type"] == "agentMessage"), "")
    if text != whole or len(STAMP.findall(text)) != deltas:
        raise Failed(f"Of {deltas} deltas the client got {len(STAMP.findall(text))}.")


def _add(found: Samples, values: dict[str, float]) -> None:
    for key, value in values.items():
        found.setdefault(key, []).append(value)
