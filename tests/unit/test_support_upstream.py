"""The scripted upstream is a provider over real HTTP: queued answers, gates, cuts, keep-alive, default pictures."""

import base64
from typing import Any

import anyio
import httpx
import orjson
import pytest

from tests.support.pictures import BLUE, GREEN, png, transparent_png
from tests.support.upstream import (
    USAGE,
    Gate,
    Reply,
    ScriptedUpstream,
    created,
    function_call,
    message,
    reasoning,
    sse,
    text_turn,
)


def events_of(text: str) -> list[dict[str, Any]]:
    """The JSON data of every event of a whole stream."""
    return [orjson.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def client(upstream: ScriptedUpstream) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=upstream.base_url, trust_env=False)


@pytest.mark.anyio
async def test_queued_answers_are_streamed_in_order_over_one_connection() -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue += [text_turn("r1", "Hi"), text_turn("r2", "Ho")]

        first = await http.post("/responses", json={"n": 1})
        second = await http.post("/responses?trace=yes", json={"n": 2}, headers={"X-Thread": "t"})

        item = {"type": "message", "id": "msg_r1", "role": "assistant"}
        assert events_of(first.text) == [
            {"type": "response.created", "response": {"id": "r1", "status": "in_progress", "output": []}},
            {
                "type": "response.output_item.added",
                "output_index": 0,
                "item": {**item, "content": [], "status": "in_progress"},
            },
            {
                "type": "response.output_text.delta",
                "item_id": "msg_r1",
                "output_index": 0,
                "content_index": 0,
                "delta": "Hi",
            },
            {
                "type": "response.output_item.done",
                "output_index": 0,
                "item": {**item, "content": [{"type": "output_text", "text": "Hi", "annotations": []}]},
            },
            {
                "type": "response.completed",
                "response": {"id": "r1", "status": "completed", "output": [], "usage": USAGE},
            },
        ]
        assert events_of(second.text)[0]["response"]["id"] == "r2"
        assert upstream.connections == 1
        assert [request.body for request in upstream.posts()] == [{"n": 1}, {"n": 2}]
        assert (upstream.requests[1].query, upstream.requests[1].headers["x-thread"]) == ({"trace": "yes"}, "t")
        assert upstream.unscripted == []


@pytest.mark.anyio
async def test_items_of_one_answer_are_counted_up() -> None:
    parts = (reasoning("rs_1", "why"), message("msg_1", "so"), function_call("c1", "look", {"at": 1}, "eyes"))
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue.append(sse("r", *parts))
        events = events_of((await http.post("/responses")).text)

    done = [event for event in events if event["type"] == "response.output_item.done"]
    assert [(event["output_index"], event["item"]["type"]) for event in done] == [
        (0, "reasoning"),
        (1, "message"),
        (2, "function_call"),
    ]
    assert done[2]["item"] == {
        "type": "function_call",
        "id": "fc_c1",
        "call_id": "c1",
        "name": "look",
        "namespace": "eyes",
        "arguments": '{"at":1}',
    }


@pytest.mark.anyio
async def test_a_gate_holds_the_stream_until_it_is_released() -> None:
    gate = Gate()
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue.append(Reply(events=["data: 1\n\n", gate, "data: 2\n\n"]))
        async with http.stream("POST", "/responses") as response:
            pieces = response.aiter_text()
            before = await anext(pieces)
            await gate.wait_reached()
            gate.release()
            after = "".join([piece async for piece in pieces])

    assert (before, after) == ("data: 1\n\n", "data: 2\n\n")


@pytest.mark.anyio
async def test_a_client_that_hangs_up_at_a_gate_is_noticed() -> None:
    gate = Gate()
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue.append(sse("r", gate))
        async with http.stream("POST", "/responses"):
            await gate.wait_reached()
        with anyio.fail_after(5):
            await upstream.requests[0].hung_up.wait()


@pytest.mark.anyio
async def test_a_cut_answer_ends_without_its_last_chunk() -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue += [Reply(events=[created("r")], cut=True), Reply(cut=True)]

        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await http.post("/responses")
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await http.post("/responses")


@pytest.mark.anyio
async def test_a_plain_answer_has_its_status_headers_and_body() -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue.append(Reply(status=429, headers={"retry-after": "3"}, body={"error": {"code": "slow_down"}}))
        upstream.routes["GET", "/models"] = Reply(body={"models": []})

        refused = await http.post("/responses")
        models = [(await http.get("/models")).json() for _ in range(2)]

    assert (refused.status_code, refused.headers["retry-after"], refused.json()) == (
        429,
        "3",
        {"error": {"code": "slow_down"}},
    )
    assert models == [{"models": []}, {"models": []}]


@pytest.mark.anyio
async def test_an_unscripted_request_is_refused_and_kept() -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        answer = await http.post("/responses", content=b"not json")

        assert answer.status_code == 400
        assert [(request.path, request.body, request.raw) for request in upstream.unscripted] == [
            ("/v1/responses", None, b"not json")
        ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "ask", "background", "picture"),
    [
        ("/images/generations", {"json": {"background": "auto"}}, "opaque", png(colour=GREEN)),
        ("/images/generations", {"json": {"background": "transparent"}}, "transparent", transparent_png(colour=GREEN)),
        ("/images/edits", {"json": {}}, "opaque", png(colour=BLUE)),
        (
            "/images/edits",
            {"data": {"background": "transparent"}, "files": {"image": b"bytes"}},
            "transparent",
            transparent_png(colour=BLUE),
        ),
    ],
)
async def test_the_images_endpoints_answer_a_picture_by_themselves(
    path: str, ask: dict[str, Any], background: str, picture: bytes
) -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        answer = (await http.post(path, **ask)).json()

    assert answer == {
        "created": 1_700_000_000,
        "background": background,
        "data": [
            {
                "b64_json": base64.b64encode(picture).decode(),
                "revised_prompt": "a revised prompt",
                "generation_id": "generation-1",
            }
        ],
    }


@pytest.mark.anyio
async def test_a_queued_picture_answer_can_be_held_back() -> None:
    gate = Gate()
    async with ScriptedUpstream() as upstream, client(upstream) as http, anyio.create_task_group() as tasks:
        upstream.images.append(Reply(status=500, body="broken", hold=gate))
        answers: list[tuple[int, str]] = []

        async def ask() -> None:
            answer = await http.post("/images/edits", json={})
            answers.append((answer.status_code, answer.text))

        tasks.start_soon(ask)
        posts = await upstream.wait_posts(1, "/images/edits")
        await gate.wait_reached()
        held = list(answers)
        gate.release()

    assert (held, answers, posts[0].body) == ([], [(500, "broken")], {})


@pytest.mark.anyio
async def test_a_chunked_request_body_is_read_whole() -> None:
    async def pieces() -> Any:
        yield b'{"a":'
        yield b"1}"

    async with ScriptedUpstream() as upstream, client(upstream) as http:
        upstream.queue.append(text_turn("r", "ok"))
        await http.post("/responses", content=pieces())

        assert upstream.requests[0].body == {"a": 1}


@pytest.mark.anyio
async def test_waiting_in_vain_tells_what_came() -> None:
    async with ScriptedUpstream() as upstream, client(upstream) as http:
        await http.get("/models")
        with pytest.raises(AssertionError, match=r"1 POST …/responses; came: \['GET /v1/models'\]"):
            await upstream.wait_posts(1, timeout_s=0.01)
