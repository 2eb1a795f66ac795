"""A provider that cannot be reached, is another one, or sends what none would: the turn fails, and nothing else."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from tests.interaction.conversation import Client, imagegen, outputs, picture_home, run_turn, start_thread
from tests.support.pictures import as_base64, oversized_png, png
from tests.support.server import make_home, serving
from tests.support.upstream import Gate, Reply, ScriptedUpstream, created, item_added, sse, text_delta, text_turn

pytestmark = pytest.mark.anyio
MIB = 1024 * 1024
SSE = {"content-type": "text/event-stream"}


async def failed_turn(client: Client, thread_id: str | None = None) -> dict[str, Any]:
    """The error of a turn that must fail."""
    turn = await run_turn(client, thread_id or await start_thread(client))
    assert turn["status"] == "failed"
    error: dict[str, Any] = turn["error"]
    return error


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9/v1", "http://127.0.0.1:9/v1"),
        ("http://no-such-host.invalid/v1", "no-such-host.invalid"),
        ("https://127.0.0.1:9/v1", "https://127.0.0.1:9/v1"),
    ],
)
async def test_a_provider_that_cannot_be_reached_is_named(tmp_path: Path, address: str, said: str) -> None:
    async with serving(make_home(tmp_path, address)) as (_, client):
        error = await failed_turn(client)

    assert said in error["message"]
    assert "Errno" not in str(error)
    assert "sk-fake-for-tests" not in str(client.incoming)


async def test_tls_with_a_port_that_speaks_none_fails_the_turn(tmp_path: Path) -> None:
    async def plain(stream: SocketStream) -> None:
        async with stream:
            await stream.send(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, plain)
        address = f"https://127.0.0.1:{listener.extra(SocketAttribute.local_port)}/v1"
        async with serving(make_home(tmp_path, address)) as (_, client):
            error = await failed_turn(client)
        tasks.cancel_scope.cancel()

    assert address in error["message"]
    assert error["additionalDetails"].startswith("No TLS connection to https://127.0.0.1:")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_provider_that_falls_silent_is_given_up(tmp_path: Path, begun: bool) -> None:
    gate = Gate()
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    parts = [created("r1"), item_added(item), text_delta("m1", "Half ")] if begun else []
    async with (
        ScriptedUpstream() as up,
        serving(make_home(tmp_path, up.base_url, provider="stream_idle_timeout_ms = 200")) as (_, client),
    ):
        up.queue += [Reply(events=[*parts, gate]), text_turn("r2", "Fine.")]
        thread_id = await start_thread(client)

        error = await failed_turn(client, thread_id)
        again = await run_turn(client, thread_id)

        assert "the provider was silent for 0.2 seconds" in str(error)
        assert again["status"] == "completed"


async def test_a_redirect_is_not_followed_and_the_key_stays(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        ScriptedUpstream() as thief,
        serving(make_home(tmp_path, up.base_url)) as (_, client),
    ):
        up.queue.append(Reply(status=307, headers={"location": f"{thief.base_url}/responses"}))

        error = await failed_turn(client)

        assert "307" in str(error)
        assert thief.connections == 0


def bomb(size_bytes: int) -> bytes:
    """So many zeros, a thousandth of it long."""
    return gzip.compress(bytes(size_bytes), 9)


GARBAGE: dict[str, Reply] = {
    "bytes that are no text": Reply(headers=SSE, events=[b"\xff\xfe\x00" * 1000]),
    "broken gzip": Reply(headers={**SSE, "content-encoding": "gzip"}, events=[b"\x1f\x8b\x08 and no more"]),
    "nested brackets": Reply(events=[b"data: " + b"[" * 100_000 + b"\n\n"]),
    "events of other shapes": Reply(
        events=['data: {"type": 5}\n\n', "data: [1]\n\n", 'data: "x"\n\n', "data: null\n\n"]
    ),
    "parts of other types": Reply(
        events=[
            'data: {"type": "response.output_item.added", "item": 5, "output_index": "x"}\n\n',
            'data: {"type": "response.output_item.done", "item": {"type": ["message"], "content": {"a": 1}}}\n\n',
            'data: {"type": "response.output_text.delta", "item_id": null, "delta": {"a": 1}}\n\n',
        ]
    ),
    "a gzip bomb in a refusal": Reply(status=400, headers={"content-encoding": "gzip"}, body=bomb(64 * MIB)),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_fails_the_turn_and_the_thread_goes_on(tmp_path: Path, name: str) -> None:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        up.queue += [GARBAGE[name], text_turn("r2", "Fine.")]
        thread_id = await start_thread(client)

        error = await failed_turn(client, thread_id)
        again = await run_turn(client, thread_id)

        assert error["message"]
        assert "Traceback" not in str(error)
        assert again["status"] == "completed"


async def test_a_bomb_in_the_stream_is_left_before_it_has_gone_off(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url, retries=2)) as (_, client):
        up.queue.append(Reply(headers={**SSE, "content-encoding": "gzip"}, events=[bomb(200 * MIB)]))
        error = await failed_turn(client)

        assert "more than this server takes" in str(error)
        assert len(up.posts()) == 1


IMAGES: dict[str, Reply] = {
    "html": Reply(headers={"content-type": "text/html"}, body="<html>Sign in</html>"),
    "not base64": Reply(body={"created": 1, "data": [{"b64_json": "§§"}]}),
    "half a picture": Reply(body={"created": 1, "data": [{"b64_json": as_base64(png()[:40])}]}),
    "more pixels than any screen": Reply(body={"created": 1, "data": [{"b64_json": as_base64(oversized_png())}]}),
    "more bytes than are taken": Reply(headers={"content-length": str(900 * MIB)}, body={"created": 1}),
    "a gzip bomb": Reply(headers={"content-encoding": "gzip"}, body=bomb(300 * MIB)),
    "broken gzip": Reply(headers={"content-encoding": "gzip"}, body=b"nothing packed"),
    "nested brackets": Reply(body=b"[" * 100_000),
    "other types": Reply(body={"created": "x", "data": {"b64_json": [1]}}),
    "a link to a file": Reply(body={"created": 1, "data": [{"url": "file:///etc/hostname"}]}),
    "a link into the machine": Reply(body={"created": 1, "data": [{"url": "http://[::1]:9/x.png"}]}),
}


@pytest.mark.parametrize("name", IMAGES)
async def test_a_bad_answer_of_the_images_api_fails_the_item_alone(tmp_path: Path, name: str) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "A pity.")]
        up.images += [IMAGES[name]] * 3

        turn = await run_turn(client, await start_thread(client))

        item = (await client.wait_for("item/completed", item__id="call_1"))["item"]
        assert (turn["status"], item["status"], item.get("savedPath")) == ("completed", "failed", None)
        assert item["error"]["message"] in outputs(up.posts()[1])[0]["output"]
        assert not list((tmp_path / "home" / "generated_images").rglob("*.*"))


async def test_a_redirect_of_the_images_api_is_not_followed_and_the_login_stays(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        ScriptedUpstream() as thief,
        serving(picture_home(tmp_path, up)) as (_, client),
    ):
        up.queue += [sse("r1", imagegen("call_1", prompt="a fox")), text_turn("r2", "A pity.")]
        up.images.append(Reply(status=308, headers={"location": f"{thief.base_url}/images/generations"}))

        await run_turn(client, await start_thread(client))

        item = (await client.wait_for("item/completed", item__id="call_1"))["item"]
        assert item["status"] == "failed"
        assert thief.connections == 0
