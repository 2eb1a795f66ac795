"""From a call to its output: the tool found by name, every failure as text for the model, cancellation let through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import anyio
import pytest

from app_server.errors import MissingCredentials, ToolFailure
from app_server.extension_api import (
    Content,
    Exposure,
    Items,
    PictureContent,
    PictureRef,
    TextContent,
    ToolCall,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
    Visible,
)
from app_server.tools.planning import plan_tools
from app_server.tools.router import CallWork, Routed, called_name, run_call
from tests.support.image_fakes import image_scope

pytestmark = pytest.mark.anyio
NO_ITEMS = cast("Items", object())  # the router hands it on and asks nothing of it
SECRET = "sk-very-secret"
NAME = ToolName("fs", "read")
CALL = {"type": "function_call", "call_id": "c1", "namespace": "fs", "name": "read", "arguments": '{"a":1}'}
PICTURE = PictureContent(picture=PictureRef(sha256="0" * 64, mime="image/png", size_bytes=1, width=1, height=1))


@dataclass
class FakeTool:
    """Keeps its calls and answers with what it was given, or raises it."""

    answer: ToolOutput | BaseException
    calls: list[ToolCall] = field(default_factory=list)
    name: ToolName = NAME

    def spec(self, scope: TurnScope) -> ToolSpec:
        return ToolSpec(name=self.name, description="", parameters={})

    def exposure(self, scope: TurnScope) -> Exposure:
        return Visible()

    async def handle(self, call: ToolCall) -> ToolOutput:
        self.calls.append(call)
        await anyio.lowlevel.checkpoint()
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def output(*content: Content, success: bool = True) -> ToolOutput:
    return ToolOutput(content=content, log="done", hook={}, success=success)


async def run(
    tool: FakeTool,
    call: Mapping[str, Any] = CALL,
    *,
    namespaces: bool = True,
    history: Sequence[Mapping[str, Any]] = (),
    items: Items = NO_ITEMS,
) -> Routed:
    scope = image_scope()
    scope = replace(scope, provider=replace(scope.provider, namespace_tools=namespaces))
    work = CallWork(scope=scope, history=history, items=items, next_handle=lambda: "img_1")
    return await run_call(plan_tools([tool], scope), call, work)


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ({"name": "f", "namespace": "n"}, ToolName("n", "f")),
        ({"name": "f", "namespace": None}, ToolName(None, "f")),
        ({"name": "f", "namespace": ""}, ToolName(None, "f")),
        ({"name": "f"}, ToolName(None, "f")),
        ({}, ToolName(None, "")),
    ],
)
def test_the_name_of_a_call_is_a_pair(item: dict[str, Any], name: ToolName) -> None:
    assert called_name(item) == name


async def test_a_tool_gets_the_whole_call() -> None:
    tool, history = FakeTool(output(TextContent(text="ok"))), [{"type": "message"}, CALL]
    assert await run(tool, history=history) == Routed(output="ok", failed=False)
    call = tool.calls[0]
    assert (call.call_id, call.name, call.arguments) == ("c1", NAME, '{"a":1}')
    assert (call.scope, list(call.history), call.next_handle()) == (image_scope(), history, "img_1")
    assert call.items is NO_ITEMS


async def test_a_plain_name_leads_to_the_namespaced_tool() -> None:
    tool = FakeTool(output(TextContent(text="ok")))
    call = {**CALL, "namespace": None, "name": "fs__read"}
    assert await run(tool, call, namespaces=False) == Routed(output="ok", failed=False)
    assert tool.calls[0].name == NAME


@pytest.mark.parametrize("arguments", [None, ""])
async def test_a_call_without_arguments_gives_an_empty_text(arguments: str | None) -> None:
    tool = FakeTool(output(TextContent(text="ok")))
    await run(tool, {**CALL, "arguments": arguments})
    assert tool.calls[0].arguments == ""


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ((TextContent(text="a"),), "a"),
        ((TextContent(text="a"), TextContent(text="b")), (TextContent(text="a"), TextContent(text="b"))),
        ((PICTURE,), (PICTURE,)),
        ((PICTURE, TextContent(text="hint")), (PICTURE, TextContent(text="hint"))),
        ((), ()),
    ],
)
async def test_a_lone_text_goes_as_a_plain_string(content: tuple[Content, ...], wanted: object) -> None:
    assert await run(FakeTool(output(*content))) == Routed(output=wanted, failed=False)  # type: ignore[arg-type]  # a table of both forms


async def test_an_output_that_is_no_success_is_a_failure_with_its_own_text() -> None:
    assert await run(FakeTool(output(TextContent(text="exit 1"), success=False))) == Routed(
        output="exit 1", failed=True
    )


@pytest.mark.parametrize(
    ("called", "shown"),
    [
        ({"namespace": "fs", "name": "write"}, "fs.write"),
        ({"namespace": None, "name": "fs__read"}, "fs__read"),
        ({"namespace": None, "name": "read"}, "read"),
    ],
)
async def test_a_name_that_was_not_offered_is_answered_in_words(called: dict[str, Any], shown: str) -> None:
    tool = FakeTool(output())
    assert await run(tool, {**CALL, **called}) == Routed(
        output=f"unsupported call: {shown}; only the tools of this request can be called", failed=True
    )
    assert tool.calls == []


@pytest.mark.parametrize("error", [ToolFailure("No such file."), MissingCredentials("No such file.")])
async def test_a_failure_on_purpose_is_told_to_the_model(error: Exception) -> None:
    assert await run(FakeTool(error)) == Routed(output="No such file.", failed=True)


@pytest.mark.parametrize("error", [ValueError(SECRET), ExceptionGroup(SECRET, [OSError(SECRET)]), KeyError(SECRET)])
async def test_a_crash_tells_the_model_nothing_of_the_inside(error: Exception) -> None:
    assert await run(FakeTool(error)) == Routed(
        output="fs.read failed inside the server; do not call it again in this turn.", failed=True
    )


async def test_a_cancelled_call_has_no_output() -> None:
    tool = FakeTool(output(TextContent(text="ok")))
    with anyio.CancelScope() as scope:
        scope.cancel()
        await run(tool)
    assert scope.cancelled_caught
