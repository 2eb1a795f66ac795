"""`app-server serve`: the server itself, over stdio or at listeners, until its client or a signal ends it.

stdin EOF, SIGTERM, SIGINT and SIGHUP end it with status 0: nobody new comes in, turns are interrupted and closed,
commands are ended, storage is flushed. Where there is time to drain, a signal first makes `/readyz` answer 503, and
turns may end by themselves. A second signal ends it at once, with 128 and the signal's number: only commands are killed
and sockets removed.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio

from app_server import child_groups
from app_server.bootstrap import App, Options
from app_server.clock import SystemClock
from app_server.commands.listener_options import ListenerOptions, listener_options
from app_server.errors import EXIT_CONFIGURATION, ConfigurationError, as_rpc_error
from app_server.first_answer import Opening
from app_server.observability.logging import configure_logging, level_from_environment
from app_server.protocol.jsonrpc import Request, encode_error, parse_frame
from app_server.transport.address import ListenAddress, control_socket, listen_banner
from app_server.transport.base import MAX_FRAME_BYTES
from app_server.transport.lines import LineSplitter
from app_server.transport.stdio import CHUNK_BYTES, StdioStream, claim_stdio

if TYPE_CHECKING:
    import argparse

OTLP_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
SHARED_DRAIN_S = 30
"""What a replica gives its turns after a signal, unless the settings say otherwise."""

_NEW_OBJECTS = 10_000
"""After so many the youngest are searched for garbage. The default is 700, but reading a long thread makes tens of
thousands that stay, and searching those again and again took a third of the time."""
Sockets = list[tuple[Path, os.stat_result]]
"""The unix sockets that are ours while the server listens, and what their files are."""


def options_from(parsed: argparse.Namespace) -> Options:
    """The options of a server, as the command line gives them."""
    return Options(overrides=parsed.overrides, enable=parsed.enable, disable=parsed.disable)


def run(parsed: argparse.Namespace, opening: Opening | None = None) -> int:
    """Serve; returns the exit status. `opening`: what was read from stdin before, and whether it has an answer."""
    configure_logging(level_from_environment(os.environ))
    options = listener_options(parsed, SystemClock())
    try:
        app = App(options_from(parsed))  # takes a copy of the environment, for the commands that it will start
        if wants_traces(app):
            check_extra(app)
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # it would look into every installed distribution
    except ConfigurationError as error:
        if opening is None or not opening.answered:
            raise
        sys.stderr.write(f"app-server: {error.message}\n")
        refuse_all(opening.received, error)
        return EXIT_CONFIGURATION
    anyio.run(_serve, app, options, opening)
    return 0


def refuse_all(received: bytes, error: ConfigurationError) -> None:
    """Answer every request on stdin with the reason why there is no server; `initialize`, the first, has an answer."""
    lines, wire = LineSplitter(MAX_FRAME_BYTES), as_rpc_error(error)
    frames = lines.feed(received)[1:]
    with suppress(OSError):
        while True:
            for request in [parse_frame(frame) for frame in frames if isinstance(frame, bytes)]:
                if isinstance(request, Request):
                    _write_whole(encode_error(request.id, wire.wire_code, wire.message, wire.data) + b"\n")
            if not received:
                return
            received = os.read(0, CHUNK_BYTES)
            frames = lines.feed(received) if received else lines.finish()


def _write_whole(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def wants_traces(app: App) -> bool:
    """Whether settings or variables ask for traces; quick, for the many starts in which they do not."""
    env = app.options.env
    if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    if app.config.config.server.otlp_endpoint is not None:
        return True
    exporters = env.get("OTEL_TRACES_EXPORTER", "otlp").split(",")
    return "otlp" in exporters and any(env.get(name) for name in OTLP_VARIABLES)


def check_extra(app: App) -> None:
    """A collector that the settings name needs the extra; one that is only in the environment may be another program's.

    Raises ConfigurationError."""
    from app_server.commands.observing import tracing_is_installed

    if app.config.config.server.otlp_endpoint is not None and not tracing_is_installed():
        raise ConfigurationError(
            "server.otlp_endpoint asks for traces, and OpenTelemetry is not installed; install the server with its "
            "extra otel, or leave the setting out."
        )


def drain_s(app: App, *, listening: bool) -> int:
    """How long turns may go on after the first signal."""
    config = app.config.config
    if config.server.drain_s is not None:
        return config.server.drain_s
    shared = (config.storage.url or "").lower().startswith(("postgres:", "postgresql:"))
    return SHARED_DRAIN_S if shared and listening else 0


async def _serve(app: App, options: ListenerOptions, opening: Opening | None) -> None:
    sockets: Sockets = []
    listening = options.addresses[0].scheme != "stdio"

    async def drain() -> None:
        if bound_s := drain_s(app, listening=listening):
            await app.drain(bound_s)

    async with anyio.create_task_group() as watch:  # around everything: it still hears a signal while the rest ends
        async with (
            _observed(app, listening=listening),
            app.running(),
            anyio.create_task_group() as tasks,
        ):
            watch.start_soon(_end_on_signal, tasks.cancel_scope, sockets, drain)
            tasks.start_soon(_settle, app)
            if not listening:
                first = opening or Opening(b"", False)
                stream = StdioStream(*claim_stdio(), received=first.received)
                await app.serve(stream, greeted=first.answered)
                tasks.cancel_scope.cancel()
            else:
                if options.gate is not None:
                    tasks.start_soon(options.gate.run)
                tasks.start_soon(app.stand_by)
                await _listen(app, options, sockets)
        watch.cancel_scope.cancel()


def _observed(app: App, *, listening: bool) -> AbstractAsyncContextManager[None]:
    """Count for who may ask at a listener, and trace where that is wanted; else load nothing of it."""
    if not listening and not wants_traces(app):
        return nullcontext()
    from app_server.commands.observing import observed

    return observed(app, traced=wants_traces(app), listening=listening)


async def _settle(app: App) -> None:
    """No garbage is collected while imports make everything; what they made is none, and is not looked at again."""
    gc.set_threshold(_NEW_OBJECTS)
    for loaded in (app.built, app.warm_up):
        await loaded()
        gc.freeze()
        gc.enable()


async def _listen(app: App, options: ListenerOptions, sockets: Sockets) -> None:
    async with AsyncExitStack() as listeners:
        listeners.callback(sockets.clear)
        for address in options.addresses:
            bound = await listeners.enter_async_context(_listener(app, address, options))
            if bound.path is not None:
                sockets.append((bound.path, bound.path.lstat()))
            if bound.scheme == "ws" and app.http_base is None:
                public_url = app.config.config.server.public_url
                app.http_base = public_url.rstrip("/") if public_url else f"http://{bound.authority}"
            sys.stderr.write(f"app-server: {listen_banner(bound)}\n")
            sys.stderr.flush()
        await anyio.sleep_forever()


def _listener(app: App, address: ListenAddress, options: ListenerOptions) -> AbstractAsyncContextManager[ListenAddress]:
    from app_server.commands.observing import METRICS_ROUTE, metrics_route
    from app_server.pictures.links import PICTURE_ROUTE  # slow to load, and of no use to a client on stdin
    from app_server.transport.unix import serve_unix
    from app_server.transport.websocket import RESTART, serve_websocket

    metrics = {METRICS_ROUTE: metrics_route}
    is_open = app.config.config.server.metrics_open
    routes, signed_routes = {} if is_open else metrics, {PICTURE_ROUTE: app.picture, **(metrics if is_open else {})}

    def farewell() -> tuple[int, str] | None:
        return RESTART if app.draining else None

    if address.scheme == "unix":
        return serve_unix(
            address.path or control_socket(app.home),
            app.serve,
            routes=routes,
            signed_routes=signed_routes,
            farewell=farewell,
            ready=lambda: not app.draining,
            allowed_origins=options.allowed_origins,
        )
    return serve_websocket(
        address.host,
        address.port,
        app.serve,
        routes=routes,
        signed_routes=signed_routes,
        farewell=farewell,
        ready=lambda: not app.draining,
        allowed_origins=options.allowed_origins,
        gate=options.gate,
    )


async def _end_on_signal(scope: anyio.CancelScope, sockets: Sockets, drain: Callable[[], Awaitable[None]]) -> None:
    async def end() -> None:
        await drain()
        scope.cancel()

    if sys.platform == "win32":  # no signal receiver there: Ctrl-C raises KeyboardInterrupt in the loop
        return
    asked = False
    wanted = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` means that it should go on
        wanted.append(signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals:
        async with anyio.create_task_group() as ending:
            async for number in signals:
                if asked:
                    end_now(128 + number, sockets)
                asked = True
                ending.start_soon(end)


def end_now(status: int, sockets: Sockets) -> NoReturn:
    """The end without an end: what would outlive the process goes, the rest is as after a crash."""
    child_groups.kill_all()
    for path, ours in sockets:
        with suppress(OSError):
            if os.path.samestat(path.lstat(), ours):
                path.unlink()
    os._exit(status)
