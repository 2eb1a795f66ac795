"""`app-server demo`: one turn with a picture, from the client's side, over the real wire.

Starts the real server as a child over stdio, sends a prompt (or an edit of the newest picture of the demo's home) and
shows what comes back. It owns the arguments and the conversation; the child and its pipes are `demo_client`'s, what the
person sees is `demo_view`'s. It never reaches into the server: all that it knows came over the wire. Offline unless
another provider is named. `cli.py` calls `run`.

Exit status: 0 a picture was saved, 1 it was not, 2 wrong arguments, 130 interrupted.

`make demo` hands its variables over in the environment (ENV_…), where quotes and `$` survive; arguments come first.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app_server.clock import SystemClock
from app_server.commands.demo_client import RequestRefused, ServerGone, StdioServer
from app_server.commands.demo_options import DEFAULT_HOME, DEFAULT_PROMPT, OFFLINE
from app_server.commands.demo_view import DemoRequest, View
from app_server.values import frozen
from app_server.version import __version__

ENV_PROMPT: Final = "APP_SERVER_DEMO_PROMPT"
ENV_EDIT: Final = "APP_SERVER_DEMO_EDIT"
ENV_PROVIDER: Final = "APP_SERVER_DEMO_PROVIDER"
ENV_HOME: Final = "APP_SERVER_DEMO_HOME"

TICK_S: Final = 0.2
INTERRUPT_TIMEOUT_S: Final = 2.0
EDIT_LEAD: Final = "Edit the newest picture: "
"""Before the words of --edit: they alone ("as an oil painting") may not say that a change is meant."""
DEVELOPER_INSTRUCTIONS: Final = (
    "The user describes a picture. Call image_gen.imagegen once: generate it, or, when the user asks to change a "
    "picture of this thread, edit the newest one. Then say in one sentence what the picture shows."
)


@frozen
class EditTarget:
    """The newest picture of a home, and its thread."""

    thread_id: str
    path: Path
    completed_at_ms: int


def run(args: argparse.Namespace) -> int:
    """Run the demo; the result is the exit status."""
    request = read_request(args, os.environ)
    if request is None:
        print("Give either a PROMPT for a new picture or --edit TEXT for the newest one, not both.", file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character must not end the demo
    view = View(out=sys.stdout, err=sys.stderr, env=os.environ, cwd=Path.cwd(), clock=SystemClock(), request=request)
    try:
        return asyncio.run(demo(request, view, server_command(request), server_env(os.environ, request.home)))
    except KeyboardInterrupt:
        view.complain("Interrupted.")
        return 130
    except BrokenPipeError:  # `app-server demo | head`: the reader has left, and Python must not flush into the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def read_request(args: argparse.Namespace, env: Mapping[str, str]) -> DemoRequest | None:
    """Arguments before environment before defaults; None when a prompt and an edit are given at once."""
    edit, prompt = args.edit, args.prompt
    if not edit and not prompt:
        edit, prompt = env.get(ENV_EDIT), env.get(ENV_PROMPT)
    if edit and prompt:
        return None
    return DemoRequest(
        text=EDIT_LEAD + edit if edit else prompt or DEFAULT_PROMPT,
        edit=bool(edit),
        provider=args.provider or env.get(ENV_PROVIDER) or OFFLINE,
        model=args.model,
        home=Path(args.home or env.get(ENV_HOME) or DEFAULT_HOME).expanduser(),
        preview=not args.no_preview,
        timeout_s=args.timeout,
        by_make=ENV_PROMPT in env,
    )


def server_command(request: DemoRequest) -> list[str]:
    """The real server over stdio, on the provider asked for, with the standalone image tool on."""
    provider = json.dumps(request.provider, ensure_ascii=False)  # a JSON string is a TOML string
    serve = ["serve", "--listen", "stdio://", "--enable", "imagegenext", "-c", f"model_provider={provider}"]
    return [sys.executable, "-m", "app_server", *serve]


def server_env(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """Our environment with the demo's home, whatever home the person uses else."""
    return {key: value for key, value in env.items() if key != "CODEX_HOME"} | {"APP_SERVER_HOME": str(home.absolute())}


async def demo(request: DemoRequest, view: View, command: Sequence[str], env: Mapping[str, str]) -> int:
    """The whole demo, from the child's start to its end; every failure becomes a sentence on stderr and status 1."""
    try:
        async with asyncio.timeout(request.timeout_s):
            async with contextlib.aclosing(await StdioServer.start(command, env)) as server:
                status = await _converse(server, request, view)
        if status != 0 and server.stderr:
            view.complain("The server's log:", server.stderr)
        return status
    except TimeoutError:
        view.complain(f"No picture after {request.timeout_s:g} seconds; give it longer with --timeout.")
    except ServerGone as error:
        view.complain(*filter(None, (error.stderr, error.message)))
    except RequestRefused as error:
        view.complain(error.message)
    return 1


async def _converse(server: StdioServer, request: DemoRequest, view: View) -> int:
    client = {"name": "app_server_demo", "title": "app-server demo", "version": __version__}
    await server.request("initialize", {"clientInfo": client, "capabilities": {"experimentalApi": True}})
    await server.send({"method": "initialized"})
    settings = {"modelProvider": request.provider, "developerInstructions": DEVELOPER_INSTRUCTIONS}
    if request.model:
        settings["model"] = request.model
    if not request.edit:
        opened = await server.request("thread/start", {**settings, "cwd": str(view.cwd)})
        view.opened(opened, editing=None)
        return await _turn(server, opened["thread"]["id"], request.text, view)
    target = await newest_picture(server)
    if target is None:
        view.no_picture()
        return 1
    opened = await server.request("thread/resume", {**settings, "threadId": target.thread_id, "excludeTurns": True})
    view.opened(opened, editing=target.path)
    return await _turn(server, target.thread_id, request.text, view)


async def newest_picture(server: StdioServer) -> EditTarget | None:
    """The picture that was finished last and still has its file; threads are read newest turn first, one at a time."""
    best: EditTarget | None = None
    listing = {"modelProviders": [], "sortKey": "updated_at", "sortDirection": "desc"}
    async with contextlib.aclosing(_rows(server, "thread/list", listing)) as threads:
        async for thread in threads:
            if best and thread["updatedAt"] * 1000 + 999 < best.completed_at_ms:
                break
            found = await _newest_of_thread(server, thread["id"])
            if found and (best is None or found.completed_at_ms > best.completed_at_ms):
                best = found
    return best


async def _newest_of_thread(server: StdioServer, thread_id: str) -> EditTarget | None:
    params = {"threadId": thread_id, "itemsView": "full", "sortDirection": "desc", "limit": 1}  # pictures come inline
    async with contextlib.aclosing(_rows(server, "thread/turns/list", params)) as turns:
        async for turn in turns:
            if found := _newest_of_turn(turn, thread_id):
                return found
    return None


def _newest_of_turn(turn: Mapping[str, Any], thread_id: str) -> EditTarget | None:
    for item in reversed(turn["items"]):
        path = item.get("savedPath") if item["type"] == "imageGeneration" else None
        if path and Path(path).is_file():
            return EditTarget(thread_id=thread_id, path=Path(path), completed_at_ms=item.get("completedAtMs") or 0)
    return None


async def _rows(server: StdioServer, method: str, params: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    """All rows of a paged listing; a page is asked for when the one before it is used up."""
    cursor: str | None = None
    while True:
        page = await server.request(method, {**params, "cursor": cursor})
        for row in page["data"]:
            yield row
        cursor = page.get("nextCursor")
        if cursor is None:
            return


async def _turn(server: StdioServer, thread_id: str, text: str, view: View) -> int:
    """Run one turn to its end. Cancelled (Ctrl-C, timeout), it interrupts the turn first."""
    started = await server.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": text}]})
    turn_id = started["turn"]["id"]
    try:
        while True:
            try:
                async with asyncio.timeout(TICK_S if view.redraws else None):
                    method, params = await server.next_notification()
            except TimeoutError:
                view.tick()
                continue
            if method == "turn/completed" and params["turn"]["id"] == turn_id:
                return view.turn_completed(params["turn"])
            view.take(method, params)
    except asyncio.CancelledError:
        with contextlib.suppress(TimeoutError, RequestRefused, ServerGone):
            async with asyncio.timeout(INTERRUPT_TIMEOUT_S):
                await server.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
        raise
