"""One request to the provider, whole: prompt, tools, reasoning, text, identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from app_server.extension_api import ModelFacts, PictureRef
from app_server.pictures.store import PictureStore
from app_server.providers.base import ModelProvider, ModelRequest
from app_server.tools.planning import plan_tools
from app_server.turns.context import Moment, Settings, TurnContext
from app_server.turns.request import build_request, turn_metadata
from app_server.turns.running_history import RunningHistory
from tests.support.image_fakes import FakeClock, image_scope

pytestmark = pytest.mark.anyio
MESSAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}


class NoUrls:
    async def data_url(self, picture: PictureRef, detail: str | None) -> str | None:
        raise AssertionError("there is no picture in this history")


def turn(output_schema: Any = None, **settings: Any) -> TurnContext:
    def now() -> Moment:
        raise AssertionError("building a request looks at the moment it is given")

    return TurnContext(
        thread_id="thread-1",
        turn_id="turn-1",
        settings=Settings(**{"model": "gpt-x", "model_provider": "acme", "cwd": "/w", **settings}),
        output_schema=output_schema,
        now=now,
        clock=FakeClock(),
        pictures=PictureStore.__new__(PictureStore),  # never asked here
        installation_id="inst-1",
    )


async def request_of(ctx: TurnContext, model: ModelFacts | None = None) -> ModelRequest:
    scope = image_scope(Path("/w"), **({"model": model} if model else {}))
    moment = Moment(scope=scope, provider=cast("ModelProvider", None), executors=())  # building asks no provider
    return await build_request(ctx, moment, plan_tools((), scope), RunningHistory([MESSAGE]), NoUrls(), window=0)


async def test_a_request_as_a_whole() -> None:
    ctx = turn()
    metadata = turn_metadata(ctx, "turn")
    assert await request_of(ctx) == ModelRequest(
        model="gpt-x",
        input=[MESSAGE],
        tools=({"type": "image_generation", "output_format": "png"},),
        reasoning={"effort": "medium"},
        text={"verbosity": "low"},
        prompt_cache_key="thread-1",
        client_metadata={
            "session_id": "thread-1",
            "thread_id": "thread-1",
            "turn_id": "turn-1",
            "root_turn_id": "turn-1",
            "x-codex-installation-id": "inst-1",
            "x-codex-window-id": "thread-1:0",
            "x-codex-turn-metadata": metadata,
        },
        parallel_tool_calls=True,
        headers={
            "originator": "tests",
            "session-id": "thread-1",
            "thread-id": "thread-1",
            "x-client-request-id": "thread-1",
            "x-codex-window-id": "thread-1:0",
            "x-codex-turn-metadata": metadata,
        },
    )


@pytest.mark.parametrize(
    ("settings", "default_effort", "reasoning"),
    [
        ({}, None, {"effort": "medium"}),
        ({}, "low", {"effort": "low"}),
        ({"effort": "high"}, "low", {"effort": "high"}),
        ({"summary": "none"}, None, {"effort": "medium"}),
        ({"summary": "auto"}, None, {"effort": "medium", "summary": "auto"}),
    ],
)
async def test_the_effort_is_the_threads_else_the_models_else_medium(
    settings: dict[str, Any], default_effort: str | None, reasoning: dict[str, str]
) -> None:
    model = ModelFacts(slug="gpt-x", default_effort=default_effort)
    assert (await request_of(turn(**settings), model)).reasoning == reasoning


@pytest.mark.parametrize("schema", [{"type": "object"}, {}, True])
async def test_an_output_schema_becomes_the_format_of_the_text(schema: Any) -> None:
    assert (await request_of(turn(schema, verbosity="high"))).text == {
        "verbosity": "high",
        "format": {"type": "json_schema", "strict": True, "schema": schema, "name": "codex_output_schema"},
    }


async def test_what_changes_from_turn_to_turn_is_no_part_of_the_prompt() -> None:
    first, second = await request_of(turn()), await request_of(replace(turn(), turn_id="turn-2"))
    assert replace(first, client_metadata={}, headers={}) == replace(second, client_metadata={}, headers={})
    assert first.client_metadata != second.client_metadata


def test_the_metadata_is_a_small_json_object_in_ascii() -> None:
    text = turn_metadata(turn(sandbox={"type": "dangerFullAccess"}), "turn")
    assert text.isascii()
    assert orjson.loads(text) == {
        "session_id": "thread-1",
        "thread_id": "thread-1",
        "turn_id": "turn-1",
        "request_kind": "turn",
        "sandbox_mode": "dangerFullAccess",
    }
