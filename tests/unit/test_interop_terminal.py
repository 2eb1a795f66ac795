"""What a screen of the terminal UI says, and when a step of `make interop` in it fails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.interop.terminal import SETTLED, Step, StepFailed, Terminal, error_lines, footer, last_words, left_thread

THREAD = "01a20494-3ba7-7120-9771-873038b06604"
CALM = """
› hello
• ECHO:hello

› Ask Codex to do anything

  GPT-6-Sol low · /home/me/work · a boat at sea
  ← for agents · ? for shortcuts
"""
NAMING = "› hello\n  Name thread\n› Type a name and press Enter\n  enter submit · esc back\n"
ENDED = f"To reconnect, run:\n  codex --remote ws://127.0.0.1:1/ resume {THREAD}\nTUI_EXIT_RC=0\n"


class FakePane:
    """Shows the next screen after each text or key; notes what it was told."""

    def __init__(self, *screens: str) -> None:
        self.screens = list(screens)
        self.told: list[str] = []

    def screen(self, hist: bool = False) -> str:
        return self.screens[0]

    def wait(self, pat: str, secs: float = 0, hist: bool = False) -> bool:
        return re.search(pat, self.screens[0]) is not None

    def submit(self, text: str) -> None:
        self._next(text)

    def key(self, *names: str) -> None:
        self._next(*names)

    def close(self) -> None:
        self.told.append("closed")

    def _next(self, *words: str) -> None:
        self.told += words
        del self.screens[0]


def failure(pane: FakePane, steps: Sequence[Step], record: Path) -> str:
    with pytest.raises(StepFailed) as caught, Terminal(pane, record) as terminal:
        terminal.play(steps)
    return str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "■ thread/name/set failed",
        "⚠ the model is slow today",
        "✗ nothing came",
        "Error: bad request",
        "stream ERROR at 3",
        "the request Failed",
        "thread/compact/start is not supported yet",
        "Unsupported feature",
        "unknown method",
        "Invalid request",
    ],
)
def test_a_line_with_a_mark_or_a_word_of_an_error_is_found(line: str) -> None:
    assert error_lines(f"› hello\n  {line}\n• ECHO:hello") == (line,)


def test_an_error_line_that_stands_there_twice_is_told_once() -> None:
    assert error_lines("■ no\n■ no\n■ never") == ("■ no", "■ never")


def test_what_a_calm_client_shows_is_no_error() -> None:
    assert error_lines(CALM + "• a mirrored terror was unfailing\n■ Conversation interrupted - use /feedback") == ()


def test_the_footer_is_the_line_under_the_composer() -> None:
    assert footer(CALM) == "GPT-6-Sol low · /home/me/work · a boat at sea"


def test_a_screen_with_an_open_menu_has_no_footer() -> None:
    assert footer("  a · /b\n" + NAMING) == ""


@pytest.mark.parametrize(
    ("screen", "settled"),
    [
        (CALM, True),
        ("• Working (2s · esc to interrupt)\n" + CALM, False),
        (CALM.replace("GPT-6-Sol low · /home/me/work · a boat at sea", ""), False),
        (NAMING, False),
    ],
)
def test_a_client_is_settled_when_nothing_runs_and_no_menu_is_open(screen: str, settled: bool) -> None:
    assert (re.search(SETTLED, screen) is not None) is settled


def test_the_thread_to_resume_is_read_off_the_last_screen() -> None:
    assert (left_thread(ENDED), left_thread(ENDED.replace("resume ", "resume\n  ")), left_thread(CALM)) == (
        THREAD,
        THREAD,
        None,
    )


def test_the_last_words_of_a_screen_fit_on_a_line() -> None:
    assert last_words("a\n\n   b  \n") == "a | b"
    assert last_words("x" * 500) == "x" * 400


def test_steps_are_played_in_order_and_every_screen_is_kept(tmp_path: Path) -> None:
    pane = FakePane(CALM, NAMING, CALM, ENDED)
    steps = (
        Step(name="asks", keys=("F2", "Enter"), shows="Name thread", settles=False),
        Step(name="rename", text="a boat at sea", shows="· a boat at sea"),
    )
    with Terminal(pane, tmp_path / "screens") as terminal:
        terminal.play(steps)
        ended = (terminal.footer(), terminal.quit())
    assert ended == ("GPT-6-Sol low · /home/me/work · a boat at sea", THREAD)
    assert pane.told == ["F2", "Enter", "a boat at sea", "/quit", "closed"]
    shown = (("start", CALM), ("asks", NAMING), ("rename", CALM), ("quit", ENDED))
    assert (tmp_path / "screens").read_text(encoding="utf-8") == "".join(f"==== {a}\n{b}\n" for a, b in shown)


def test_a_step_after_which_an_error_shows_fails_although_it_came_out(tmp_path: Path) -> None:
    pane = FakePane(CALM, "■ no name for you\n" + CALM)
    why = failure(pane, [Step(name="rename", text="x", shows="a boat")], tmp_path / "screens")
    assert (why, pane.told) == ("rename: an error on the screen: ■ no name for you", ["x", "closed"])


def test_a_step_that_the_screen_does_not_answer_fails_with_what_is_there_instead(tmp_path: Path) -> None:
    pane = FakePane(CALM, "• nothing of the kind")
    why = failure(pane, [Step(name="compact", text="/compact", shows="Context compacted")], tmp_path / "screens")
    assert why == "compact: the screen lacks 'Context compacted': • nothing of the kind"


def test_a_client_that_does_not_come_to_rest_fails(tmp_path: Path) -> None:
    pane = FakePane(CALM, "esc to interrupt\n• done")
    why = failure(pane, [Step(name="chat", text="x", shows="done")], tmp_path / "screens")
    assert why == "chat: the client is not at rest: esc to interrupt | • done"


def test_a_client_that_does_not_start_is_closed(tmp_path: Path) -> None:
    pane = FakePane("TUI_EXIT_RC=1")
    assert failure(pane, [], tmp_path / "screens") == "start: the client is not at rest: TUI_EXIT_RC=1"
    assert pane.told == ["closed"]


def test_an_end_that_names_no_thread_fails(tmp_path: Path) -> None:
    pane = FakePane(CALM, "TUI_EXIT_RC=0")
    with pytest.raises(StepFailed) as caught, Terminal(pane, tmp_path / "screens") as terminal:
        terminal.quit()
    assert str(caught.value) == "quit: no thread is named to resume: TUI_EXIT_RC=0"
