"""`app-server features list` and `app-server extensions list`: state, origin and reason, as a table."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import anyio

from app_server.bootstrap import App
from app_server.commands.serve import options_from


def run(parsed: argparse.Namespace) -> int:
    """Print the table; returns the exit status."""
    anyio.run(_list, parsed)
    return 0


async def _list(parsed: argparse.Namespace) -> None:
    async with App(options_from(parsed)).running() as app:
        wiring = await app.wiring()
        features = wiring.features.current()
        if parsed.command == "features":
            rows: list[Sequence[str]] = [
                (state.spec.key, state.spec.stage.value, "on" if state.enabled else "off", state.origin, state.reason)
                for state in features.states.values()
            ]
            print(table(("feature", "stage", "state", "origin", "reason"), rows))
        else:
            rows = [
                (state.key, state.origin, "loaded" if state.loaded else "not loaded", state.reason)
                for state in wiring.extensions(features).states
            ]
            print(table(("extension", "origin", "state", "reason"), rows))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain columns."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )
