"""The offline stand-in: which rule answers what, and what its tool calls say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # ships no types

from app_server.providers.base import (
    Completed,
    ItemAdded,
    ItemDone,
    ModelRequest,
    RateLimits,
    TextDelta,
    TokenUsage,
)
from app_server.providers.offline import OfflineProvider
from app_server.providers.offline_replies import STAND_IN, Call, Say, decide, sample_of, text_chars

NAMESPACE_TOOL = {
    "type": "namespace",
    "name": "image_gen",
    "description": "Pictures.",
    "tools": [{"type": "function", "name": "imagegen"}],
}
PLAIN_TOOL = {"type": "function", "name": "image_gen__imagegen"}
HOSTED_TOOL = {"type": "image_generation", "output_format": "png"}
PICTURE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "high"}
CONTEXT = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "<environment_context>cwd</environment_context>"}],
}
DRAWN: list[dict[str, Any]] = [
    {"type": "function_call", "call_id": "c", "namespace": "image_gen", "name": "imagegen", "arguments": "{}"},
    {
        "type": "function_call_output",
        "call_id": "c",
        "output": [PICTURE, {"type": "input_text", "text": "Saved as /home/x/c.png."}],
    },
]
TO_TOOL = f"{STAND_IN}: I pass your words to the image tool."
TO_TOOL_WITH_PICTURE = f"{STAND_IN}: I pass your words and the picture to the image tool."


def user(text: str, *pictures: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}, *pictures]}


def request(
    *items: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] = (NAMESPACE_TOOL,), schema: Any = None
) -> ModelRequest:
    text = {"verbosity": "low"} | ({"format": {"type": "json_schema", "schema": schema}} if schema else {})
    return ModelRequest(
        model="offline-sketch",
        input=items,
        tools=tools,
        reasoning={},
        text=text,
        prompt_cache_key="thread",
        client_metadata={},
    )


def test_a_description_becomes_a_call_of_the_image_tool() -> None:
    assert decide(request(CONTEXT, user("a red fox in the snow"))) == Call(
        namespace="image_gen",
        name="imagegen",
        arguments={"prompt": "a red fox in the snow"},
        announcement=TO_TOOL,
        reason="words that describe a picture",
    )


@pytest.mark.anyio
async def test_a_call_is_streamed_like_that_of_a_real_provider() -> None:
    ids = (str(number) for number in count(1))
    wish = request(user("a fox"))
    message = {"type": "message", "id": "msg_1", "role": "assistant", "phase": "commentary"}
    call = {
        "type": "function_call",
        "id": "fc_2",
        "call_id": "call_3",
        "namespace": "image_gen",
        "name": "imagegen",
    }
    events = [event async for event in OfflineProvider(new_id=lambda: next(ids)).stream(wish)]
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert len(deltas) == len(TO_TOOL.split())
    assert [event for event in events if not isinstance(event, TextDelta)] == [
        ItemAdded(item={**message, "status": "in_progress", "content": []}),
        ItemDone(
            item={
                **message,
                "status": "completed",
                "content": [{"type": "output_text", "text": TO_TOOL, "annotations": []}],
            }
        ),
        ItemAdded(item={**call, "arguments": "", "status": "in_progress"}),
        ItemDone(item={**call, "arguments": '{"prompt":"a fox"}', "status": "completed"}),
        RateLimits(),
        Completed(response_id="resp_4", usage=TokenUsage(input_tokens=18, output_tokens=23, total_tokens=41)),
    ]


def test_without_namespaces_the_plain_function_is_called() -> None:
    reply = decide(request(user("a fox"), tools=[PLAIN_TOOL]))
    assert reply == Call(
        namespace=None,
        name="image_gen__imagegen",
        arguments={"prompt": "a fox"},
        announcement=TO_TOOL,
        reason="words that describe a picture",
    )


def test_words_of_change_edit_the_picture_of_the_conversation() -> None:
    assert decide(request(user("a fox"), *DRAWN, user("make it night"))) == Call(
        namespace="image_gen",
        name="imagegen",
        arguments={"prompt": "make it night", "num_last_images_to_include": 1},
        announcement=TO_TOOL_WITH_PICTURE,
        reason="words of change, and a picture",
    )


@pytest.mark.parametrize(
    ("items", "pictures"),
    [
        ([user("make it night")], None),
        ([user("a fox"), *DRAWN, user("a bear in the woods")], None),
        ([user("a fox"), *DRAWN, user("Please add a hat")], 1),
        ([user("a fox"), *DRAWN, user("remove the tree, and darken the sky")], 1),
        ([user("a fox"), *DRAWN, user("the same picture, but in winter")], 1),
        ([{"type": "image_generation_call", "id": "ig", "result": "AAAA"}, user("turn it blue")], 1),
        ([{"type": "image_generation_call", "id": "ig", "result": ""}, user("turn it blue")], None),
        ([user("in oil", PICTURE)], 1),
        ([user("both in one frame", PICTURE, PICTURE)], 2),
        ([user("all together", *[PICTURE] * 7)], 5),
        ([user("what if this was night?", PICTURE)], 1),
        ([user("can you draw a fox?")], None),
    ],
)
def test_the_number_of_pictures_to_edit(items: list[dict[str, Any]], pictures: int | None) -> None:
    reply = decide(request(*items))
    assert isinstance(reply, Call)
    assert reply.arguments.get("num_last_images_to_include") == pictures


@pytest.mark.parametrize(
    "words", ["hello", "Hi there!", "Thank you very much.", "what can you do?", "How do I draw a fox?", "really?", "ok"]
)
def test_greetings_and_questions_are_no_pictures(words: str) -> None:
    assert decide(request(user(words))) == Say(
        text=f"{STAND_IN}: I cannot talk. Describe a picture, and I pass your words to the image tool.",
        reason="a greeting or a question",
    )


@pytest.mark.parametrize("items", [(), (CONTEXT,), (user(""),), (user("", PICTURE),)])
def test_without_words_it_says_what_to_write(items: tuple[dict[str, Any], ...]) -> None:
    assert decide(request(*items)) == Say(
        text=f"{STAND_IN}: write what to draw, or how to change a picture.", reason="no words"
    )


@pytest.mark.parametrize(
    ("tools", "why"),
    [
        (
            [HOSTED_TOOL],
            "the hosted image_generation tool runs at a real provider and not here; enable the feature imagegenext",
        ),
        ([], "no image tool is offered in this turn; enable the features image_generation and imagegenext"),
        (
            [{"type": "namespace", "name": "image_gen", "tools": []}],
            "no image tool is offered in this turn; enable the features image_generation and imagegenext",
        ),
    ],
)
def test_without_the_image_tool_it_says_why_there_is_no_picture(tools: list[dict[str, Any]], why: str) -> None:
    assert decide(request(user("a fox"), tools=tools)) == Say(
        text=f"{STAND_IN}: there is no picture, because {why} to get one drawn offline.",
        reason="no image tool is offered",
    )


def test_after_the_tool_it_names_what_came() -> None:
    assert decide(request(user("a fox"), *DRAWN)) == Say(
        text="Here is the picture. It was drawn by an offline stand-in, not by an AI model.",
        reason="tool calls have answered",
    )


def test_after_a_failure_it_repeats_what_the_tool_said() -> None:
    output = {"type": "function_call_output", "call_id": "c", "output": "image generation\n failed: no disk"}
    assert decide(request(user("a fox"), DRAWN[0], output)) == Say(
        text="No picture came; the tool said: image generation failed: no disk", reason="tool calls have answered"
    )


def test_words_that_come_after_the_tool_are_a_new_wish() -> None:
    assert isinstance(decide(request(user("a fox"), *DRAWN, user("a bear"))), Call)


def test_the_image_parts_that_the_server_writes_are_not_taken_for_words() -> None:
    parts = [
        {"type": "input_text", "text": '<image name=[Image #1] path="/x.png">'},
        PICTURE,
        {"type": "input_text", "text": "</image>"},
        {"type": "input_text", "text": "in oil"},
    ]
    reply = decide(request({"type": "message", "role": "user", "content": parts}))
    assert isinstance(reply, Call)
    assert reply.arguments == {"prompt": "in oil", "num_last_images_to_include": 1}


def test_a_schema_is_answered_with_a_fitting_object() -> None:
    schema = {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}
    reply = decide(request(user("a fox"), schema=schema))
    assert reply == Say(text='{"title":"a fox"}', reason="a schema for the answer is given")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}, "b": {"type": "boolean"}}},
        {"type": "object", "properties": {"k": {"enum": ["x", "y"]}, "z": {"type": "null"}}, "required": ["k", "z"]},
        {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "number"}, "minItems": 2}}},
        {"type": "object", "properties": {"s": {"type": ["string", "null"], "maxLength": 2}}, "required": ["s"]},
        {
            "$defs": {"p": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}},
            "type": "object",
            "properties": {"at": {"$ref": "#/$defs/p"}, "or": {"anyOf": [{"$ref": "#/$defs/p"}, {"type": "null"}]}},
            "required": ["at", "or"],
        },
    ],
)
def test_samples_fit_their_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(sample_of(schema, "a red fox"))


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 500)
    | st.sampled_from(["object", "array", "string", "#", "#/properties/a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "properties", "required", "items", "minItems", "maxLength", "$ref", "anyOf", "a"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(schema=st.dictionaries(st.sampled_from(["type", "properties", "required", "items", "$ref"]), JSON_VALUES))
@settings(max_examples=150, deadline=None)
def test_no_schema_however_odd_breaks_it(schema: dict[str, Any]) -> None:
    orjson.dumps(sample_of(schema, "a fox"))


def test_the_bytes_of_pictures_are_no_tokens() -> None:
    large = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}
    assert text_chars([user("a fox", large)]) < 100
