"""What `app-server exec` writes for each notification, in both forms, and the exit status at the end."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.commands.exec_view import ExecView, Form, JsonForm, TextForm, json_item

Frame = tuple[str, dict[str, Any]]


class SteppingClock:
    """Half a second passes at every look."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        self._now_s += 0.5
        return self._now_s


def picture(status: str = "completed", **members: Any) -> dict[str, Any]:
    return {"type": "imageGeneration", "id": "call_1", "status": status, "result": "", **members}


SAVED = picture(
    savedPath="/p/call_1.png",
    mimeType="image/png",
    bytes=2049,
    width=8,
    height=4,
    sha256="ab",
    hasAlpha=False,
    failure=None,
)
FAILED = picture("failed", error={"type": "rateLimited", "message": "Too many.", "retryAfterMs": None})
USAGE = {
    "tokenUsage": {
        "last": {
            "totalTokens": 150,
            "inputTokens": 120,
            "cachedInputTokens": 20,
            "cacheWriteInputTokens": 0,
            "outputTokens": 30,
            "reasoningOutputTokens": 5,
        }
    }
}


def started(item: dict[str, Any]) -> Frame:
    return "item/started", {"item": item}


def done(item: dict[str, Any]) -> Frame:
    return "item/completed", {"item": item}


def message(text: str, **members: Any) -> dict[str, Any]:
    return {"type": "agentMessage", "id": "msg_1", "text": text, **members}


TURN: list[Frame] = [
    ("turn/started", {"turn": {"id": "turn-1"}}),
    started({"type": "userMessage", "id": "u", "content": []}),
    done({"type": "userMessage", "id": "u", "content": []}),
    done({"type": "reasoning", "id": "rs", "summary": ["First.", "Then."], "content": []}),
    started(message("")),
    done(message("half a", status="dropped")),
    done(message("Here it comes.\x1b[2J")),
    started(picture("in_progress", prompt="a fox")),
    ("item/imageGeneration/progress", {"itemId": "call_1", "elapsedMs": 5900}),
    done({**SAVED, "result": "aGVsbG8=", "thumbnail": "data:…"}),
    done({"type": "imageView", "id": "v", "path": "/w/a.png"}),
    ("thread/tokenUsage/updated", USAGE),
    ("warning", {"threadId": None, "message": "Mind this."}),
    ("configWarning", {"summary": "And that.", "details": None}),
    ("error", {"error": {"message": "Reconnecting... 1/5"}, "willRetry": True}),
    ("thread/tokenUsage/updated", USAGE),
    ("some/other", {}),
]


def shown(make: type[JsonForm] | type[TextForm], frames: list[Frame], turn: dict[str, Any]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a run."""
    out, err = io.StringIO(), io.StringIO()
    form: Form = JsonForm(out) if make is JsonForm else TextForm(out, err, SteppingClock())
    view = ExecView(form, err)
    view.opened("thread-1")
    for method, params in frames:
        view.take(method, params)
    return view.ended(turn), out.getvalue(), err.getvalue()


def lines(text: str) -> list[Any]:
    return [orjson.loads(line) for line in text.splitlines()]


def test_text_gives_words_and_pictures_on_stdout_and_the_rest_on_stderr() -> None:
    status, out, err = shown(TextForm, TURN, {"status": "completed"})
    assert (status, out) == (0, f"Here it comes.[2J\npicture: {Path('/p/call_1.png')} (8×4, 3 KB)\n")
    assert err.splitlines() == [
        "thread thread-1",
        "making a picture …",
        "making a picture … 5 s",
        "made in 0.5 s",
        "looked at /w/a.png",
        "warning: Mind this.",
        "warning: And that.",
        "Reconnecting... 1/5",
        "300 tokens",
    ]


def test_json_gives_one_object_a_line_without_the_bytes_of_pictures() -> None:
    status, out, err = shown(JsonForm, TURN, {"status": "completed"})
    assert (status, err) == (0, "warning: Mind this.\nwarning: And that.\n")
    assert lines(out) == [
        {"type": "thread.started", "thread_id": "thread-1"},
        {"type": "turn.started", "turn_id": "turn-1"},
        {"type": "item.completed", "item": {"id": "rs", "type": "reasoning", "text": "First.\n\nThen."}},
        {"type": "item.completed", "item": {"id": "msg_1", "type": "agent_message", "text": "Here it comes.\x1b[2J"}},
        {
            "type": "item.started",
            "item": {"id": "call_1", "type": "image_generation", "status": "in_progress", "prompt": "a fox"},
        },
        {
            "type": "item.completed",
            "item": {
                "id": "call_1",
                "type": "image_generation",
                "status": "completed",
                "saved_path": "/p/call_1.png",
                "mime_type": "image/png",
                "bytes": 2049,
                "width": 8,
                "height": 4,
                "sha256": "ab",
                "has_alpha": False,
            },
        },
        {"type": "item.completed", "item": {"id": "v", "type": "image_view", "path": "/w/a.png"}},
        {"type": "error", "message": "Reconnecting... 1/5", "will_retry": True},
        {
            "type": "turn.completed",
            "usage": {
                "input_tokens": 240,
                "cached_input_tokens": 40,
                "output_tokens": 60,
                "reasoning_output_tokens": 10,
                "total_tokens": 300,
            },
        },
    ]


@pytest.mark.parametrize(
    ("items", "turn", "status", "told"),
    [
        ([], {"status": "completed"}, 0, "0 tokens"),
        ([SAVED], {"status": "completed"}, 0, "0 tokens"),
        ([SAVED, FAILED], {"status": "completed"}, 3, "no picture: Too many."),
        (
            [picture("cancelled", error={"type": "cancelled", "message": "Stopped."})],
            {"status": "completed"},
            3,
            "no picture: Stopped.",
        ),
        ([picture(bytes=5)], {"status": "completed"}, 3, "no picture: "),
        ([FAILED], {"status": "failed", "error": {"message": "Upstream is gone."}}, 1, "Upstream is gone."),
        ([], {"status": "failed", "error": None}, 1, "The turn failed without a reason."),
        ([FAILED], {"status": "interrupted", "error": None}, 130, "The turn was interrupted."),
    ],
)
def test_the_exit_status_tells_how_turn_and_pictures_went(
    items: list[dict[str, Any]], turn: dict[str, Any], status: int, told: str
) -> None:
    ended, _, err = shown(TextForm, [done(item) for item in items], turn)
    assert (ended, told in err) == (status, True)
    failed = shown(JsonForm, [done(item) for item in items], turn)
    assert failed[0] == status
    assert lines(failed[1])[-1]["type"] == ("turn.completed" if turn["status"] == "completed" else "turn.failed")


def test_an_error_that_ends_the_turn_is_told_once_to_a_person() -> None:
    frames: list[Frame] = [("error", {"error": {"message": "Upstream is gone."}, "willRetry": False})]
    turn = {"status": "failed", "error": {"message": "Upstream is gone."}}
    assert shown(TextForm, frames, turn)[2] == "thread thread-1\nUpstream is gone.\n"
    assert lines(shown(JsonForm, frames, turn)[1])[1:] == [
        {"type": "error", "message": "Upstream is gone.", "will_retry": False},
        {"type": "turn.failed", "error": {"message": "Upstream is gone."}},
    ]


def test_a_line_survives_line_breaks_and_separators_in_the_text() -> None:
    out = io.StringIO()
    JsonForm(out).item_completed(message("one\ntwo\u2028three\r"))
    assert out.getvalue().count("\n") == 1
    assert orjson.loads(out.getvalue())["item"]["text"] == "one\ntwo\u2028three\r"


def test_members_are_in_snake_case_at_every_depth() -> None:
    item = picture(inputImages=[{"path": "/a", "sha256": "x"}], error={"retryAfterMs": 1}, effectiveParameters={"n": 1})
    assert json_item(item) == {
        "id": "call_1",
        "type": "image_generation",
        "status": "completed",
        "input_images": [{"path": "/a", "sha256": "x"}],
        "error": {"retry_after_ms": 1},
        "effective_parameters": {"n": 1},
    }
