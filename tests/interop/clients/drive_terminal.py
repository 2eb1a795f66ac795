"""The terminal UI in tmux, `codex --remote ws://…`, through the steps of `tests/interop/terminal.py`.

A driver of the kit, brought along by `--extra`, and no program beside it: so the kit starts server, upstream and homes,
records the traffic, bounds the time, ends what it started, says SKIPPED with the reason where tmux or the client cannot
be had, and puts the verdicts into the table that `run.py` judges. It runs this in its own environment: the standard
library and the kit are all there is. What each step left on the screen stands beside the recorded traffic, `*.screens`.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3]))
os.environ.setdefault("KIT_FLOW_TIMEOUT", "120")  # a flow is a whole session here; the kit reads it when imported

from tests.interop.terminal import FORK, PICTURE, RESUME, SESSION, Pane, Terminal

DRIVELIB: Any = import_module("clients.drivelib")  # the kit's, which has no types
KITLIB: Any = import_module("clients.kitlib")
TMUX: Callable[..., Pane] = import_module("clients.tuilib").Tmux

left: dict[str, str] = {}
"""What the flow `session` leaves behind: the thread, and the footer under its composer."""


def fresh(ctx: Any) -> None:
    """No screens of an earlier run."""
    _record(ctx).unlink(missing_ok=True)


def _record(ctx: Any) -> Path:
    return Path(ctx.log).with_suffix(".screens")


def _opened(ctx: Any, words: str = "") -> Terminal:
    command = f"{shlex.quote(os.environ['CODEX_BIN'])} --remote {ctx.url} {words}"
    environment = KITLIB.client_env(ctx.home, ctx.upstream)
    return Terminal(TMUX(command, environment, ctx.work, w=200, h=100), _record(ctx))  # wide: nothing wraps or scrolls


def _thread() -> str:
    if "thread" not in left:
        raise DRIVELIB.Skip("there is no thread: the flow session did not come to its end")
    return left["thread"]


def session(ctx: Any) -> None:
    """One sitting, to its end; the rest of the flows is about the thread that it leaves."""
    with _opened(ctx) as terminal:
        model = terminal.footer().partition(" · ")[0].rpartition(" ")[0]  # without its effort
        terminal.play(SESSION)
        footer = terminal.footer()
        DRIVELIB.check(not footer.startswith(f"{model} "), f"footer {footer!r} names the model of the start")
        left.update(thread=terminal.quit(), footer=footer)


def resume(ctx: Any) -> None:
    """By id, in a new process: the history is there; model, effort and name stand in the footer as they were left."""
    with _opened(ctx, f"resume {_thread()}") as terminal:
        terminal.play(RESUME)
        DRIVELIB.check(terminal.footer() == left["footer"], f"footer {terminal.footer()!r}, was {left['footer']!r}")
        terminal.quit()


def fork(ctx: Any) -> None:
    """A second thread with the history of the first."""
    with _opened(ctx, f"fork {_thread()}") as terminal:
        terminal.play(FORK)
        DRIVELIB.check(terminal.footer() == left["footer"], f"footer {terminal.footer()!r}, was {left['footer']!r}")
        DRIVELIB.check(terminal.quit() != _thread(), "the fork has the id of the thread that it was made of")


def picture(ctx: Any) -> None:
    """A picture is drawn, shown and saved; needs the account."""
    with _opened(ctx) as terminal:
        terminal.play(PICTURE)
        terminal.quit()


if __name__ == "__main__":
    flows = {"session": session, "resume": resume, "fork": fork}
    DRIVELIB.main("terminal", flows, ["ws"], setup=fresh, signed_in={"picture": picture})
