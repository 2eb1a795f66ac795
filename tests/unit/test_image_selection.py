"""Which pictures of a conversation an edit starts from, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from app_server.extension_api import PictureRef, ToolFailure
from extensions.image_generation.selection import select_by_handles, select_for_edit, select_last

Items = list[dict[str, Any]]


def ref(name: str) -> PictureRef:
    return PictureRef(sha256=name, mime="image/png", size_bytes=1, width=1, height=1)


def picture(name: str) -> dict[str, Any]:
    return {"type": "input_image", "picture": ref(name).to_json(), "detail": "high", "handle": f"img_{name}"}


TEXT = {"type": "input_text", "text": "some words"}


def user(*names: str, role: str = "user") -> Items:
    return [{"type": "message", "role": role, "content": [TEXT, *map(picture, names)]}]


def called(
    *names: str, namespace: str | None = "image_gen", name: str = "imagegen", call: str = "function_call"
) -> Items:
    call_id = f"call-{'-'.join(names)}"
    return [
        {"type": call, "call_id": call_id, "name": name, "namespace": namespace, "arguments": "{}"},
        {"type": f"{call}_output", "call_id": call_id, "output": [*map(picture, names), TEXT]},
    ]


def generated(*names: str) -> Items:
    return [item for name in names for item in called(name)]


def hosted(name: str | None) -> Items:
    shown = {} if name is None else {"picture": ref(name).to_json(), "handle": f"img_{name}"}
    return [{"type": "image_generation_call", "id": "ig", "picture": None, **shown}]


def names(pictures: tuple[PictureRef, ...]) -> str:
    return " ".join(found.sha256 for found in pictures)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        pytest.param(
            [*generated("old"), *user("u"), *generated("new")], "u new", id="older than the anchor is ignored"
        ),
        pytest.param(
            [*generated("g1", "g2", "g3"), *user("u1", "u2"), *generated("g4", "g5", "g6", "g7")],
            "u1 u2 g5 g6 g7",
            id="the oldest generated go first",
        ),
        pytest.param([*user(*"abcde"), *generated("g")], "b c d e g", id="the newest generated one stays"),
        pytest.param([*user(*"abcdefg")], "c d e f g", id="too many of the user"),
        pytest.param([*user("u"), *user()], "u", id="text alone does not move the anchor"),
        pytest.param([*user("a", "b")], "a b", id="the user's order is kept"),
        pytest.param([*user("old"), *user("new")], "new", id="the newest message with pictures"),
        pytest.param(
            [*called("seen", namespace=None, name="view_image"), *generated("g")],
            "g",
            id="viewed pictures do not count",
        ),
        pytest.param(generated(*"123456"), "2 3 4 5 6", id="generated alone"),
        pytest.param([*user("u"), *hosted("h"), *hosted(None)], "u h", id="hosted, and one without a picture"),
        pytest.param(
            [*user("u"), *called("plain", namespace=None, name="image_gen__imagegen")], "u plain", id="plain function"
        ),
        pytest.param(
            [*user("u"), *called("other", namespace="other"), *called("bare", namespace=None)], "u", id="other tools"
        ),
        pytest.param([*user("u"), *user("assistant's", role="assistant")], "u", id="other roles do not count"),
        pytest.param([*user("u"), called("orphan")[1]], "u", id="an output without its call"),
        pytest.param(
            [*user("u"), {"type": "function_call_output", "call_id": "call-x", "output": "failed"}],
            "u",
            id="text output",
        ),
    ],
)
def test_an_edit_without_selector_starts_from(history: Items, expected: str) -> None:
    assert names(select_for_edit(history).pictures) == expected


def test_a_selection_says_why() -> None:
    history = [*user(*"abcde"), *generated("g", "h")]
    assert select_for_edit(history).reason == "4 of the user's newest pictures and 1 generated since, 2 left out"
    assert select_last(history, 1).reason == "the last 1 of the conversation"


@pytest.mark.parametrize("history", [[], user(), called("seen", namespace=None, name="view_image"), hosted(None)])
def test_an_edit_of_nothing_is_refused_with_the_ways_out(history: Items) -> None:
    with pytest.raises(
        ToolFailure, match="there is no picture in this conversation to edit; give `referenced_image_pa"
    ):
        select_for_edit(history)


MIXED: Items = [
    *user("user-1", "user-2"),
    *called("mcp", namespace="server", name="tool"),
    *called("code-mode", namespace=None, name="exec", call="custom_tool_call"),
    *hosted("generated"),
    called("orphan")[1],
    {"type": "custom_tool_call_output", "call_id": "unknown", "output": [picture("orphan-2")]},
]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, "generated"),
        (2, "code-mode generated"),
        (4, "user-2 mcp code-mode generated"),
        (5, "user-1 user-2 mcp code-mode generated"),
    ],
)
def test_the_last_pictures_come_from_any_source_in_the_order_of_the_conversation(count: int, expected: str) -> None:
    assert names(select_last(MIXED, count).pictures) == expected


def test_pictures_of_every_role_count_among_the_last() -> None:
    history = [*user("a", role="developer"), *user("b", role="assistant"), *user("c")]
    assert names(select_last(history, 3).pictures) == "a b c"


@pytest.mark.parametrize(
    ("history", "count", "have"),
    [([], 1, "no picture"), (user("a"), 2, "only 1 picture"), (user("a", "b"), 5, "only 2 pictures")],
)
def test_fewer_pictures_than_asked_for_are_never_taken_silently(history: Items, count: int, have: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        select_last(history, count)
    assert failure.value.message == (
        f"`num_last_images_to_include` is {count}, but the conversation has {have}; ask for fewer, give "
        "`referenced_image_paths`, or ask the user to attach what is missing"
    )


@pytest.mark.parametrize(
    ("handles", "expected"),
    [
        (["img_user-1"], "user-1"),
        (["img_generated", "img_user-1"], "generated user-1"),
        (["img_mcp", "img_code-mode", "img_mcp"], "mcp code-mode mcp"),
    ],
)
def test_handles_name_pictures_of_any_source_in_the_order_of_the_handles(handles: list[str], expected: str) -> None:
    assert names(select_by_handles(MIXED, handles).pictures) == expected


@pytest.mark.parametrize(
    ("history", "have"),
    [
        ([], "it has no picture"),
        (user("a", "b"), "its pictures are img_a, img_b"),
        (
            user(*(str(number) for number in range(20))),
            f"its pictures are {', '.join(f'img_{n}' for n in range(8, 20))}",
        ),
    ],
)
def test_an_unknown_handle_is_refused_with_the_newest_that_exist(history: Items, have: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        select_by_handles(history, ["img_9000"])
    assert failure.value.message == f"`referenced_images`: no picture of this conversation is called `img_9000`; {have}"
