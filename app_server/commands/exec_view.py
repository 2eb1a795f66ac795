"""What `app-server exec` writes: readable text, or one JSON object a line. Results go to stdout, all else to stderr.

It reads notifications of the protocol, never talks to the server, and says at the end how the run went:

| exit status | when |
|---|---|
| 0 | the turn was completed, and so was every picture in it |
| 1 | the turn failed, or could not begin |
| 3 | the turn was completed, but a picture was not: it failed, or could not be saved as a file |
| 130 | the turn was interrupted |

JSON lines: `thread.started`, `turn.started`, `item.started` (tools), `item.completed`, `error`, and at the end
`turn.completed` with the usage, or `turn.failed`. Members are in snake_case; an item never carries a picture's bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

import orjson

from app_server.clock import Clock
from app_server.commands.demo_view import facts, printable, why_failed

TURN_FAILED: Final = 1
PICTURE_FAILED: Final = 3
INTERRUPTED: Final = 130
_BYTES: Final = frozenset({"result", "thumbnail"})
_SPEECH: Final = frozenset({"agentMessage", "reasoning"})
_USAGE: Final = ("inputTokens", "cachedInputTokens", "outputTokens", "reasoningOutputTokens", "totalTokens")

Item = Mapping[str, Any]


class Form(Protocol):
    """How one kind of output looks."""

    def thread_started(self, thread_id: str) -> None: ...
    def turn_started(self, turn_id: str) -> None: ...
    def item_started(self, item: Item) -> None: ...
    def progress(self, item_id: str, elapsed_ms: int) -> None: ...
    def item_completed(self, item: Item) -> None: ...
    def error(self, message: str, will_retry: bool) -> None: ...
    def turn_completed(self, usage: Mapping[str, int]) -> None: ...
    def turn_failed(self, message: str) -> None: ...


class ExecView:
    """One run: passes on what belongs to it, counts tokens and pictures, and knows the exit status."""

    def __init__(self, form: Form, err: TextIO) -> None:
        self._form, self._err = form, err
        self._usage = dict.fromkeys(_USAGE, 0)
        self._pictures_failed = 0

    def opened(self, thread_id: str) -> None:
        """The thread is there."""
        self._form.thread_started(thread_id)

    def take(self, method: str, params: Mapping[str, Any]) -> None:
        """One notification; those of other turns and of no interest are passed over."""
        match method, params:
            case "turn/started", {"turn": {"id": str(turn_id)}}:
                self._form.turn_started(turn_id)
            case "item/started", {"item": {"type": str(kind)} as item} if kind not in _SPEECH | {"userMessage"}:
                self._form.item_started(item)
            case "item/imageGeneration/progress", {"itemId": str(item_id), "elapsedMs": int(elapsed_ms)}:
                self._form.progress(item_id, elapsed_ms)
            case "item/completed", {"item": {"type": str(kind)} as item} if kind != "userMessage":
                self._completed(item)
            case "thread/tokenUsage/updated", {"tokenUsage": {"last": last}}:
                self._usage = {name: count + int(last.get(name, 0)) for name, count in self._usage.items()}
            case "error", {"error": {"message": str(message)}, "willRetry": bool(will_retry)}:
                self._form.error(message, will_retry)
            case ("warning", {"message": str(message)}) | ("configWarning", {"summary": str(message)}):
                self.complain(f"warning: {message}")

    def ended(self, turn: Mapping[str, Any]) -> int:
        """The turn is over: the exit status."""
        match turn["status"]:
            case "completed":
                self._form.turn_completed(self._usage)
                return PICTURE_FAILED if self._pictures_failed else 0
            case "interrupted":
                self._form.turn_failed("The turn was interrupted.")
                return INTERRUPTED
        self._form.turn_failed((turn.get("error") or {}).get("message") or "The turn failed without a reason.")
        return TURN_FAILED

    def failed(self, message: str) -> int:
        """The turn could not begin, or its end was never told."""
        self._form.error(message, False)
        return TURN_FAILED

    def complain(self, *lines: str) -> None:
        """Sentences for a person, whatever the form."""
        for line in lines:
            self._err.write(printable(line) + "\n")
        self._err.flush()

    def _completed(self, item: Item) -> None:
        if item.get("status") == "dropped":  # half a message, before the model began again
            return
        if item["type"] == "imageGeneration" and not is_saved(item):
            self._pictures_failed += 1
        self._form.item_completed(item)


def is_saved(item: Item) -> bool:
    """Whether a picture is finished and lies on disk."""
    return item.get("status") == "completed" and bool(item.get("savedPath"))


class TextForm:
    """For a person: the agent's words and the pictures on stdout, what happens meanwhile on stderr."""

    def __init__(self, out: TextIO, err: TextIO, clock: Clock) -> None:
        self._out, self._err, self._clock = out, err, clock
        self._started_s: dict[str, float] = {}
        self._last_error = ""

    def thread_started(self, thread_id: str) -> None:
        self._tell(f"thread {thread_id}")

    def turn_started(self, turn_id: str) -> None:
        pass

    def item_started(self, item: Item) -> None:
        if item["type"] == "imageGeneration":
            self._started_s[item["id"]] = self._clock.monotonic_s()
            self._tell("making a picture …")

    def progress(self, item_id: str, elapsed_ms: int) -> None:
        self._tell(f"making a picture … {elapsed_ms // 1000} s")

    def item_completed(self, item: Item) -> None:
        match item:
            case {"type": "agentMessage", "text": str(text)}:
                self._say(text)
            case {"type": "imageGeneration", "id": str(item_id)}:
                self._picture(item, self._started_s.pop(item_id, None))
            case {"type": "imageView", "path": str(path)}:
                self._tell(f"looked at {path}")

    def error(self, message: str, will_retry: bool) -> None:
        self._last_error = message
        self._tell(message)

    def turn_completed(self, usage: Mapping[str, int]) -> None:
        self._tell(f"{usage['totalTokens']} tokens")

    def turn_failed(self, message: str) -> None:
        if message != self._last_error:
            self._tell(message)

    def _picture(self, item: Item, started_s: float | None) -> None:
        if not is_saved(item):
            self._tell(f"no picture: {why_failed(item)}")
            return
        if started_s is not None:
            self._tell(f"made in {self._clock.monotonic_s() - started_s:.1f} s")
        path = Path(item["savedPath"])
        self._say(f"picture: {path} ({facts(item)})")

    def _say(self, text: str) -> None:
        self._out.write(printable(text) + "\n")
        self._out.flush()

    def _tell(self, text: str) -> None:
        self._err.write(printable(text) + "\n")
        self._err.flush()


class JsonForm:
    """For a program: one JSON object a line on stdout."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def thread_started(self, thread_id: str) -> None:
        self._line("thread.started", thread_id=thread_id)

    def turn_started(self, turn_id: str) -> None:
        self._line("turn.started", turn_id=turn_id)

    def item_started(self, item: Item) -> None:
        self._line("item.started", item=json_item(item))

    def progress(self, item_id: str, elapsed_ms: int) -> None:
        pass

    def item_completed(self, item: Item) -> None:
        self._line("item.completed", item=json_item(item))

    def error(self, message: str, will_retry: bool) -> None:
        self._line("error", message=message, will_retry=will_retry)

    def turn_completed(self, usage: Mapping[str, int]) -> None:
        self._line("turn.completed", usage=snake(usage))

    def turn_failed(self, message: str) -> None:
        self._line("turn.failed", error={"message": message})

    def _line(self, kind: str, **members: Any) -> None:
        self._out.write(orjson.dumps({"type": kind, **members}).decode() + "\n")
        self._out.flush()


def json_item(item: Item) -> dict[str, Any]:
    """The item as a line shows it: without bytes and empty members, a summary of reasoning as one text."""
    if item["type"] == "reasoning":
        parts = item.get("summary") or item.get("content") or ()
        return {"id": item["id"], "type": "reasoning", "text": "\n\n".join(parts)}
    kept = {key: value for key, value in item.items() if key not in _BYTES and value is not None}
    return {"id": item["id"], **snake(kept), "type": _snake_word(str(item["type"]))}


def snake(value: Any) -> Any:
    """The value with its member names in snake_case, at every depth."""
    if isinstance(value, Mapping):
        return {_snake_word(str(key)): snake(part) for key, part in value.items()}
    return [snake(part) for part in value] if isinstance(value, (list, tuple)) else value


def _snake_word(word: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", r"_\1", word).lower()
