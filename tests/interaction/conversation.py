"""What the interaction tests say again and again: begin a thread, run a turn, look into what went upstream.

Owns no server and no client. It only shortens the set-up that is the same in every test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from app_server.bootstrap import App
from app_server.transport.memory import memory_pair
from tests.support.accounts import write_chatgpt_auth
from tests.support.client import Frame, RpcClient, RpcFailure
from tests.support.server import Home, make_home
from tests.support.upstream import Event, ReceivedRequest, ScriptedUpstream, function_call

CLIENT_INFO = {"name": "tests", "title": None, "version": "1.0.0"}
UNKNOWN_THREAD = "019a0000-0000-7000-8000-000000000000"
Client = RpcClient[Any]


def picture_home(folder: Path, up: ScriptedUpstream, **options: Any) -> Home:
    """A home whose provider makes pictures, logged in with ChatGPT."""
    home = make_home(folder, up.base_url, login="requires_openai_auth = true", **options)
    write_chatgpt_auth(home.home)
    return home


@asynccontextmanager
async def stranger(app: App) -> AsyncIterator[Client]:
    """A client that has not said who it is."""
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.serve, theirs)
        async with RpcClient(ours, tasks) as client:
            yield client


async def start_thread(client: Client, **params: Any) -> str:
    """A new thread's id."""
    return str((await client.request("thread/start", params))["thread"]["id"])


def text(words: str) -> list[dict[str, Any]]:
    """A user's message of words alone."""
    return [{"type": "text", "text": words}]


async def start_turn(client: Client, thread_id: str, words: str = "Hello", **params: Any) -> str:
    """A turn's id, as soon as it is accepted."""
    reply = await client.request("turn/start", {"threadId": thread_id, "input": text(words), **params})
    return str(reply["turn"]["id"])


async def run_turn(client: Client, thread_id: str, words: str = "Hello", **params: Any) -> Frame:
    """The turn of `turn/completed`."""
    turn_id = await start_turn(client, thread_id, words, **params)
    return await ended(client, turn_id)


async def ended(client: Client, turn_id: str) -> Frame:
    """The turn of `turn/completed` for this turn."""
    params: Frame = await client.wait_for("turn/completed", turn__id=turn_id)
    turn: Frame = params["turn"]
    return turn


async def refused(client: Client, method: str, params: Any = None) -> tuple[int, str]:
    """Code and message of the error that answers this request."""
    try:
        result = await client.request(method, params)
    except RpcFailure as failure:
        return failure.code, failure.message
    raise AssertionError(f"{method} was served: {result}")


def imagegen(call_id: str, **arguments: Any) -> list[Event]:
    """A call of the standalone image tool."""
    return function_call(call_id, "imagegen", arguments, namespace="image_gen")


def tool_names(request: ReceivedRequest) -> list[str]:
    """Tools that the model was offered: functions and namespaces by name, hosted ones by type."""
    return [str(tool.get("name") or tool["type"]) for tool in request.body["tools"]]


def outputs(request: ReceivedRequest) -> list[dict[str, Any]]:
    """The tool outputs of a request, in order."""
    return [item for item in request.body["input"] if item["type"] == "function_call_output"]


def said(request: ReceivedRequest, role: str = "user") -> list[str]:
    """First texts of the messages of a role, in order."""
    messages = (item for item in request.body["input"] if item["type"] == "message" and item["role"] == role)
    return [str(item["content"][0].get("text")) for item in messages]


def users_words(request: ReceivedRequest) -> list[str]:
    """What the user said: without context and notes of the server."""
    return [words for words in said(request) if not words.startswith("<")]


def kinds(items: Sequence[Frame]) -> list[str]:
    """The types of items, in order."""
    return [str(item["type"]) for item in items]
