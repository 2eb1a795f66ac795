"""What a server that is watched has beside: the numbers of `GET /metrics`, and a tracer where traces are wanted.

Loaded by `serve` at a listener, or for traces; a server that a client spawned without either never sees it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from app_server.methods import FAMILIES
from app_server.observability.logging import get_logger
from app_server.observability.metrics import Metrics
from app_server.observability.observer import Observer
from app_server.observability.watch import WATCH
from app_server.transport.http import HttpReply, HttpRequest

if TYPE_CHECKING:
    from app_server.bootstrap import App
    from app_server.methods.services import Services
    from app_server.observability.otel import OtelTracer
    from app_server.rpc.connection import Connection
    from app_server.threads.manager import ThreadManager

log = get_logger("observing")
METRICS_ROUTE: Final = "/metrics"
LAST_SPANS_S: Final = 3.0
"""What a collector may cost an end."""


def tracing_is_installed() -> bool:
    """Whether the extra `otel` is there."""
    try:
        return all(
            importlib.util.find_spec(name) is not None
            for name in ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
        )
    except ModuleNotFoundError:
        return False


@asynccontextmanager
async def observed(app: App, *, traced: bool, listening: bool) -> AsyncIterator[None]:
    """Count, and trace if so, while the block runs. A client on stdin does not wait for the tracer."""
    WATCH.observer = observer = Observer(Metrics(name for names in FAMILIES.values() for name in names))
    measure(app, observer)
    if traced and not tracing_is_installed():
        log.warning("traces_need_the_extra_otel", fix="install the server with its extra otel")
        traced = False
    try:
        async with anyio.create_task_group() as tasks:
            if traced and listening:
                await _open_tracer(app, observer)
            elif traced:
                tasks.start_soon(_open_behind_the_first_answers, app, observer)
            yield
            tasks.cancel_scope.cancel()
    finally:
        WATCH.observer = None
        if observer.tracer is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(observer.tracer.close, LAST_SPANS_S)


async def _open_behind_the_first_answers(app: App, observer: Observer) -> None:
    await app.built()
    await _open_tracer(app, observer)


async def _open_tracer(app: App, observer: Observer) -> None:
    observer.tracer = await anyio.to_thread.run_sync(_load_tracer, app.config.config.server.otlp_endpoint)


def _load_tracer(endpoint: str | None) -> OtelTracer:
    from app_server.observability.otel import open_tracer  # slow: a quarter of a second

    return open_tracer(endpoint)


def measure(app: App, observer: Observer) -> None:
    """What is read when somebody asks, of the app and of all its tenants."""
    metrics = observer.metrics

    def of_clients(read: Callable[[Connection[Services]], int]) -> Callable[[], float]:
        return lambda: sum(read(client) for each in app.apps() for client in each.hub.clients())

    def of_threads(read: Callable[[ThreadManager], int]) -> Callable[[], float]:
        return lambda: sum(read(each.threads) for each in app.apps() if each.threads is not None)

    metrics.connections.read = of_clients(lambda client: 1)
    metrics.requests_in_flight.read = of_clients(lambda client: client.in_flight)
    metrics.outbox_bytes.read = of_clients(lambda client: client.outbox_bytes)
    metrics.threads_loaded.read = of_threads(lambda threads: len(threads.loaded))
    metrics.turns_running.read = of_threads(lambda threads: len(threads.running))
    metrics.commits_waiting.read = lambda: observer.waiting_commits
    metrics.draining.read = lambda: app.draining


async def metrics_route(request: HttpRequest) -> HttpReply:
    """The HTTP route `/metrics`."""
    from app_server.observability.metrics_text import CONTENT_TYPE, exposition  # with the first question

    observer = WATCH.observer
    if request.path != METRICS_ROUTE or observer is None:
        return HttpReply(status=404)
    return HttpReply(headers={"Content-Type": CONTENT_TYPE}, body=exposition(observer.metrics))
