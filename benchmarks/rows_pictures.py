"""P15: a picture of 16 MB as base64, from the images endpoint to the item, the file and the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from benchmarks.bench import Bench, Samples
from benchmarks.directive import Directive
from benchmarks.homes import Home
from benchmarks.process import disk_bytes, forget_peak, peak_mb, rss_mb, wait_idle
from benchmarks.turns import Failed, Turn, run_turn, start_thread

_PICTURE: Final = Directive(picture_bytes=12_000_000)
"""16 MB as base64."""
_MB, _KB = 1e6, 1e3


def measure(bench: Bench) -> Samples:
    """A new process on a new home for each."""
    found: Samples = {}
    for _ in range(bench.times(2)):
        for key, value in _once(bench, bench.home(with_login=True)).items():
            found.setdefault(key, []).append(value)
    return found


def _once(bench: Bench, home: Home) -> dict[str, float]:
    with bench.initialized(home) as running:
        run_turn(running.client, start_thread(running.client), Directive())
    before_bytes = disk_bytes(home.home)
    with bench.initialized(home) as running:
        client, pid = running.client, running.pid
        thread_id = start_thread(client)
        run_turn(client, thread_id, Directive())
        wait_idle(pid)
        bench.provider.report()
        forget_peak(pid)
        before_mb = rss_mb(pid)
        turn = run_turn(client, thread_id, _PICTURE, "draw")
        grown_mb = peak_mb(pid) - before_mb
        (asked,) = bench.provider.report().of("/images/generations")
    at_ns, item = _completed(turn)
    file_bytes = Path(item["savedPath"]).stat().st_size
    return {
        "picture_ms": (at_ns - asked.answered_ns) / 1e6,
        "picture_peak_mb": grown_mb,
        "picture_log_kb": (disk_bytes(home.home) - before_bytes - file_bytes) / _KB,
        "picture_message_mb": max(note.size_bytes for note in turn.notes) / _MB,
    }


def _completed(turn: Turn) -> tuple[int, dict[str, Any]]:
    """When the picture's item was completed, and the item. Raises Failed where there is no saved picture."""
    for note in turn.notes:
        item = note.params.get("item") or {}
        if note.method == "item/completed" and item.get("type") == "imageGeneration":
            if not item.get("savedPath"):
                raise Failed(f"A picture was not saved: its status is {item.get('status')}.")
            return note.at_ns, item
    raise Failed("A turn that asked for a picture completed without one.")
