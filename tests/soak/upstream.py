"""What the provider of a soak answers: by the words of the user, again and again. Runs in the process of the clients.

the words begin with   the answer
draw                   a call of the picture tool, and a sentence behind its output
slowly                 three hundred pieces with a pause between them: time to interrupt it or to go away
anything else          a sentence
"""

from __future__ import annotations

import itertools
from typing import Any

import anyio

from tests.support.pictures import png
from tests.support.replies import Gate, ReceivedRequest, Reply, Streamed, image_reply
from tests.support.response_events import (
    completed,
    created,
    function_call,
    item_added,
    item_done,
    message,
    text_delta,
)
from tests.support.upstream import ScriptedUpstream

PIECES, PAUSE_S = 300, 0.01
SENTENCE = "It is done, and here are some words about it that come in pieces. " * 8


class Pause(Gate):
    """Opens by itself."""

    async def hold(self) -> None:
        await anyio.sleep(PAUSE_S)


class SoakUpstream(ScriptedUpstream):
    """Forgets what it was asked, and never repeats a picture."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self.routes[("POST", "/responses")] = Reply(events=self._answer)

    def forget(self) -> None:
        """Called from time to time: a list of all requests would grow for hours."""
        self.requests.clear()

    def next_picture(self) -> None:
        """One more picture that was never there before, for the next request that asks for one."""
        number = next(self._numbers)
        self.images.append(image_reply(png(64, 64, (number % 251, number // 251 % 251, number // 63001 % 251))))

    def _answer(self, request: ReceivedRequest) -> list[Streamed]:
        number = next(self._numbers)
        response, item = f"resp_{number}", f"msg_{number}"
        events: list[Streamed] = [created(response)]
        match request.body["input"][-1], words_of(request.body["input"]):
            case {"type": "function_call_output"}, _:
                events += message(item, SENTENCE)
            case _, words if words.startswith("draw"):
                events += function_call(f"call_{number}", "imagegen", {"prompt": words}, namespace="image_gen")
            case _, words if words.startswith("slowly"):
                events += slow_message(item)
            case _:
                events += message(item, SENTENCE)
        return [*events, completed(response)]


def slow_message(item_id: str) -> list[Streamed]:
    item: dict[str, Any] = {"type": "message", "id": item_id, "role": "assistant", "content": []}
    pieces: list[Streamed] = []
    for number in range(PIECES):
        pieces += [text_delta(item_id, f"piece {number} "), Pause()]
    text = "".join(f"piece {number} " for number in range(PIECES))
    return [item_added(item), *pieces, item_done({**item, "content": [{"type": "output_text", "text": text}]})]


def words_of(items: list[dict[str, Any]]) -> str:
    """What the user said last."""
    for item in reversed(items):
        if item.get("type") == "message" and item.get("role") == "user":
            return str(item["content"][0].get("text", ""))
    return ""
