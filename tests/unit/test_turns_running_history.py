"""The history of a loaded thread: what is remembered of it, and what of it is sent."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app_server.extension_api import PictureContent, PictureRef
from app_server.turns.history import call_output, message, picture_part, unanswered_calls, user_message
from app_server.turns.running_history import Rendered, RunningHistory

REF = PictureRef(sha256="a" * 64, mime="image/png", size_bytes=3, width=1, height=2)
JSON_REF = {"sha256": "a" * 64, "mime": "image/png", "bytes": 3, "width": 1, "height": 2}
URL = "data:image/png;base64,YWJj"
GONE = (
    "[A picture stood here. Its file was deleted or changed since, or it can no longer be decoded, so it cannot be "
    "shown again.]"
)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class FakeUrls:
    """Every picture has the same URL, or none at all."""

    def __init__(self, url: str | None = URL) -> None:
        self.url = url
        self.asked: list[tuple[PictureRef, str | None]] = []

    async def data_url(self, picture: PictureRef, detail: str | None) -> str | None:
        self.asked.append((picture, detail))
        return self.url


def json_of(sent: Rendered) -> Any:
    """What a provider is sent."""
    return orjson.loads(orjson.dumps(sent.encoded))


async def sent_of(items: Sequence[Mapping[str, Any]], urls: FakeUrls, *, takes_original: bool) -> Rendered:
    """The rendered items, which say the same as their JSON."""
    sent = await RunningHistory(items).render(urls, takes_original=takes_original)
    assert json_of(sent) == list(sent)
    return sent


@pytest.mark.anyio
async def test_references_become_data_urls_and_everything_else_is_sent_as_it_stands() -> None:
    plain: list[dict[str, Any]] = [
        {"type": "message", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "function_call", "call_id": "c"},
        {"type": "function_call_output", "call_id": "c", "output": "text"},
        {"type": "reasoning", "content": None},
        {"type": "image_generation_call", "id": "i", "result": "YWJj"},
    ]
    pictured: list[dict[str, Any]] = [
        {"type": "message", "content": [{"type": "input_text", "text": "a"}, picture_part(REF, "auto", "img_1")]},
        {"type": "function_call_output", "call_id": "c", "output": [picture_part(REF, "high", "img_2")]},
        {"type": "image_generation_call", "id": "i", "status": "completed", "picture": JSON_REF, "handle": "img_3"},
    ]
    urls = FakeUrls()
    sent = await sent_of([*plain, *pictured], urls, takes_original=False)
    assert sent[:5] == plain
    assert sent[5:] == [
        {
            "type": "message",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": URL, "detail": "auto"},
            ],
        },
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_image", "image_url": URL, "detail": "high"}],
        },
        {"type": "image_generation_call", "id": "i", "status": "completed", "result": "YWJj"},
    ]
    assert urls.asked == [(REF, "auto"), (REF, "high"), (REF, None)]


@pytest.mark.parametrize(
    ("detail", "takes_original", "label"),
    [
        ("auto", True, "auto"),
        ("high", True, "high"),
        ("low", True, "high"),
        ("original", True, "original"),
        ("original", False, "high"),
    ],
)
@pytest.mark.anyio
async def test_a_detail_is_looked_up_as_it_stands_and_sent_as_the_model_knows_it(
    detail: str, takes_original: bool, label: str
) -> None:
    urls = FakeUrls()
    sent = await sent_of([user_message([picture_part(REF, detail)])], urls, takes_original=takes_original)
    assert sent[0]["content"] == [{"type": "input_image", "image_url": URL, "detail": label}]
    assert urls.asked == [(REF, detail)]


@pytest.mark.anyio
async def test_a_picture_that_is_gone_is_told_in_words() -> None:
    history: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [picture_part(REF, "auto")]},
        {"type": "image_generation_call", "id": "i", "picture": JSON_REF},
    ]
    note = {"type": "input_text", "text": GONE}
    assert await sent_of(history, FakeUrls(None), takes_original=False) == [
        {"type": "message", "role": "user", "content": [note]},
        {"type": "message", "role": "developer", "content": [note]},
    ]


@pytest.mark.anyio
async def test_rendering_changes_no_history_and_gives_the_same_bytes_for_the_same_prefix() -> None:
    history = [
        user_message([picture_part(REF, "auto", "img_1")]),
        message("developer", "x"),
        call_output({"type": "function_call", "call_id": "c"}, [PictureContent(picture=REF)]),
    ]
    before = copy.deepcopy(history)
    growing = RunningHistory(history[:2])
    first = orjson.dumps((await growing.render(FakeUrls(), takes_original=True)).encoded)
    growing.extend(history[2:])
    whole = orjson.dumps((await growing.render(FakeUrls(), takes_original=True)).encoded)
    fresh = orjson.dumps((await RunningHistory(history).render(FakeUrls(), takes_original=True)).encoded)
    assert history == before
    assert whole.startswith(first[:-1])
    assert whole == fresh


@pytest.mark.anyio
async def test_a_picture_is_looked_up_for_every_request_and_what_was_sent_stays_as_it_was() -> None:
    history = RunningHistory([user_message([picture_part(REF, "auto")]), message("developer", "x")])
    urls = FakeUrls()
    first = await history.render(urls, takes_original=True)
    history.extend([message("developer", "y")])
    urls.url = None
    second = await history.render(urls, takes_original=True)
    assert len(urls.asked) == 2
    assert [part["type"] for item in (first[0], second[0]) for part in item["content"]] == ["input_image", "input_text"]
    assert (len(first), len(second), len(json_of(first)), len(json_of(second))) == (2, 3, 2, 3)


@pytest.mark.anyio
async def test_a_file_of_the_provider_and_parts_that_are_no_objects_go_out_as_they_stand() -> None:
    part = {"type": "input_image", "file_id": "f1", "detail": "high"}
    odd = {"type": "message", "role": "user", "content": ["<environment_context", {**part, "handle": "img_1"}]}
    plain = {"type": "message", "role": "user", "content": "hi"}
    sent = await sent_of([odd, plain], FakeUrls(), takes_original=False)
    assert sent == [{**odd, "content": ["<environment_context", part]}, plain]


def test_instructions_and_the_newest_context_are_remembered() -> None:
    history = RunningHistory([message("user", "<environment_context>1")])
    assert (history.instructed, history.context) == (False, "<environment_context>1")
    history.extend([message("developer", "x"), message("user", "<environment_context>2"), message("user", "hi")])
    assert (history.instructed, history.context) == (True, "<environment_context>2")
    assert (RunningHistory().instructed, RunningHistory().context) == (False, "")


CALLS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["function_call", "custom_tool_call", "function_call_output"])),
    max_size=12,
)


@patient
@given(CALLS, CALLS)
def test_the_calls_that_are_open_are_those_that_a_search_would_find(
    first: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    items = [{"type": kind, "call_id": call_id} for call_id, kind in (*first, *more)]
    history = RunningHistory(items[: len(first)])
    assert history.unanswered_calls() == unanswered_calls(items[: len(first)])
    history.extend(items[len(first) :])
    assert history.unanswered_calls() == unanswered_calls(items)
