"""P4 and `model/list` of P5: requests that need nothing but the server, one at a time and 64 in flight."""

from __future__ import annotations

import time
from statistics import median

from benchmarks.bench import Bench, Samples
from benchmarks.client import Client

_CHEAP = "thread/loaded/list"
_IN_FLIGHT = 64


def measure(bench: Bench) -> Samples:
    """A few batches of each; a value is the median, or the rate, of one batch."""
    found: Samples = {"cheap_p50_us": [], "cheap_64_per_s": [], "model_list_us": []}
    with bench.initialized(bench.home()) as running:
        client = running.client
        for method in (_CHEAP, "model/list"):
            pace_us(client, method, 20)
        for _ in range(5):
            found["cheap_p50_us"].append(pace_us(client, _CHEAP, bench.times(600, 20)))
            found["cheap_64_per_s"].append(_rate(client, bench.times(4000, 100)))
            found["model_list_us"].append(pace_us(client, "model/list", bench.times(100, 10)))
    return found


def pace_us(client: Client, method: str, requests: int, params: dict[str, object] | None = None) -> float:
    """The median round trip of requests, one at a time."""
    taken = [client.timed_ms(method, params) * 1000 for _ in range(requests)]
    client.forget()
    return median(taken)


def _rate(client: Client, requests: int) -> float:
    """Requests per second with 64 in flight."""
    client.forget()
    began_s = time.monotonic()
    sent = done = 0
    while done < requests:
        room = min(_IN_FLIGHT - (sent - done), requests - sent)
        if room:
            client.post_all([(_CHEAP, {})] * room)
            sent += room
        client.until(lambda: bool(client.replies))
        for reply in client.replies.values():
            reply.result(_CHEAP)
        done += len(client.replies)
        client.forget()
    return requests / (time.monotonic() - began_s)
