"""The work of thread/shellCommand: a command of the user runs, its output is shown and told to the model next time.

The user typed it: it runs as the user, without approval or sandbox, as in their own terminal. An interrupt ends it and
its children.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from app_server import child_groups
from app_server.ids import uuid7
from app_server.protocol.item_parts import UnknownCommandAction
from app_server.protocol.items import CommandExecutionItem
from app_server.storage.base import Record
from app_server.storage.records import HISTORY
from app_server.turns.history import message

if TYPE_CHECKING:
    from anyio.abc import Process

    from app_server.turns.context import UserMessage
    from app_server.turns.engine import TurnRun

MAX_OUTPUT_CHARS = 1024 * 1024
TOLD_CHARS = 20_000
DEFAULT_TIMEOUT_S = 3600.0
_END_S = 3.0


class ShellCommand:
    """The `Work` of a user's command."""

    not_steerable: str | None = None

    def __init__(self, command: str, timeout_s: float | None) -> None:
        self._command, self._timeout_s = command, timeout_s or DEFAULT_TIMEOUT_S

    def steer(self, words: UserMessage) -> bool:
        return False

    async def leave(self, run: TurnRun) -> None:
        pass

    async def run(self, run: TurnRun) -> None:
        argv = shell_argv(self._command)
        item = CommandExecutionItem(
            id=uuid7(),
            command=" ".join([*argv[:-1], f"'{self._command}'"]),
            cwd=run.ctx.settings.cwd,
            source="userShell",
            status="inProgress",
            command_actions=(UnknownCommandAction(command=self._command),),
        )
        await run.emitter.started(item)
        began = run.ctx.clock.monotonic_s()
        output, exit_code = await self._execute(run, item.id, argv)
        duration_ms = round((run.ctx.clock.monotonic_s() - began) * 1000)
        final = item.model_copy(
            update={
                "status": "completed" if exit_code == 0 else "failed",
                "aggregated_output": output,
                "exit_code": exit_code,
                "duration_ms": duration_ms,
            }
        )
        told = Record(kind=HISTORY, data={"items": [message("user", told_text(self._command, output, exit_code))]})
        await run.emitter.completed(final, extra=[told])

    async def _execute(self, run: TurnRun, item_id: str, argv: list[str]) -> tuple[str, int]:
        pieces: list[str] = []
        try:
            process = await anyio.open_process(
                argv, cwd=Path(run.ctx.settings.cwd), stdin=None, stderr=-2, start_new_session=os.name != "nt"
            )
        except OSError as error:
            return f"{error.strerror or error}: {error.filename or argv[0]}\n", 127
        child_groups.note(process.pid)
        try:
            with anyio.move_on_after(self._timeout_s) as bound:
                size = 0
                assert process.stdout is not None  # a pipe was asked for
                async for chunk in process.stdout:
                    text = chunk.decode(errors="replace")
                    size += len(text)
                    if size <= MAX_OUTPUT_CHARS:
                        pieces.append(text)
                        run.emitter.output_delta(item_id, text)
                await process.wait()
        finally:
            await end_process(process)
            child_groups.forget(process.pid)
        if bound.cancelled_caught:
            return "".join(pieces) + f"\n[ended after {self._timeout_s:g} s]\n", 124
        return "".join(pieces), process.returncode if process.returncode is not None else -1


def shell_argv(command: str) -> list[str]:
    """The command as an argument list of the user's shell."""
    if os.name == "nt":
        return ["cmd.exe", "/c", command]
    return [os.environ.get("SHELL") or "/bin/sh", "-lc", command]


def told_text(command: str, output: str, exit_code: int) -> str:
    """What the model is told of it; a long output loses its middle."""
    if len(output) > TOLD_CHARS:
        half = TOLD_CHARS // 2
        output = f"{output[:half]}\n[{len(output) - TOLD_CHARS} characters left out]\n{output[-half:]}"
    rows = (
        "<user_shell_command>",
        f"<command>{escape(command, quote=False)}</command>",
        f"<exit_code>{exit_code}</exit_code>",
        f"<output>\n{output}</output>",
        "</user_shell_command>",
    )
    return "\n".join(rows)


async def end_process(process: Process) -> None:
    """End a process and its children, politely first; bounded."""
    with anyio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL if os.name != "nt" else signal.SIGTERM):
            if process.returncode is not None:
                break
            with suppress(ProcessLookupError, PermissionError):
                if os.name == "nt":
                    process.terminate()
                else:
                    os.killpg(process.pid, number)
            with anyio.move_on_after(_END_S):
                await process.wait()
        await process.aclose()
