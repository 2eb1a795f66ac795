"""P14: many clients on websockets: what an idle one costs, and how fast one answer reaches fifty.

While the answer runs, this side only counts marks in the bytes that come, so that it is not the slow one.
"""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.bench import Bench, Samples
from benchmarks.channels import Gone, WebsocketChannel
from benchmarks.client import LIMIT_S, Client
from benchmarks.directive import Directive, written
from benchmarks.process import cpu_ms, rss_mb, wait_idle
from benchmarks.turns import DELTA, STAMP, Failed, run_turn, start_thread

_END = b'"turn/completed"'
_SUBSCRIBERS = 50
Connect = Callable[[], WebsocketChannel]


def measure(bench: Bench) -> Samples:
    """Idle connections first, the subscribers are some of them."""
    with bench.listening(bench.home()) as (process, connect):
        channels = [connect()]
        try:
            return _measure(bench, process, connect, channels)
        finally:
            for channel in channels:
                channel.close()


def _measure(
    bench: Bench, process: subprocess.Popen[bytes], connect: Connect, channels: list[WebsocketChannel]
) -> Samples:
    subscribers = bench.times(_SUBSCRIBERS, 3)
    first = Client(channels[0])
    first.initialize()
    thread_id = start_thread(first)
    run_turn(first, thread_id, Directive())
    wait_idle(process.pid)
    before_mb = rss_mb(process.pid)
    idle = bench.times(250, subscribers)
    clients = [first]
    for _ in range(idle):
        channels.append(connect())
        clients.append(Client(channels[-1]))
        clients[-1].initialize()
    wait_idle(process.pid)
    found: Samples = {"connection_rss_kb": [(rss_mb(process.pid) - before_mb) * 1024 / idle]}
    for client in clients[1:subscribers]:
        client.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
    deltas = bench.times(1000, 50)
    for _ in range(3):
        used_ms = cpu_ms(process.pid)
        rate = _deliveries(first, channels[:subscribers], thread_id, deltas)
        found.setdefault("deliveries_per_s", []).append(rate)
        used_us = (cpu_ms(process.pid) - used_ms) * 1000
        found.setdefault("delivery_cpu_us", []).append(used_us / deltas / subscribers)
    return found


def _deliveries(first: Client, channels: Sequence[WebsocketChannel], thread_id: str, deltas: int) -> float:
    """Run one turn; deltas per second over all subscribers, from the first piece that arrives to the last end."""
    words = [{"type": "text", "text": f"go {written(Directive(deltas=deltas, size_chars=24))}"}]
    first.post("turn/start", {"threadId": thread_id, "input": words})
    came = {channel.fileno(): bytearray() for channel in channels}
    took_s = _read_to_the_end({channel.fileno(): channel for channel in channels}, came)
    for channel in channels:
        _require_all(channel.messages(bytes(came[channel.fileno()])), deltas)
    return deltas * len(channels) / took_s


def _read_to_the_end(channels: Mapping[int, WebsocketChannel], came: Mapping[int, bytearray]) -> float:
    """Collect what comes until every subscriber has seen the end; seconds since the first piece of the answer."""
    poll = select.poll()
    for file in channels:
        poll.register(file, select.POLLIN)
    began_ns, left = 0, len(channels)
    end_s = time.monotonic() + LIMIT_S
    while left:
        if time.monotonic() > end_s:
            raise Gone(f"{left} of {len(channels)} subscribers did not see the end of the turn.")
        for file, _event in poll.poll(1000):
            data = channels[file].read_raw()
            if not began_ns and DELTA.encode() in data:
                began_ns = time.monotonic_ns()
            came[file].extend(data)
            if _END in came[file][-len(data) - len(_END) :]:
                poll.unregister(file)
                left -= 1
    return (time.monotonic_ns() - began_ns) / 1e9


def _require_all(messages: Sequence[bytes], deltas: int) -> None:
    """Nothing is left out, merged pieces are fine."""
    pieces = (message for message in messages if DELTA.encode() in message)
    stamps = sum(len(STAMP.findall(piece.decode())) for piece in pieces)
    if stamps != deltas:
        raise Failed(f"Of {deltas} deltas a subscriber got {stamps}.")
