"""What the person at `app-server demo` asked for, and what they see of it.

Owns every byte that the demo writes: the text as it comes, a line while a picture is made, the saved path, the preview,
and sentences on stderr. It reads notifications of the protocol and never talks to the server. `commands/demo.py` is the
only caller.
"""

from __future__ import annotations

import math
import shlex
import shutil
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from app_server.clock import Clock
from app_server.commands.demo_options import DEFAULT_HOME, DEFAULT_PROMPT, OFFLINE
from app_server.commands.preview import preview
from app_server.values import frozen


@frozen
class DemoRequest:
    """What the person asked for. `by_make` decides how the hints name the command."""

    text: str
    edit: bool
    provider: str = OFFLINE
    model: str | None = None
    home: Path = Path(DEFAULT_HOME)
    preview: bool = True
    timeout_s: float = 180.0
    by_make: bool = False


class View:
    """What the person sees: the text as it comes, a line while a picture is made, the picture, and what went wrong.

    On a terminal the progress line is redrawn in place; elsewhere it is one line at the start and one at the end.
    """

    def __init__(
        self, *, out: TextIO, err: TextIO, env: Mapping[str, str], cwd: Path, clock: Clock, request: DemoRequest
    ) -> None:
        self.cwd = cwd
        self._out, self._err, self._env, self._clock, self._request = out, err, env, clock, request
        self._texts: dict[str, str] = {}  # what was printed of each message, by item
        self._making: dict[str, float] = {}  # when each open picture was started, by item
        self._progress = ""  # the line that stands in the terminal now, without its end
        self._mid_line = False
        self._saved = self._failed = 0

    @property
    def redraws(self) -> bool:
        """Whether `tick` has something to redraw."""
        return bool(self._making) and self._out.isatty()

    def opened(self, reply: Mapping[str, Any], *, editing: Path | None) -> None:
        """The thread is there: say which provider answers, and what is asked."""
        provider = reply["modelProvider"]
        note = " (offline stand-in, not AI)" if provider == OFFLINE else f" ({reply['model']})"
        self._line(f"provider: {provider}{note}")
        self._line(f"thread:   {reply['thread']['id']}")
        if editing is not None:
            self._line(f"editing:  {self._shown(editing)}")
        self._line(f"you:      {self._request.text}")
        self._line("")

    def no_picture(self) -> None:
        first = self._command(f'PROMPT="{DEFAULT_PROMPT}"', f'"{DEFAULT_PROMPT}"')
        self.complain(f"There is no picture to edit in {self._shown(self._request.home)}: first run {first}")

    def take(self, method: str, params: Mapping[str, Any]) -> None:
        """One notification of the turn."""
        match method, params:
            case "item/agentMessage/delta", {"itemId": str(item_id), "delta": str(delta)}:
                self._text(item_id, delta)
            case "item/completed", {"item": {"type": "agentMessage", "id": str(item_id), "text": str(text)} as item}:
                self._message_completed(item_id, text, dropped=item.get("status") == "dropped")
            case "item/started", {"item": {"type": "imageGeneration", "id": str(item_id)}}:
                self._making[item_id] = self._clock.monotonic_s()
                if self.redraws:
                    self.tick()
                else:
                    self._line("making the picture …")
            case "item/completed", {"item": {"type": "imageGeneration"} as item}:
                self._picture_completed(item)
            case "error", {"willRetry": True, "error": {"message": str(message)}}:
                self.complain(message)
            case "warning", {"message": str(message)}:
                self.complain(f"warning: {message}")
            case "configWarning", {"summary": str(summary)}:
                self.complain(f"warning: {summary}")

    def tick(self) -> None:
        """Redraw the progress line."""
        elapsed_s = self._clock.monotonic_s() - min(self._making.values())
        self._end_text()
        self._progress = f"making the picture … {elapsed_s:.0f} s"
        self._out.write(self._progress)
        self._out.flush()

    def turn_completed(self, turn: Mapping[str, Any]) -> int:
        """The last word: the exit status, and on success how to go on."""
        self._end_text()
        if turn["status"] != "completed":
            error = turn.get("error") or {}
            message = error.get("message") or f"The turn ended as {turn['status']}, without a picture."
            self.complain(message, error.get("additionalDetails") or "")
            return 1
        if self._failed:
            return 1
        if not self._saved:
            self.complain("The turn ended without a picture; ask for one in other words, or try another --model.")
            return 1
        self._line("")
        self._line("edit it:  " + self._command('EDIT="make it night"', '--edit "make it night"'))
        return 0

    def complain(self, *lines: str) -> None:
        """Sentences on stderr, below what stands on stdout."""
        self._end_text()
        self._out.flush()
        for line in filter(None, lines):
            self._err.write(printable(line) + "\n")
        self._err.flush()

    def _text(self, item_id: str, delta: str) -> None:
        if not self._texts.get(item_id):
            self._end_text()
        self._erase_progress()
        self._texts[item_id] = self._texts.get(item_id, "") + delta
        self._out.write(printable(delta))
        self._out.flush()
        self._mid_line = not self._texts[item_id].endswith("\n")

    def _message_completed(self, item_id: str, text: str, *, dropped: bool) -> None:
        shown = self._texts.get(item_id, "")
        if text.startswith(shown) and text != shown:  # deltas may be dropped for a slow reader, the item is whole
            self._text(item_id, text[len(shown) :])
        if dropped:
            self._text(item_id, " … (cut off, starting again)")
        self._end_text()

    def _picture_completed(self, item: Mapping[str, Any]) -> None:
        self._end_text()
        started_s = self._making.pop(item["id"], None)
        path = item.get("savedPath")
        if path is None:
            self._failed += 1
            self.complain(why_failed(item))
            return
        self._saved += 1
        if started_s is not None:
            self._line(f"made in {self._clock.monotonic_s() - started_s:.1f} s")
        self._line(f"picture:  {self._shown(Path(path))} ({facts(item)})")
        if self._request.preview:
            preview(Path(path), self._out, self._env, shutil.get_terminal_size().columns)

    def _line(self, text: str) -> None:
        self._end_text()
        self._out.write(printable(text) + "\n")
        self._out.flush()

    def _end_text(self) -> None:
        self._erase_progress()
        if self._mid_line:
            self._out.write("\n")
            self._mid_line = False

    def _erase_progress(self) -> None:
        if self._progress:
            self._out.write("\r" + " " * len(self._progress) + "\r")
            self._progress = ""

    def _shown(self, path: Path) -> str:
        absolute = self.cwd / path
        return str(absolute.relative_to(self.cwd)) if absolute.is_relative_to(self.cwd) else str(absolute)

    def _command(self, by_make: str, by_name: str) -> str:
        home, provider = str(self._request.home), self._request.provider
        home_key, provider_key, command = "--home ", "--provider ", ["app-server demo"]
        if self._request.by_make:
            home_key, provider_key, command = "HOME_DIR=", "PROVIDER=", ["make demo"]
        if home != DEFAULT_HOME:
            command.append(home_key + shlex.quote(home))
        if provider != OFFLINE:
            command.append(provider_key + shlex.quote(provider))
        return " ".join([*command, by_make if self._request.by_make else by_name])


def why_failed(item: Mapping[str, Any]) -> str:
    """One sentence on a picture that was not saved, from the completed item."""
    match item:
        case {"error": {"message": str(message)}}:
            return message
        case {"failure": {"type": "usageLimitExceeded", "limitId": str(limit)}}:
            return f"The usage limit for pictures is reached ({limit}); try again when it has been reset."
        case {"result": str(result)} if result:
            return "The picture was made but has no file: the storage keeps none, or the warning above says why."
    return f"The picture was not made: its item ended as {item.get('status')}, without a reason."


def facts(item: Mapping[str, Any]) -> str:
    """Dimensions and size of a saved picture: what the item says, else what the file is."""
    size_bytes, width, height = item.get("bytes"), item.get("width"), item.get("height")
    if None in (size_bytes, width, height):
        from PIL import Image  # not at the top: the server's command line imports this module

        path = Path(item["savedPath"])
        try:
            size_bytes = path.stat().st_size
            with Image.open(path) as image:
                width, height = image.size
        except OSError as error:
            return f"cannot be read: {error}"
    return f"{width}×{height}, {math.ceil(int(size_bytes or 0) / 1024)} KB"


def printable(text: str) -> str:
    """Text of others without control characters: a model must not steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
