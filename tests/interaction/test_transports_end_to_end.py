"""The same server over its real transports: a child on stdio, a listener on a websocket."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from app_server.transport.websocket import serve_websocket
from tests.interaction.conversation import ended, imagegen, picture_home, run_turn, start_thread, start_turn
from tests.support.client import stdio_client, ws_client
from tests.support.server import make_home, running
from tests.support.upstream import ScriptedUpstream, sse, text_turn

pytestmark = pytest.mark.anyio


async def test_a_child_on_stdio_makes_a_picture_and_exits_when_its_input_ends(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "Done.")]
        argv = (sys.executable, "-m", "app_server", "app-server", "--enable", "imagegenext")
        env = {"CODEX_HOME": str(home.home), "HOME": str(tmp_path)}
        async with stdio_client(argv, env=env, cwd=home.cwd) as client:
            reply = await client.initialize()
            turn = await run_turn(client, await start_thread(client))
            picture = (await client.wait_for("item/completed", item__type="imageGeneration"))["item"]

    assert reply["codexHome"] == str(home.home)
    assert (turn["status"], picture["status"]) == ("completed", "completed")
    assert client.stream.returncode == 0


async def test_a_child_answers_a_broken_line_and_goes_on(tmp_path: Path) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    argv = (sys.executable, "-m", "app_server")
    async with stdio_client(argv, env={"APP_SERVER_HOME": str(home.home)}, cwd=home.cwd) as client:
        await client.send_raw(b"{broken")
        failure = await client.wait_for_error()
        await client.send_raw(b"")
        await client.initialize()

        assert failure.code == -32700
        assert await start_thread(client)


@pytest.mark.parametrize(
    ("config", "place"), [("model = \n", "config.toml:1:"), ('[features]\nimagegenext = "x"\n', "config.toml:2:")]
)
async def test_a_child_with_a_broken_config_says_where_and_exits_with_2(
    tmp_path: Path, config: str, place: str
) -> None:
    home = make_home(tmp_path, "http://127.0.0.1:9/v1")
    (home.home / "config.toml").write_text(config)
    argv = (sys.executable, "-m", "app_server")
    async with stdio_client(argv, env={"APP_SERVER_HOME": str(home.home)}, cwd=home.cwd) as client:
        await client.closed.wait()

    assert client.stream.returncode == 2
    assert place in client.stream.stderr_text
    assert "Traceback" not in client.stream.stderr_text


async def test_two_clients_share_a_thread_over_websockets(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(picture_home(tmp_path, up)) as app,
        serve_websocket("127.0.0.1", 0, app.serve, routes={}, ready=lambda: True) as bound,
        ws_client(f"ws://{bound.authority}", name="one") as one,
        ws_client(f"ws://{bound.authority}/any/path", name="two") as two,
    ):
        up.queue += [
            text_turn("r1", "Hello."),
            sse("r2", imagegen("call_1", prompt="a fox")),
            text_turn("r3", "Done."),
        ]
        await one.initialize()
        await two.initialize()
        thread_id = await start_thread(one)
        await run_turn(one, thread_id)
        resumed = await two.request("thread/resume", {"threadId": thread_id})

        turn_id = await start_turn(two, thread_id, "Draw")
        turns = [await ended(client, turn_id) for client in (one, two)]
        pictures = [await client.wait_for("item/completed", item__type="imageGeneration") for client in (one, two)]

    assert len(resumed["thread"]["turns"]) == 1
    assert turns[0] == turns[1]
    assert pictures[0] == pictures[1]
    assert resumed["thread"]["originator"] == "one"


async def test_a_browsers_origin_is_refused_and_probes_are_answered(tmp_path: Path) -> None:
    async with (
        running(make_home(tmp_path, "http://127.0.0.1:9/v1")) as app,
        serve_websocket("127.0.0.1", 0, app.serve, routes={}, ready=lambda: not app.draining) as bound,
        httpx.AsyncClient(trust_env=False) as web,
    ):
        probes = [(await web.get(f"http://{bound.authority}{path}")).status_code for path in ("/readyz", "/healthz")]
        page = await web.get(f"http://{bound.authority}/readyz", headers={"Origin": "https://example.com"})
        with pytest.raises(InvalidStatus) as upgrade:
            async with ws_client(f"ws://{bound.authority}", {"Origin": "https://example.com"}):
                pass

    assert (probes, page.status_code, upgrade.value.response.status_code) == ([200, 200], 403, 403)
