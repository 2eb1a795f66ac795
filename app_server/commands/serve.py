"""`app-server serve`: the server itself, over stdio or a websocket, until its client or a signal ends it.

stdin EOF, SIGTERM and SIGINT end it with status 0: turns are interrupted and closed, storage is flushed.
A second signal ends it at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import anyio

from app_server.bootstrap import App, Options
from app_server.observability.logging import configure_logging, level_from_environment
from app_server.protocol.image import PICTURE_ROUTE
from app_server.transport.stdio import StdioStream, claim_stdio
from app_server.transport.websocket import ListenAddress, listen_banner, parse_listen, serve_websocket


def options_from(parsed: argparse.Namespace) -> Options:
    """The options of a server, as the command line gives them."""
    return Options(overrides=parsed.overrides, enable=parsed.enable, disable=parsed.disable)


def run(parsed: argparse.Namespace) -> int:
    """Serve; returns the exit status."""
    configure_logging(level_from_environment(os.environ))
    address = parse_listen(parsed.listen)
    app = App(options_from(parsed))
    anyio.run(_serve, app, address)
    return 0


async def _serve(app: App, address: ListenAddress) -> None:
    async with app.running(), anyio.create_task_group() as tasks:
        tasks.start_soon(_end_on_signal, tasks.cancel_scope)
        if address.scheme == "stdio":
            await app.serve(StdioStream(*claim_stdio()))
            tasks.cancel_scope.cancel()
        else:
            await _listen(app, address)


async def _listen(app: App, address: ListenAddress) -> None:
    async with serve_websocket(
        address.host,
        address.port,
        app.serve,
        routes={},
        signed_routes={PICTURE_ROUTE: app.picture},
        ready=lambda: not app.draining,
    ) as bound:
        app.http_base = f"http://{bound.authority}"
        sys.stderr.write(f"app-server: {listen_banner(bound)}\n")
        sys.stderr.flush()
        await anyio.sleep_forever()


async def _end_on_signal(scope: anyio.CancelScope) -> None:
    if os.name == "nt":  # no signal receiver there: Ctrl-C raises KeyboardInterrupt in the loop
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if scope.cancel_called:
                os._exit(128 + number)
            scope.cancel()
