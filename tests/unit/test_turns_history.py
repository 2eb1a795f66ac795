"""What the model is sent: items as data, upstream items on their way back, open calls, pictures by reference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_server.extension_api import Content, PictureContent, PictureRef, TextContent
from app_server.turns.history import (
    call_output,
    from_upstream,
    labelled,
    message,
    picture_part,
    turn_aborted_note,
    unanswered_calls,
    user_message,
)

REF = PictureRef(sha256="a" * 64, mime="image/png", size_bytes=3, width=1, height=2)
JSON_REF = {"sha256": "a" * 64, "mime": "image/png", "bytes": 3, "width": 1, "height": 2}
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def without_id(item: dict[str, Any], prefix: str) -> dict[str, Any]:
    assert item["id"].startswith(prefix)
    return {key: value for key, value in item.items() if key != "id"}


def test_messages_have_an_id_a_role_and_their_texts_as_parts() -> None:
    assert without_id(message("developer", "a", "b"), "msg_") == {
        "type": "message",
        "role": "developer",
        "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}],
    }
    assert without_id(user_message([{"type": "input_text", "text": "hi"}]), "msg_") == {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": "hi"}],
    }
    note = turn_aborted_note()
    assert note["role"] == "user"
    assert note["content"][0]["text"].startswith("<turn_aborted>\n")
    assert note["content"][0]["text"].endswith("\n</turn_aborted>")


@pytest.mark.parametrize(
    ("kind", "wanted", "prefix"),
    [
        ("function_call", "function_call_output", "fco_"),
        ("custom_tool_call", "custom_tool_call_output", "ctco_"),
        ("call_of_tomorrow", "function_call_output", "fco_"),
    ],
)
def test_an_output_answers_its_call_in_the_form_of_the_call(kind: str, wanted: str, prefix: str) -> None:
    made = call_output({"type": kind, "call_id": "c1"}, "done")
    assert without_id(made, prefix) == {"type": wanted, "call_id": "c1", "output": "done"}


def test_an_output_of_parts_keeps_their_order_and_pictures_by_reference() -> None:
    parts: list[Content] = [
        PictureContent(picture=REF, handle="img_2"),
        TextContent(text="hint"),
        PictureContent(picture=REF),
    ]
    assert call_output({"type": "function_call", "call_id": "c1"}, parts)["output"] == [
        {"type": "input_image", "picture": JSON_REF, "detail": "high", "handle": "img_2"},
        {"type": "input_text", "text": "hint"},
        {"type": "input_image", "picture": JSON_REF, "detail": "high"},
    ]


def test_the_users_pictures_are_named_in_order_and_texts_stay_as_they_are() -> None:
    handles = iter(["img_4", "img_5"])
    text = {"type": "input_text", "text": "look"}
    local = {**picture_part(REF, "auto"), "path": "/w/a.png"}
    assert labelled([text, local, picture_part(REF, "high"), text], lambda: next(handles)) == [
        text,
        {"type": "input_text", "text": '<image name=[Image #1] handle=img_4 path="/w/a.png">'},
        {"type": "input_image", "picture": JSON_REF, "detail": "auto", "handle": "img_4"},
        {"type": "input_text", "text": "</image>"},
        {"type": "input_text", "text": "<image name=[Image #2] handle=img_5>"},
        {"type": "input_image", "picture": JSON_REF, "detail": "high", "handle": "img_5"},
        {"type": "input_text", "text": "</image>"},
        text,
    ]


@pytest.mark.parametrize(
    ("given_item", "kept"),
    [
        (
            {
                "type": "message",
                "id": "m",
                "status": "completed",
                "role": "assistant",
                "phase": None,
                "content": [
                    {"type": "output_text", "text": "a", "logprobs": [], "annotations": None},
                    {"type": "refusal", "refusal": "no"},
                ],
            },
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "content": [
                    {"type": "output_text", "text": "a", "annotations": []},
                    {"type": "refusal", "refusal": "no"},
                ],
            },
        ),
        (
            {"type": "message", "id": "m", "role": "assistant", "phase": "final_answer", "content": None},
            {"type": "message", "id": "m", "role": "assistant", "phase": "final_answer", "content": []},
        ),
        (
            {"type": "reasoning", "id": "r", "status": "completed", "encrypted_content": "x", "content": [1]},
            {"type": "reasoning", "id": "r", "summary": [], "content": None, "encrypted_content": "x"},
        ),
        (
            {
                "type": "function_call",
                "id": "f",
                "status": "completed",
                "name": "n",
                "namespace": "s",
                "arguments": "{}",
                "call_id": "c",
            },
            {"type": "function_call", "id": "f", "name": "n", "namespace": "s", "arguments": "{}", "call_id": "c"},
        ),
        (
            {"type": "function_call", "name": "n", "namespace": None, "arguments": "", "call_id": "c"},
            {"type": "function_call", "name": "n", "arguments": "", "call_id": "c"},
        ),
        ({"type": "web_search_call", "status": "completed"}, {"type": "web_search_call", "status": "completed"}),
    ],
)
def test_an_upstream_item_goes_back_without_what_only_described_its_making(
    given_item: dict[str, Any], kept: dict[str, Any]
) -> None:
    before = copy.deepcopy(given_item)
    assert from_upstream(given_item) == kept
    assert given_item == before


def call(call_id: str, kind: str = "function_call") -> dict[str, Any]:
    return {"type": kind, "call_id": call_id}


def test_calls_without_an_output_are_found_in_order() -> None:
    assert unanswered_calls(
        [
            call("a"),
            call("b", "custom_tool_call"),
            call("c"),
            {"type": "message"},
            {"type": "image_generation_call"},
            call("a", "function_call_output"),
            call("stray", "function_call_output"),
        ]
    ) == [call("b", "custom_tool_call"), call("c")]


CALLS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["function_call", "custom_tool_call", "function_call_output"])),
    max_size=12,
)


@patient
@given(CALLS)
def test_answering_what_is_unanswered_leaves_nothing_unanswered(entries: list[tuple[str, str]]) -> None:
    history = [call(call_id, kind) for call_id, kind in entries]
    answers = [call_output(each, "done") for each in unanswered_calls(history)]
    assert unanswered_calls([*history, *answers]) == []
