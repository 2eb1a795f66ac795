"""`app-server exec PROMPT`: one turn without a client, on a server inside this process.

Owns the arguments, the prompt and the order of requests: initialize, thread/start or thread/resume, turn/start, and
turn/interrupt on Ctrl-C. What is written, and the exit status, are `exec_view`'s; it speaks the protocol as any client
does and reaches nowhere else into the server. `cli.py` calls `run`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TextIO

import anyio
from anyio.abc import TaskGroup

from app_server.bootstrap import App
from app_server.clock import SystemClock
from app_server.commands.demo_client import RequestRefused, ServerGone
from app_server.commands.exec_client import InProcessClient
from app_server.commands.exec_view import INTERRUPTED, TURN_FAILED, ExecView, Form, JsonForm, TextForm
from app_server.commands.serve import options_from
from app_server.errors import ConfigurationError
from app_server.observability.logging import configure_logging, level_from_environment
from app_server.transport.memory import memory_pair
from app_server.values import frozen
from app_server.version import __version__

INTERRUPT_TIMEOUT_S: Final = 15.0
"""How long the server may take to close an interrupted turn; it bounds that itself, at less."""
CLIENT: Final = {"name": "app_server_exec", "title": "app-server exec", "version": __version__}
CAPABILITIES: Final = {
    "experimentalApi": True,
    "optOutNotificationMethods": [
        "item/agentMessage/delta",
        "item/reasoning/summaryTextDelta",
        "item/reasoning/textDelta",
    ],
    "extensions": {"pictures": {"inline": "never", "progress": True}},
}


@frozen
class ExecRequest:
    """What the person asked for. `resume` is a thread id; `last` stands for the thread that was used last."""

    prompt: str
    images: tuple[Path, ...] = ()
    cwd: Path
    model: str | None = None
    ephemeral: bool = False
    resume: str | None = None
    last: bool = False


def run(args: argparse.Namespace) -> int:
    """Run one turn; the result is the exit status."""
    configure_logging(level_from_environment(os.environ))
    request = read_request(args, sys.stdin)
    form: Form = JsonForm(sys.stdout) if args.as_json else TextForm(sys.stdout, sys.stderr, SystemClock())
    app = App(replace(options_from(args), cwd=request.cwd))
    return anyio.run(execute, app, request, ExecView(form, sys.stderr))


def read_request(args: argparse.Namespace, stdin: TextIO) -> ExecRequest:
    """Arguments, checked against the disk. Raises ConfigurationError: what is wrong, and what to give instead."""
    cwd = Path.cwd() / Path(args.folder or ".").expanduser()
    if not cwd.is_dir():
        raise ConfigurationError(f"-C: {cwd} is no folder; give the folder to work in.")
    from_stdin = args.prompt == "-" or (args.prompt is None and not stdin.isatty())
    prompt = stdin.read() if from_stdin else args.prompt or ""
    if not prompt.strip():
        raise ConfigurationError("The prompt is empty; give it as an argument, or on stdin.")
    images = tuple(Path.cwd() / Path(path).expanduser() for path in args.images)
    for path in images:
        if not path.is_file():
            raise ConfigurationError(f"--image: there is no file {path}; check the path.")
    return ExecRequest(
        prompt=prompt,
        images=images,
        cwd=cwd.resolve(),
        model=args.model,
        ephemeral=args.ephemeral,
        resume=args.resume,
        last=args.last,
    )


async def execute(app: App, request: ExecRequest, view: ExecView) -> int:
    """The whole run, from the server's start to its end; every failure of it becomes a sentence and status 1."""
    stop = anyio.Event()
    async with app.running(), anyio.create_task_group() as tasks:
        ours, theirs = memory_pair()
        client = InProcessClient(ours)
        tasks.start_soon(app.serve, theirs)
        tasks.start_soon(client.read)
        tasks.start_soon(_watch_signals, stop)
        try:
            status = await _converse(client, request, view, stop, tasks)
        except (RequestRefused, ServerGone) as error:
            status = view.failed(error.message)
        except (
            BrokenPipeError
        ):  # `app-server exec … | head`: the reader has left, and Python must not flush into the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = TURN_FAILED
        await ours.aclose()
        tasks.cancel_scope.cancel()
    return INTERRUPTED if stop.is_set() else status


async def _watch_signals(stop: anyio.Event) -> None:
    """The first signal interrupts the turn, the second ends the process at once."""
    if os.name == "nt":  # no signal receiver there: Ctrl-C raises KeyboardInterrupt in the loop
        return
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                os._exit(INTERRUPTED)
            stop.set()


async def _converse(
    client: InProcessClient, request: ExecRequest, view: ExecView, stop: anyio.Event, tasks: TaskGroup
) -> int:
    await client.request("initialize", {"clientInfo": CLIENT, "capabilities": CAPABILITIES})
    await client.send({"method": "initialized"})
    thread_id = await _open_thread(client, request)
    view.opened(thread_id)
    if stop.is_set():
        return INTERRUPTED
    words: list[dict[str, Any]] = [{"type": "text", "text": request.prompt}]
    words += [{"type": "localImage", "path": str(path)} for path in request.images]
    started = await client.request("turn/start", {"threadId": thread_id, "input": words})
    ids = {"threadId": thread_id, "turnId": started["turn"]["id"]}
    with anyio.CancelScope() as bound:
        tasks.start_soon(_interrupt_when, stop, client, ids, bound)
        return view.ended(await _followed(client, ids, view))
    return INTERRUPTED


async def _interrupt_when(
    stop: anyio.Event, client: InProcessClient, ids: Mapping[str, str], bound: anyio.CancelScope
) -> None:
    """Interrupt the turn when asked to; its end is still waited for, but not for ever."""
    await stop.wait()
    bound.deadline = anyio.current_time() + INTERRUPT_TIMEOUT_S
    with suppress(RequestRefused, ServerGone):  # it has just ended
        await client.request("turn/interrupt", ids)


async def _followed(client: InProcessClient, ids: Mapping[str, str], view: ExecView) -> Mapping[str, Any]:
    """Pass on what concerns the thread until the turn has ended; the turn as it is then."""
    while True:
        method, params = await client.next_notification()
        if method == "turn/completed" and params["turn"]["id"] == ids["turnId"]:
            turn: Mapping[str, Any] = params["turn"]
            return turn
        if params.get("threadId") in (None, ids["threadId"]):
            view.take(method, params)


async def _open_thread(client: InProcessClient, request: ExecRequest) -> str:
    settings: dict[str, Any] = {"cwd": str(request.cwd)}
    if request.model is not None:
        settings["model"] = request.model
    thread_id = await _last_thread(client) if request.last else request.resume
    if thread_id is None:  # nobody is there to be asked for an approval
        start = {**settings, "ephemeral": request.ephemeral, "approvalPolicy": "never"}
        return str((await client.request("thread/start", start))["thread"]["id"])
    resume = {**settings, "threadId": thread_id, "excludeTurns": True}
    return str((await client.request("thread/resume", resume))["thread"]["id"])


async def _last_thread(client: InProcessClient) -> str:
    listing = {"modelProviders": [], "sortKey": "updated_at", "sortDirection": "desc", "limit": 1}
    rows = (await client.request("thread/list", listing))["data"]
    if not rows:
        raise RequestRefused("There is no thread to go on with yet; leave out --last.")
    return str(rows[0]["id"])
