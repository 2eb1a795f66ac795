"""H1, H2, H3: the hosted wiring beside the embedded one: turns and deltas with 1, 2 and 4 replicas, the cost of a turn.

PostgreSQL, the replicas, the provider and the clients share one machine, so more replicas show what sharing costs and
not what they bring. Its commits are synced to disk, as those of the embedded storage are. Each thread is used where it
is owned, but for the figures "at another replica".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import anyio
import asyncpg

from benchmarks.bench import Bench, Samples
from benchmarks.client import Client
from benchmarks.directive import Directive
from benchmarks.homes import Home
from benchmarks.turns import run_side_by_side, run_turn, start_thread
from tests.support import postgres

_REPLICAS = (1, 2, 4)
_THREADS = 32
_DELTAS = 20_000
_FLUSHED_S = 12.0
"""By then every session of PostgreSQL has told what it did, also one that did nothing since."""
_TRANSACTIONS = (
    "SELECT sum(xact_commit + xact_rollback)::float8 FROM pg_stat_database WHERE datname = current_database()"
)


def missing() -> str | None:
    """Why these rows cannot be measured here."""
    return None if postgres.has_binaries() else postgres.MISSING


def measure(bench: Bench) -> Samples:
    """The embedded wiring first, then one, two and four replicas, then what a turn costs."""
    found: Samples = {}
    with _listening(bench, [bench.home()]) as clients:
        _rates(bench, clients, "embedded", found)
    cluster = postgres.new_cluster(durable=True)
    assert cluster is not None  # `missing` was asked
    try:
        for count in _REPLICAS:
            url = anyio.run(cluster.new_database)
            with _listening(bench, [_hosted(bench, url) for _ in range(count)]) as clients:
                _rates(bench, clients, f"hosted_{count}", found)
                if count == 2:
                    found |= _cost(bench, clients, url)
    finally:
        cluster.end()
    return found


def _hosted(bench: Bench, url: str) -> Home:
    """A home whose threads are in the database."""
    home = bench.home()
    config = home.home / "config.toml"
    blobs = (bench.folder / "blobs").absolute().as_uri()
    shared = f'storage.url = "{url}"\nstorage.blobs = "{blobs}"\n'
    config.write_text(shared + config.read_text(encoding="utf-8"), encoding="utf-8")
    return home


@contextmanager
def _listening(bench: Bench, homes: Sequence[Home]) -> Iterator[list[Client]]:
    """A server for each home, and a client of each."""
    with ExitStack() as stack:
        clients: list[Client] = []
        for home in homes:
            _, connect = stack.enter_context(bench.listening(home))
            channel = connect()
            stack.callback(channel.close)
            clients.append(Client(channel))
            clients[-1].initialize()
        yield clients


def _rates(bench: Bench, clients: Sequence[Client], name: str, found: Samples) -> None:
    """Turns and deltas per second, over all clients at once."""
    each = _THREADS // len(clients)
    threads = {id(client): [start_thread(client) for _ in range(each)] for client in clients}

    def turns(client: Client, times: int) -> float:
        return run_side_by_side(client, threads[id(client)], times, Directive())

    def burst(client: Client) -> float:
        run_turn(client, threads[id(client)][0], Directive(deltas=bench.times(_DELTAS, 500), size_chars=24))
        return 0.0

    _at_once(clients, lambda client: turns(client, 1))  # a thread's first turn is dearer
    for _ in range(3):
        took_s = _at_once(clients, lambda client: turns(client, bench.times(4)))
        found.setdefault(f"{name}_turns_per_s", []).append(bench.times(4) * _THREADS / took_s)
        took_s = _at_once(clients, burst)
        found.setdefault(f"{name}_deltas_per_s", []).append(bench.times(_DELTAS, 500) * len(clients) / took_s)


def _at_once(clients: Sequence[Client], work: Callable[[Client], float]) -> float:
    """Do it with every client at once; seconds until the last one is done."""
    began_s = time.monotonic()
    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, clients))
    return time.monotonic() - began_s


def _cost(bench: Bench, clients: Sequence[Client], url: str) -> Samples:
    """Turns one after another, first by a client of the replica that has the thread, then by one of another replica."""
    owner, other = clients
    thread_id = start_thread(owner)
    run_turn(owner, thread_id, Directive())
    beside_per_s = _beside_per_s(clients, url)
    at_owner = _turns(bench, clients, 0, thread_id, url, beside_per_s)
    other.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
    across = _turns(bench, clients, 1, thread_id, url, beside_per_s)
    return {
        "turn_transactions": [at_owner[0]],
        "turn_at_owner_ms": at_owner[1],
        "turn_transactions_across": [across[0]],
        "turn_across_ms": across[1],
    }


def _beside_per_s(clients: Sequence[Client], url: str) -> float:
    """Transactions per second of replicas that look for each other and do nothing else."""
    _rest(clients)
    before, begun_s = _transactions(url), time.monotonic()
    _rest(clients)
    return (_transactions(url) - before) / (time.monotonic() - begun_s)


def _turns(
    bench: Bench, clients: Sequence[Client], which: int, thread_id: str, url: str, beside_per_s: float
) -> tuple[float, list[float]]:
    """Transactions of a turn, without those that go on beside it, and what each turn took without the provider."""
    client, count = clients[which], bench.times(100, 10)
    run_turn(client, thread_id, Directive())
    _rest(clients)
    bench.provider.report()
    before, begun_s = _transactions(url), time.monotonic()
    turns = [run_turn(client, thread_id, Directive()) for _ in range(count)]
    asked = bench.provider.report().of("/responses")
    _rest(clients)
    used = _transactions(url) - before - beside_per_s * (time.monotonic() - begun_s)
    return used / count, [turn.took_ms - one.took_ms for turn, one in zip(turns, asked, strict=True)]


def _rest(clients: Sequence[Client]) -> None:
    """Wait until PostgreSQL has counted what was done; pings are answered meanwhile."""
    end_s = time.monotonic() + _FLUSHED_S
    while (left_s := end_s - time.monotonic()) > 0:
        for client in clients:
            client.read(min(left_s, 0.2))


def _transactions(url: str) -> float:
    """So far, in the whole database."""

    async def ask() -> float:
        connection = await asyncpg.connect(url)
        try:
            return float(await connection.fetchval(_TRANSACTIONS))
        finally:
            await connection.close()

    return anyio.run(ask)
