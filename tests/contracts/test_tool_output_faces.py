"""The contract of tool outputs: the faces for logs and for hooks are small and hold no bytes of a picture.

Runs every tool of every built-in extension on the offline provider. A new tool needs a row in CALLS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.bootstrap import App
from app_server.extension_api.services import ExtensionItem
from app_server.extension_api.tools import PictureRef, ToolCall, ToolExecutor, ToolName, ToolOutput
from app_server.hooks.payload import MAX_RESPONSE_BYTES, HookTurn, post_payload
from app_server.turns.context import Moment, Settings
from tests.support.pictures import png
from tests.support.server import Home

pytestmark = pytest.mark.anyio

LONG_PROMPT = "a fox in the snow, " * 2000
CALLS: Mapping[ToolName, list[dict[str, Any]]] = {
    ToolName("image_gen", "imagegen"): [
        {"prompt": "a fox"},
        {"prompt": LONG_PROMPT},
        {"prompt": "make it night", "referenced_image_paths": ["picture.png"]},
    ],
    ToolName(None, "view_image"): [{"path": "picture.png"}],
}
"""Tool → the arguments it is called with."""
BASE64 = re.compile(r"[A-Za-z0-9+/_-]{200,}")
TURN = HookTurn(thread_id="t", turn_id="u", cwd="/", model="m", permission_mode="default")


class SilentItems:
    """Shows nothing to nobody."""

    async def started(self, item: ExtensionItem) -> None: ...

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None: ...

    async def warning(self, message: str) -> None: ...

    def rate_limits(self, headers: Mapping[str, str]) -> None: ...

    async def paid_call(self, item_id: str, idempotency_key: str) -> None: ...

    def progress(
        self, item_id: str, *, elapsed_ms: int, partial_index: int | None = None, preview: str | None = None
    ) -> None: ...


async def outputs_of(home: Home) -> list[tuple[ToolName, ToolOutput]]:
    """What every tool answers to every row of it."""
    async with App(home.options()).running() as app:
        wiring = await app.wiring()
        settings = Settings(model="offline-sketch", model_provider="offline", cwd=str(home.cwd))
        moment = wiring.moment("019a0000-0000-7000-8000-000000000000", "turn-1", settings, "tests")
        return [
            (tool.name, await tool.handle(_call(tool, moment, at, arguments)))
            for tool in moment.executors
            for at, arguments in enumerate(CALLS.get(tool.name, []))
        ]


def _call(tool: ToolExecutor, moment: Moment, at: int, arguments: Mapping[str, Any]) -> ToolCall:
    cwd = moment.scope.cwd
    paths = [str(cwd / path) for path in arguments.get("referenced_image_paths", [])]
    absolute = {**arguments, **({"referenced_image_paths": paths} if paths else {})}
    return ToolCall(
        call_id=f"call_{at}",
        name=tool.name,
        arguments=orjson.dumps(absolute).decode(),
        scope=moment.scope,
        history=(),
        items=SilentItems(),
        next_handle=lambda: f"img_{at}",
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(home=tmp_path / "home", cwd=tmp_path / "work", extensions=None)
    for folder in (found.home, found.cwd):
        folder.mkdir()
    (found.cwd / "picture.png").write_bytes(png(400, 300))
    return found


async def test_every_tool_of_a_built_in_extension_has_a_row(home: Home) -> None:
    async with App(home.options()).running() as app:
        wiring = await app.wiring()
        registry = wiring.extensions(wiring.features.current())
        assert [state.reason for state in registry.states if not state.loaded] == []
        assert set(registry.tools) - set(CALLS) == set()


async def test_the_faces_for_logs_and_hooks_are_small_and_hold_no_bytes(home: Home) -> None:
    outputs = await outputs_of(home)
    assert len(outputs) >= len(CALLS[ToolName("image_gen", "imagegen")])
    for name, output in outputs:
        hook = orjson.dumps(output.hook).decode()
        assert (str(name), len(hook) < MAX_RESPONSE_BYTES, len(output.log) < 400) == (str(name), True, True)
        for face in (hook, output.log, repr(output.content)):
            assert "base64," not in face
            assert BASE64.search(face) is None


async def test_a_hook_gets_the_face_as_it_is(home: Home) -> None:
    for name, output in await outputs_of(home):
        payload = post_payload(TURN, name, "call_1", "{}", output.hook)
        assert payload["tool_response"] == dict(output.hook)
