"""What is outside of the replicas: the provider, which counts what it is asked, and the object store. A process.

    python -m tests.cluster.outside

The first line of stdout is JSON with both addresses; for every line on stdin there is one with the counts so far. The
end of stdin ends the process.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from typing import Any

import anyio
import anyio.to_thread
import orjson

from tests.cluster.words import DRAWING_S, PAUSE_S, key_of, picture, pieces, whole_text
from tests.support import s3
from tests.support.replies import Gate, ReceivedRequest, Reply, Streamed, image_reply
from tests.support.response_events import completed, created, function_call, item_added, item_done, text_delta
from tests.support.upstream import ScriptedUpstream


class Pause(Gate):
    """Opens by itself."""

    def __init__(self, pause_s: float) -> None:
        super().__init__()
        self._pause_s = pause_s

    async def hold(self) -> None:
        await anyio.sleep(self._pause_s)


class CountingUpstream(ScriptedUpstream):
    """Answers by the words of the user, and keeps how often it was asked for each key."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: dict[str, Counter[str]] = {"asked": Counter(), "went_on": Counter(), "drawn": Counter()}
        """By key: requests that end with the user's words, with the output of their tool call, for a picture."""
        self._numbers = itertools.count(1)

    def _choose(self, request: ReceivedRequest) -> Reply:
        self.requests.clear()  # a list of all requests would grow and grow
        if request.path.endswith("/images/generations"):
            key = key_of(request.body["prompt"]) or ""
            self.counts["drawn"][key] += 1
            drawn = image_reply(picture(key))
            return Reply(body=drawn.body, hold=Pause(DRAWING_S))
        if request.path.endswith("/responses"):
            return Reply(events=self._answer(request.body["input"]))
        return super()._choose(request)

    def _answer(self, items: list[dict[str, Any]]) -> list[Streamed]:
        number = next(self._numbers)
        words = words_of(items)
        key = key_of(words) or ""
        response: list[Streamed] = [created(f"resp_{number}")]
        if items[-1].get("type") == "function_call_output":
            self.counts["went_on"][key] += 1
            response += spoken(f"msg_{number}", key)
        else:
            self.counts["asked"][key] += 1
            if words.startswith("draw"):
                response += function_call(f"call_{number}", "imagegen", {"prompt": words}, namespace="image_gen")
            else:
                response += spoken(f"msg_{number}", key)
        return [*response, completed(f"resp_{number}")]


def spoken(item_id: str, key: str) -> list[Streamed]:
    item: dict[str, Any] = {"type": "message", "id": item_id, "role": "assistant", "content": []}
    deltas = [one for piece in pieces(key) for one in (text_delta(item_id, piece), Pause(PAUSE_S))]
    content = [{"type": "output_text", "text": whole_text(key), "annotations": []}]
    return [item_added(item), *deltas, item_done({**item, "content": content})]


def words_of(items: list[dict[str, Any]]) -> str:
    """What the user said last."""
    for item in reversed(items):
        if item.get("type") == "message" and item.get("role") == "user":
            text = str(item["content"][0].get("text", ""))
            if key_of(text):
                return text
    return ""


async def main() -> None:
    """Serve until stdin ends."""
    bucket = await anyio.to_thread.run_sync(s3.new_bucket)
    async with CountingUpstream() as up:
        _say({"provider": up.base_url, "blobs": s3.blobs_url(bucket)})
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            _say({**up.counts, "unscripted": [one.path for one in up.unscripted]})


def _say(told: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(told) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    anyio.run(main)
