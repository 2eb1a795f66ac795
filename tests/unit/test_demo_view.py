"""What the person at the demo sees, to the letter: on a terminal, in a pipe, and when something goes wrong."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app_server.commands.demo_view import DemoRequest, View, facts, why_failed

OPENED = {"modelProvider": "offline", "model": "offline", "thread": {"id": "t1"}}
HOME = Path("/work/.demo")
SAVED = {
    "type": "imageGeneration",
    "id": "call_1",
    "status": "completed",
    "savedPath": "/work/.demo/generated_images/t1/call_1.png",
    "bytes": 84_000,
    "width": 1024,
    "height": 768,
}
MAKING = {"item": {"type": "imageGeneration", "id": "call_1"}}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class FakeClock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


class Seen:
    """A view with what it wrote."""

    def __init__(self, *, terminal: bool = False, **asked: Any) -> None:
        self.out, self.err, self.clock = Terminal() if terminal else io.StringIO(), io.StringIO(), FakeClock()
        request = DemoRequest(**{"text": "a red fox", "edit": False, "preview": False, "by_make": True, **asked})
        self.view = View(out=self.out, err=self.err, env={}, cwd=Path("/work"), clock=self.clock, request=request)

    def delta(self, text: str, item_id: str = "m1") -> None:
        self.view.take("item/agentMessage/delta", {"itemId": item_id, "delta": text})

    def message(self, text: str, item_id: str = "m1", **more: Any) -> None:
        item = {"type": "agentMessage", "id": item_id, "text": text, **more}
        self.view.take("item/completed", {"item": item})

    def picture(self, item: Mapping[str, Any] = SAVED) -> None:
        self.view.take("item/completed", {"item": item})

    def end(self, status: str = "completed", error: Mapping[str, Any] | None = None) -> int:
        return self.view.turn_completed({"id": "turn", "status": status, "error": error})

    @property
    def texts(self) -> tuple[str, str]:
        return self.out.getvalue(), self.err.getvalue()


def test_a_whole_turn_in_a_pipe_is_plain_lines() -> None:
    seen = Seen()
    seen.view.opened(OPENED, editing=None)
    for piece in ("I pass ", "it on."):
        seen.delta(piece)
    seen.message("I pass it on.")
    seen.view.take("item/started", MAKING)
    assert not seen.view.redraws
    seen.clock.now_s += 1.24
    seen.picture()
    seen.delta("Done.", "m2")
    seen.message("Done.", "m2")
    assert seen.end() == 0
    assert seen.texts == (
        "provider: offline (offline stand-in, not AI)\n"
        "thread:   t1\n"
        "you:      a red fox\n"
        "\n"
        "I pass it on.\n"
        "making the picture …\n"
        "made in 1.2 s\n"
        "picture:  .demo/generated_images/t1/call_1.png (1024×768, 83 KB)\n"
        "Done.\n"
        "\n"
        'edit it:  make demo EDIT="make it night"\n',
        "",
    )


def test_on_a_terminal_the_progress_line_is_redrawn_in_place_and_leaves_nothing() -> None:
    seen = Seen(terminal=True)
    seen.view.take("item/started", MAKING)
    redraws = [seen.view.redraws]
    seen.clock.now_s += 2
    seen.view.tick()
    seen.picture()
    assert [*redraws, seen.view.redraws] == [True, False]
    blank = "\r" + " " * len("making the picture … 0 s") + "\r"
    assert seen.texts[0] == (
        f"making the picture … 0 s{blank}making the picture … 2 s{blank}made in 2.0 s\n"
        "picture:  .demo/generated_images/t1/call_1.png (1024×768, 83 KB)\n"
    )


def test_text_that_comes_while_a_picture_is_made_does_not_mix_with_the_progress_line() -> None:
    seen = Seen(terminal=True)
    seen.view.take("item/started", MAKING)
    seen.delta("Still ")
    seen.view.tick()
    seen.delta("here")
    blank = "\r" + " " * len("making the picture … 0 s") + "\r"
    assert seen.texts[0] == f"making the picture … 0 s{blank}Still \nmaking the picture … 0 s{blank}here"


def test_a_real_provider_is_named_with_its_model_and_the_hint_keeps_it() -> None:
    seen = Seen(provider="openai", home=Path("my home"))
    seen.view.opened({**OPENED, "modelProvider": "openai", "model": "gpt-5.5"}, editing=None)
    seen.picture()
    seen.end()
    lines = seen.texts[0].splitlines()
    assert (lines[0], lines[-1]) == (
        "provider: openai (gpt-5.5)",
        "edit it:  make demo HOME_DIR='my home' PROVIDER=openai EDIT=\"make it night\"",
    )


def test_the_hint_names_the_command_where_make_was_not_used() -> None:
    seen = Seen(by_make=False, home=Path("/tmp/pictures"))
    seen.picture()
    seen.end()
    assert seen.texts[0].splitlines()[-1] == 'edit it:  app-server demo --home /tmp/pictures --edit "make it night"'


def test_an_edit_names_the_picture_that_it_starts_from() -> None:
    seen = Seen(text="make it night", edit=True)
    seen.view.opened(OPENED, editing=Path("/elsewhere/fox.png"))
    assert seen.texts[0].splitlines()[2:4] == ["editing:  /elsewhere/fox.png", "you:      make it night"]


def test_without_a_picture_to_edit_the_command_to_run_first_is_told() -> None:
    seen = Seen()
    seen.view.no_picture()
    assert seen.texts == (
        "",
        'There is no picture to edit in .demo: first run make demo PROMPT="a red fox in the snow"\n',
    )


def test_what_dropped_deltas_left_out_is_printed_from_the_whole_message() -> None:
    seen = Seen()
    seen.delta("One ")
    seen.message("One two.")
    seen.message("Three.", "m2")
    assert seen.texts[0] == "One two.\nThree.\n"


def test_a_message_that_was_cut_off_says_so() -> None:
    seen = Seen()
    seen.delta("One ")
    seen.message("One ", status="dropped")
    assert seen.texts[0] == "One  … (cut off, starting again)\n"


def test_control_characters_of_a_model_never_reach_the_terminal() -> None:
    seen = Seen()
    seen.delta("a\x1b]0;title\x07b\r\n\tc\x9b2J 🦊")
    seen.view.complain("x\x1b[2Jy")
    assert seen.texts == ("a]0;titleb\n\tc2J 🦊\n", "x[2Jy\n")


def test_warnings_and_retries_go_to_stderr_below_the_text() -> None:
    seen = Seen()
    seen.delta("Half")
    seen.view.take("error", {"error": {"message": "Reconnecting... 1/5"}, "willRetry": True})
    seen.view.take("warning", {"message": "The disk is nearly full."})
    seen.view.take("configWarning", {"summary": "Unknown feature x.", "details": None})
    seen.view.take("error", {"error": {"message": "told by the end of the turn"}, "willRetry": False})
    assert seen.texts == (
        "Half\n",
        "Reconnecting... 1/5\nwarning: The disk is nearly full.\nwarning: Unknown feature x.\n",
    )


def test_a_failed_turn_tells_its_error_and_fails() -> None:
    seen = Seen()
    error = {"message": "Set OPENAI_API_KEY.", "additionalDetails": "No key for the provider openai."}
    assert (seen.end("failed", error), seen.texts) == (
        1,
        ("", "Set OPENAI_API_KEY.\nNo key for the provider openai.\n"),
    )


def test_an_interrupted_turn_fails() -> None:
    seen = Seen()
    assert (seen.end("interrupted"), seen.texts[1]) == (1, "The turn ended as interrupted, without a picture.\n")


def test_a_failed_picture_tells_its_error_and_fails_the_demo() -> None:
    seen = Seen()
    seen.view.take("item/started", MAKING)
    seen.picture(
        {"type": "imageGeneration", "id": "call_1", "status": "failed", "error": {"message": "The API is busy."}}
    )
    assert (seen.end(), seen.texts) == (1, ("making the picture …\n", "The API is busy.\n"))


def test_a_turn_without_a_picture_fails_the_demo() -> None:
    seen = Seen()
    assert (seen.end(), seen.texts[1]) == (
        1,
        "The turn ended without a picture; ask for one in other words, or try another --model.\n",
    )


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"error": {"type": "timeout", "message": "It took too long."}}, "It took too long."),
        (
            {"failure": {"type": "usageLimitExceeded", "limitId": "image_gen", "resetsAt": 1}},
            "The usage limit for pictures is reached (image_gen); try again when it has been reset.",
        ),
        (
            {"status": "completed", "result": "AAAA"},
            "The picture was made but has no file: the storage keeps none, or the warning above says why.",
        ),
        (
            {"status": "cancelled", "result": "", "failure": None},
            "The picture was not made: its item ended as cancelled, without a reason.",
        ),
    ],
)
def test_every_way_to_miss_a_picture_has_a_sentence(item: dict[str, Any], told: str) -> None:
    assert why_failed(item) == told


def test_facts_come_from_the_file_where_the_item_has_none(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (20, 10)).save(path)
    assert facts({"savedPath": str(path)}) == "20×10, 1 KB"


def test_a_file_that_is_gone_is_told_in_place_of_its_facts(tmp_path: Path) -> None:
    assert facts({"savedPath": str(tmp_path / "a.png")}).startswith("cannot be read: [Errno 2]")


def test_the_preview_follows_the_path(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (1, 1), "red").save(path)
    seen = Seen(terminal=True, preview=True)
    seen.picture({**SAVED, "savedPath": str(path)})
    assert seen.texts[0] == f"picture:  {path} (1024×768, 83 KB)\n\x1b[38;5;196m▀\x1b[0m\n"
