"""`app-server features list` and `app-server extensions list`: state, origin and reason, as a table.

The second shows whether each extension is loaded, and which tools a new thread would be offered here and now.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

import anyio

from app_server.bootstrap import App
from app_server.commands.serve import options_from
from app_server.methods.model import HOSTED_TOOL, plan_here_and_now
from app_server.tools.planning import ToolPlan


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
            registry = wiring.extensions(features)
            rows = [
                (state.key, state.origin, "loaded" if state.loaded else "not loaded", state.reason)
                for state in registry.states
            ]
            print(table(("extension", "origin", "state", "reason"), rows))
            print()
            plan = plan_here_and_now(wiring.core.services, "app-server")
            print(table(("tool", "state", "reason"), tool_rows(plan)))


def tool_rows(plan: ToolPlan) -> list[Sequence[str]]:
    """What a new thread would be offered and what not, with the reason."""
    hidden = {each.tool: each.reason for each in plan.hidden}
    rows: list[Sequence[str]] = [
        (str(executor.name), "visible", "offered to the model") for executor in plan.routes.values()
    ]
    if HOSTED_TOOL not in hidden:
        rows.append((HOSTED_TOOL, "visible", "offered to the model; the provider runs it"))
    return [*rows, *((tool, "hidden", reason) for tool, reason in hidden.items())]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Plain columns."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]) for line in lines
    )
