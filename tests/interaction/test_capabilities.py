"""What the server says it can do here and now: the protocol's answer and the table of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from app_server.cli import main
from app_server.extension_api.tools import ToolName
from app_server.methods.model import no_pictures_reason
from app_server.tools.planning import HiddenTool, ToolPlan
from tests.interaction.conversation import picture_home, run_turn, start_thread, tool_names
from tests.support.accounts import write_api_key_auth, write_chatgpt_auth
from tests.support.server import make_home, serving
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio

KILLED = "the feature image_generation is disabled by config.toml; enable it in [features]"
NO_LOGIN = "nobody is logged in; log in, or set OPENAI_API_KEY"
FREE = "the ChatGPT Free plan has no image generation; use a paid plan or an API key"
NO_PICTURES = (
    "the provider fake does not generate pictures; set image_generation = true in [model_providers.fake] if it does"
)
ON, OFF = ("imagegenext",), ()


@pytest.mark.parametrize("enable", [ON, OFF], ids=["standalone", "hosted"])
@pytest.mark.parametrize(
    ("login", "setting", "reason"),
    [
        ("plus", {}, None),
        ("apikey", {}, None),
        ("free", {}, FREE),
        ("none", {}, NO_LOGIN),
        ("plus", {"provider": "image_generation = false"}, NO_PICTURES),
        ("plus", {"features": "image_generation = false"}, KILLED),
        ("none", {"provider": "image_generation = false", "features": "image_generation = false"}, KILLED),
    ],
)
async def test_pictures_are_offered_exactly_when_the_server_says_so_and_the_first_gate_is_named(
    tmp_path: Path, login: str, setting: dict[str, Any], reason: str | None, enable: tuple[str, ...]
) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url, login="requires_openai_auth = true", enable=enable, **setting)
        match login:
            case "plus" | "free":
                write_chatgpt_auth(home.home, plan=login)
            case "apikey":
                write_api_key_auth(home.home)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            said = await client.request("modelProvider/capabilities/read", {})
            await run_turn(client, await start_thread(client))
    offered = {"image_gen", "image_generation"} & {name for post in up.posts() for name in tool_names(post)}
    why = {} if reason is None else {"imageGenerationReason": reason}
    assert said == {"imageGeneration": reason is None, "webSearch": False, **why}
    if login != "none":  # without a login nothing was sent
        assert bool(offered) is said["imageGeneration"]


async def test_a_login_counts_at_once(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            before = await client.request("modelProvider/capabilities/read", {})
            await client.request("account/logout")
            after = await client.request("modelProvider/capabilities/read", {})
    assert (before["imageGeneration"], after["imageGenerationReason"]) == (True, NO_LOGIN)


@pytest.mark.parametrize("enable", [ON, OFF], ids=["standalone", "hosted"])
async def test_the_offline_provider_draws_with_our_tool_alone(tmp_path: Path, enable: tuple[str, ...]) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:1/v1", enable=enable)
    path = home.home / "config.toml"
    text = path.read_text(encoding="utf-8").replace('model_provider = "fake"', 'model_provider = "offline"')
    path.write_text(text.replace('model = "gpt-5.5"\n', ""), encoding="utf-8")
    async with serving(home) as (_, client):
        said = await client.request("modelProvider/capabilities/read", {})
    reason = (
        "the provider offline has no image tool of its own, and that of this server is not offered; "
        "enable imagegenext in [features]"
    )
    assert (said["imageGeneration"], said.get("imageGenerationReason")) == ((True, None) if enable else (False, reason))


@pytest.mark.parametrize(
    ("more", "extension", "standalone", "hosted"),
    [
        (
            ["--enable", "imagegenext"],
            ["image_generation", "built-in", "loaded", "imagegenext is enabled by command line"],
            ["image_gen.imagegen", "visible", "offered to the model"],
            ["image_generation", "hidden", "image_gen.imagegen takes its place"],
        ),
        (
            [],
            ["image_generation", "built-in", "not loaded", "imagegenext is off by default"],
            None,
            ["image_generation", "visible", "offered to the model; the provider runs it"],
        ),
        (
            ["--disable", "image_generation"],
            ["image_generation", "built-in", "not loaded", "imagegenext is off by default"],
            None,
            [
                "image_generation",
                "hidden",
                "the feature image_generation is disabled by command line; enable it in [features]",
            ],
        ),
    ],
)
def test_the_command_line_lists_extensions_and_the_tools_of_a_new_thread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    extension: list[str],
    standalone: list[str] | None,
    hosted: list[str],
) -> None:
    write_chatgpt_auth(tmp_path)
    monkeypatch.setenv("APP_SERVER_HOME", str(tmp_path))
    assert main(["extensions", "list", *more]) == 0
    rows = [re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    at = rows.index(["tool", "state", "reason"])
    extensions = {row[0]: row for row in rows[1 : at - 1]}
    tools = {row[0]: row for row in rows[at + 1 :]}
    assert extensions["image_generation"] == extension
    assert (tools.get("image_gen.imagegen"), tools["image_generation"]) == (standalone, hosted)


STANDALONE = HiddenTool(tool="image_gen.imagegen", reason="standalone says no")
HOSTED = HiddenTool(tool="image_generation", reason="hosted says no")


@pytest.mark.parametrize(
    ("hidden", "routes", "reason"),
    [
        ((), {}, None),
        ((STANDALONE,), {}, None),
        ((HOSTED,), {}, "hosted says no"),
        ((STANDALONE, HOSTED), {}, "standalone says no"),
        ((HOSTED,), {ToolName(None, "image_gen__imagegen"): ToolName("image_gen", "imagegen")}, None),
    ],
)
def test_the_reason_is_that_of_the_tool_that_would_be_used(
    hidden: tuple[HiddenTool, ...], routes: dict[ToolName, ToolName], reason: str | None
) -> None:
    plan = ToolPlan(
        specs=(),
        routes={name: FakeExecutor(own) for name, own in routes.items()},
        hidden=hidden,
        max_parallel={},
    )
    assert no_pictures_reason(plan) == reason


class FakeExecutor:
    """A tool of which only the name is asked."""

    def __init__(self, name: ToolName) -> None:
        self.name = name

    def __getattr__(self, member: str) -> Any:
        raise AssertionError(f"{member} is not asked")
