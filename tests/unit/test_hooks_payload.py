"""What a hook reads: the reference's members, and never the bytes of a picture."""

import orjson
import pytest

from app_server.extension_api.tools import ToolName
from app_server.hooks.payload import (
    MAX_RESPONSE_BYTES,
    HookTurn,
    permission_mode,
    post_payload,
    pre_payload,
    without_bytes,
)

TURN = HookTurn(thread_id="t1", turn_id="u1", cwd="/work", model="gpt-5.5", permission_mode="default")
TOOL = ToolName("image_gen", "imagegen")
PRE = {
    "session_id": "t1",
    "turn_id": "u1",
    "transcript_path": None,
    "cwd": "/work",
    "hook_event_name": "PreToolUse",
    "model": "gpt-5.5",
    "permission_mode": "default",
    "tool_name": "image_gen.imagegen",
    "tool_input": {"prompt": "a fox"},
    "tool_use_id": "call_1",
}


def test_before_a_tool_the_call_is_told() -> None:
    assert pre_payload(TURN, TOOL, "call_1", '{"prompt":"a fox"}') == PRE


def test_after_a_tool_its_small_response_is_added() -> None:
    assert post_payload(TURN, TOOL, "call_1", '{"prompt":"a fox"}', {"path": "/p.png", "bytes": 9}) == {
        **PRE,
        "hook_event_name": "PostToolUse",
        "tool_response": {"path": "/p.png", "bytes": 9},
    }


def test_arguments_that_are_no_json_are_told_as_they_are() -> None:
    assert pre_payload(TURN, TOOL, "call_1", '{"prompt":') == {**PRE, "tool_input": '{"prompt":'}


def test_pictures_in_the_arguments_are_replaced_wherever_they_stand() -> None:
    arguments = {"a": ["look: data:image/png;base64," + "A" * 40 + " !"], "b": {"c": "QUJD" * 200 + "=="}, "n": 1}
    assert without_bytes(arguments) == {
        "a": ["look: [image/png, 62 characters left out] !"],
        "b": {"c": "[base64, 802 characters left out]"},
        "n": 1,
    }


def test_a_response_beyond_its_bound_is_left_out() -> None:
    payload = post_payload(TURN, TOOL, "call_1", "{}", {"words": "a b " * 2000})
    assert payload["tool_response"] == {"omitted": "the tool's response has 8012 bytes, more than 4096"}
    assert len(orjson.dumps(payload)) < MAX_RESPONSE_BYTES


@pytest.mark.parametrize(
    ("policy", "mode"), [("never", "bypassPermissions"), ("on-request", "default"), ({"granular": {}}, "default")]
)
def test_the_permission_mode_says_whether_anybody_is_asked(policy: object, mode: str) -> None:
    assert permission_mode(policy) == mode
