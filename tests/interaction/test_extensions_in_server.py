"""Extensions in a running server: left out, broken, or loaded on the first need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interaction.conversation import picture_home, run_turn, start_thread, tool_names
from tests.support.server import connected, make_home, running, serving
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio


async def test_an_embedded_server_without_the_extension_offers_the_hosted_tool(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        home.extensions = ()
        async with serving(home) as (_, client):
            up.queue.append(text_turn("r1", "Hello."))
            await run_turn(client, await start_thread(client))

        assert tool_names(up.posts()[0]) == ["image_generation"]


async def test_a_broken_extension_is_told_once_and_the_server_goes_on(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        home.extensions = ("no.such.module", "extensions.image_generation")
        async with serving(home) as (_, client):
            up.queue.append(text_turn("r1", "Hello."))
            turn = await run_turn(client, await start_thread(client))

            (warning,) = client.notifications("warning")
        assert warning["message"].startswith("no.such.module cannot be imported (ModuleNotFoundError")
        assert warning["message"].endswith("; the server runs without it.")
        assert (turn["status"], tool_names(up.posts()[0])) == ("completed", ["image_gen"])


async def test_a_later_client_is_told_of_a_broken_extension_too(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    home.extensions = ("no.such.module",)
    async with running(home) as app:
        async with connected(app) as first:
            await first.wait_for("warning")
        async with connected(app) as second:
            assert "no.such.module" in (await second.wait_for("warning"))["message"]


async def test_a_module_without_an_extension_is_a_broken_one(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    home.extensions = ("tests.interaction.conversation",)
    async with serving(home) as (_, client):
        message = (await client.wait_for("warning"))["message"]

        assert message.startswith("tests.interaction.conversation cannot be imported")
        assert await start_thread(client)


async def test_all_built_in_extensions_are_found_by_name(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        home.extensions = None
        async with serving(home) as (_, client):
            up.queue.append(text_turn("r1", "Hello."))
            await run_turn(client, await start_thread(client))

            assert client.notifications("warning") == []
        assert "image_gen" in tool_names(up.posts()[0])
