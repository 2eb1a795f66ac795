"""What a person does in the terminal UI, step by step, what the screen has to show, and what it must never show.

Owns the steps and the reading of screens. Starts nothing: `clients/drive_terminal.py` hands in the kit's terminal, and
runs this in the kit's environment, so only the standard library is imported here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol

NAME: Final = "a boat at sea"
WAIT_S: Final = 20.0

_COMPOSER: Final = "› Ask Codex to do anything"
_FOOTER: Final = r"\S[^\n]* · [~/][^\n]*\S"
SETTLED: Final = rf"(?s)\A(?!.*(esc to interrupt|Working \()).*{_COMPOSER}\s+{_FOOTER}"
"""Nothing runs, no menu is open, and the thread is there."""
_ERROR: Final = re.compile(
    r"[■⚠✗✘]|\b(errors?|failed|failure|panicked|(not |un)supported|unknown|invalid)\b", re.IGNORECASE
)
_MEANT: Final = ("■ Conversation interrupted",)
"""How lines begin that bear a mark and are right: they say what the person has just done."""


class Pane(Protocol):
    """A program in tmux, as the kit drives it (`tuilib.Tmux`)."""

    def screen(self, hist: bool = False) -> str: ...
    def wait(self, pat: str, secs: float = WAIT_S, hist: bool = False) -> bool: ...
    def submit(self, text: str) -> None: ...
    def key(self, *names: str) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A text that is submitted, or else keys that are pressed, and the pattern that the screen answers with.

    `settles`: nothing runs and no menu is open after it."""

    name: str
    text: str = ""
    keys: tuple[str, ...] = ()
    shows: str
    settles: bool = True


SESSION: Final = (
    Step(name="chat", text="hello kit", shows=r"ECHO:hello kit \[n=1\]"),
    Step(name="slow answer", text="SLOW one", shows="tick2", settles=False),
    Step(name="interrupt", keys=("Escape",), shows="Conversation interrupted"),
    Step(name="rename: asks", text="/rename", shows="Name thread", settles=False),
    Step(name="rename", text=NAME, shows=rf"· {NAME}"),
    Step(name="compact", text="/compact", shows=r"• Context compacted"),
    Step(name="chat after compact", text="after compact", shows="ECHO:after compact"),
    Step(name="model: asks", text="/model", shows="Select Model", settles=False),
    Step(name="model: effort", keys=("Down", "Enter"), shows="Select Reasoning Level", settles=False),
    Step(name="model", keys=("Enter",), shows=r"Model changed to \S+"),
    Step(name="chat with the other model", text="other model", shows="ECHO:other model"),
)
_HISTORY: Final = (
    Step(name="first answer", shows=r"ECHO:hello kit \[n=1\]"),
    Step(name="compaction", shows="Context compacted"),
    Step(name="newest answer", shows="ECHO:other model"),
)
RESUME: Final = (*_HISTORY, Step(name="chat after resume", text="resumed", shows="ECHO:resumed"))
FORK: Final = (*_HISTORY, Step(name="chat after fork", text="forked", shows="ECHO:forked"))
PICTURE: Final = (
    Step(name="picture", text="DRAW_PICTURE[a red kite]", shows="picture=yes items="),
    Step(name="picture is shown", shows=r"• Generated Image:\n *└ a red kite\n *└ Saved to: file://"),
)


class StepFailed(Exception):
    """A step did not come out as it should; says which, and what the screen says instead."""


def error_lines(screen: str) -> tuple[str, ...]:
    """The lines that tell of an error, each once, in their order."""
    lines = (line.strip() for line in screen.splitlines())
    found = (line for line in lines if _ERROR.search(line) and not line.startswith(_MEANT))
    return tuple(dict.fromkeys(found))


def footer(screen: str) -> str:
    """The line under the composer: model and effort, folder, name of the thread; empty when there is none."""
    found = re.search(rf"(?s).*{_COMPOSER}\s+({_FOOTER})", screen)
    return found[1] if found else ""


def left_thread(screen: str) -> str | None:
    """The thread that the client names when it ends, for the next `resume`."""
    found = re.search(r"resume\s+([0-9a-f-]{36})", screen.replace("\n", " "))
    return found[1] if found else None


def last_words(screen: str) -> str:
    """The end of a screen, in one line."""
    return " | ".join(line.strip() for line in screen.splitlines() if line.strip())[-400:]


class Terminal:
    """The client in its terminal. Every step is kept in `record`, and fails where an error line shows."""

    def __init__(self, pane: Pane, record: Path) -> None:
        self._pane = pane
        self._record = record

    def __enter__(self) -> Terminal:
        try:
            self._settle("start")
            self._look("start")
        except BaseException:
            self._pane.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pane.close()

    def play(self, steps: Sequence[Step]) -> None:
        """One after another, each to its end."""
        for step in steps:
            if step.text:
                self._pane.submit(step.text)
            elif step.keys:
                self._pane.key(*step.keys)
            self._expect(step.name, step.shows)
            if step.settles:
                self._settle(step.name)
            self._look(step.name)

    def footer(self) -> str:
        """What stands under the composer now."""
        return footer(self._pane.screen())

    def quit(self) -> str:
        """The thread that the client leaves; it ends with status 0."""
        self._pane.submit("/quit")
        self._expect("quit", r"TUI_EXIT_RC=0")
        screen = self._look("quit")
        if (thread := left_thread(screen)) is None:
            raise StepFailed(f"quit: no thread is named to resume: {last_words(screen)}")
        return thread

    def _expect(self, step: str, pattern: str) -> None:
        if not self._pane.wait(pattern, WAIT_S, True):
            raise StepFailed(f"{step}: the screen lacks {pattern!r}: {last_words(self._look(step))}")

    def _settle(self, step: str) -> None:
        if not self._pane.wait(SETTLED, WAIT_S):
            raise StepFailed(f"{step}: the client is not at rest: {last_words(self._look(step))}")

    def _look(self, step: str) -> str:
        screen = self._pane.screen(True)
        with self._record.open("a", encoding="utf-8") as file:
            file.write(f"==== {step}\n{screen}\n")
        if lines := error_lines(screen):
            raise StepFailed(f"{step}: an error on the screen: {' | '.join(lines)[:400]}")
        return screen
