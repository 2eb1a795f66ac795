"""What a client sees when the provider fails, and what is tried again: the protocol's tables, row by row."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import (
    Client,
    imagegen,
    outputs,
    picture_home,
    run_turn,
    start_thread,
    users_words,
)
from tests.support.server import make_home, serving
from tests.support.upstream import (
    Event,
    Reply,
    ScriptedUpstream,
    created,
    failed,
    incomplete,
    item_added,
    message,
    text_delta,
    text_turn,
)

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        yield up, client


@pytest.fixture
async def patient(tmp_path: Path) -> AsyncIterator[Talk]:
    """A server that tries a broken stream once more."""
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url, retries=1)) as (_, client):
        yield up, client


def error(status: int, code: str | None = None, kind: str = "some_error", **headers: str) -> Reply:
    return Reply(status=status, headers=headers, body={"error": {"message": "because", "type": kind, "code": code}})


def begun() -> list[Event]:
    item = {"type": "message", "id": "m1", "role": "assistant", "content": []}
    return [created("r1"), item_added(item), text_delta("m1", "Half ")]


FAILURES: dict[str, tuple[Reply, Any]] = {
    "400": (Reply(status=400, body="no good"), "other"),
    "401": (error(401), {"httpConnectionFailed": {"httpStatusCode": 401}}),
    "403": (error(403), {"httpConnectionFailed": {"httpStatusCode": 403}}),
    "404": (error(404, "model_not_found"), "modelNotFound"),
    "429": (error(429), {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}),
    "429 usage limit": (error(429, kind="usage_limit_reached"), "usageLimitExceeded"),
    "429 quota": (error(429, "insufficient_quota"), "usageLimitExceeded"),
    "500": (error(500), "internalServerError"),
    "503 overloaded": (error(503, "server_is_overloaded"), "serverOverloaded"),
    "cut": (Reply(cut=True), "other"),
    "cut in mid-stream": (Reply(events=begun(), cut=True), "other"),
    "end without completed": (Reply(events=begun()), "other"),
    "garbage": (Reply(events=["<html>what?</html>\n\n"]), "other"),
    "a JSON body": (Reply(body={"id": "r1"}), "other"),
    "error event": (Reply(events=[{"type": "error", "code": "x", "message": "because"}]), "other"),
    "failed context": (Reply(events=[failed("r1", "context_length_exceeded", "too long")]), "contextWindowExceeded"),
    "failed rate limit": (Reply(events=[failed("r1", "rate_limit_exceeded", "slow down")]), "rateLimitExceeded"),
    "failed quota": (Reply(events=[failed("r1", "insufficient_quota", "pay")]), "usageLimitExceeded"),
    "failed overloaded": (Reply(events=[failed("r1", "server_is_overloaded", "busy")]), "serverOverloaded"),
    "failed prompt": (Reply(events=[failed("r1", "invalid_prompt", "not this")]), "other"),
    "failed otherwise": (Reply(events=[failed("r1", "what", "because")]), "other"),
    "incomplete": (Reply(events=[incomplete("r1", "max_output_tokens")]), "other"),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_ends_the_turn_with_its_kind_and_leaves_the_thread_usable(talk: Talk, name: str) -> None:
    up, client = talk
    reply, kind = FAILURES[name]
    summary = [text_turn("s", "A summary.")] if kind == "contextWindowExceeded" else []  # the next turn compacts first
    up.queue += [reply, *summary, text_turn("r2", "Fine.")]
    thread_id = await start_thread(client)

    turn = await run_turn(client, thread_id, "first")
    told = await client.wait_for("error")
    status = client.notifications("thread/status/changed")[-1]["status"]
    again = await run_turn(client, thread_id, "second")

    assert (turn["status"], turn["items"], turn["error"]["codexErrorInfo"]) == ("failed", [], kind)
    assert told == {"error": turn["error"], "willRetry": False, "threadId": thread_id, "turnId": turn["id"]}
    assert status == {"type": "systemError"}
    assert again["status"] == "completed"
    assert users_words(up.posts()[-1])[0] == "first"
    assert users_words(up.posts()[-1])[-1] == "second"


async def test_the_end_of_a_failed_turn_comes_in_the_order_of_the_protocol(talk: Talk) -> None:
    up, client = talk
    up.queue.append(error(500))

    await run_turn(client, await start_thread(client))

    order = client.order()
    assert order[-4:] == ["thread/status/changed", "error", "thread/readState/changed", "turn/completed"]
    assert order.count("thread/readState/changed") == 1


async def test_a_message_that_a_failure_cut_is_completed_as_dropped(talk: Talk) -> None:
    up, client = talk
    up.queue.append(Reply(events=begun(), cut=True))

    turn = await run_turn(client, await start_thread(client))

    item = (await client.wait_for("item/completed", item__id="m1"))["item"]
    assert (turn["status"], item["text"], item["status"]) == ("failed", "Half ", "dropped")


async def test_a_broken_stream_is_tried_again_and_the_client_is_told(patient: Talk) -> None:
    up, client = patient
    up.queue += [Reply(events=begun(), cut=True), text_turn("r2", "Whole.")]

    turn = await run_turn(client, await start_thread(client))

    told = await client.wait_for("error")
    assert (turn["status"], [item["text"] for item in turn["items"]]) == ("completed", ["Whole."])
    assert (told["willRetry"], told["error"]["message"]) == (True, "Reconnecting... 1/1")
    assert told["error"]["codexErrorInfo"] == {"responseStreamDisconnected": {"httpStatusCode": None}}
    assert told["error"]["additionalDetails"]


async def test_a_message_of_a_broken_attempt_is_dropped_before_the_next_one(patient: Talk) -> None:
    up, client = patient
    up.queue += [Reply(events=begun(), cut=True), text_turn("r2", "Whole.")]

    await run_turn(client, await start_thread(client))

    ends = [params["item"] for params in client.notifications("item/completed")][1:]
    assert [(item["id"], item["text"], item.get("status")) for item in ends] == [
        ("m1", "Half ", "dropped"),
        ("msg_r2", "Whole.", None),
    ]
    assert client.order().index("error") > client.order().index("item/agentMessage/delta")


async def test_a_message_that_was_whole_before_the_break_is_sent_back(patient: Talk) -> None:
    up, client = patient
    up.queue += [Reply(events=[created("r1"), *message("m1", "Part one.")], cut=True), text_turn("r2", "Part two.")]

    await run_turn(client, await start_thread(client))

    last = up.posts()[1].body["input"][-1]
    assert (last["role"], last["content"][0]["text"]) == ("assistant", "Part one.")


async def test_a_stream_that_breaks_too_often_fails_the_turn(patient: Talk) -> None:
    up, client = patient
    up.queue += [Reply(events=begun(), cut=True), Reply(events=begun(), cut=True)]

    turn = await run_turn(client, await start_thread(client))

    assert (turn["status"], [params["willRetry"] for params in client.notifications("error")]) == (
        "failed",
        [True, False],
    )


async def test_a_server_error_is_tried_again_in_silence(patient: Talk) -> None:
    up, client = patient
    up.queue += [error(500), text_turn("r2", "Fine.")]

    turn = await run_turn(client, await start_thread(client))

    assert (turn["status"], client.notifications("error"), len(up.posts())) == ("completed", [], 2)


async def test_a_rate_limit_is_tried_again_after_the_time_it_names(patient: Talk) -> None:
    up, client = patient
    up.queue += [error(429, **{"retry-after": "0"}), text_turn("r2", "Fine.")]

    turn = await run_turn(client, await start_thread(client))

    told = [params["error"]["codexErrorInfo"] for params in client.notifications("error")]
    assert (turn["status"], told) == ("completed", [{"responseStreamDisconnected": {"httpStatusCode": 429}}])


async def test_what_would_fail_again_is_not_tried_again(patient: Talk) -> None:
    up, client = patient
    up.queue.append(error(400))

    turn = await run_turn(client, await start_thread(client))

    assert (turn["status"], len(up.posts())) == ("failed", 1)


async def test_nothing_is_tried_again_once_a_tool_call_has_started(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up, retries=2)) as (_, client):
        up.queue += [Reply(events=[created("r1"), *imagegen("call_1", prompt="a fox")], cut=True)]
        thread_id = await start_thread(client)

        turn = await run_turn(client, thread_id)
        picture = (await client.wait_for("item/completed", item__id="call_1"))["item"]
        up.queue.append(text_turn("r2", "There it is."))
        await run_turn(client, thread_id)

        assert (turn["status"], picture["status"]) == ("failed", "completed")
        assert (len(up.posts()), len(up.posts("/images/generations"))) == (2, 1)
        assert [part["type"] for part in outputs(up.posts()[1])[0]["output"]] == ["input_image", "input_text"]


async def test_a_missing_key_names_the_variable(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        home.env = {}
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))

        assert (turn["status"], turn["error"]["codexErrorInfo"]) == ("failed", "unauthorized")
        assert "set the environment variable FAKE_KEY" in turn["error"]["message"]
        assert up.requests == []


async def test_a_missing_login_says_how_to_log_in(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        up.queue.append(Reply(status=401, body="no key"))
        home = make_home(tmp_path, up.base_url, login="requires_openai_auth = true")
        async with serving(home) as (_, client):
            turn = await run_turn(client, await start_thread(client))

        error = turn["error"]
        assert turn["status"] == "failed"
        assert error["codexErrorInfo"] == {"httpConnectionFailed": {"httpStatusCode": 401}}
        assert error["message"].endswith(": no key; check the login: log in with account/login/start.")
        assert "authorization" not in up.posts()[0].headers


async def test_a_provider_without_a_key_is_sent_no_bearer(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url, login="")) as (_, client):
        up.queue.append(text_turn("r1", "Hello."))

        turn = await run_turn(client, await start_thread(client))

        assert turn["status"] == "completed"
        assert "authorization" not in up.posts()[0].headers


async def test_a_failure_never_repeats_the_key(talk: Talk) -> None:
    up, client = talk
    up.queue.append(Reply(status=401, body={"error": {"message": "Incorrect API key: sk-fake-for-tests"}}))

    turn = await run_turn(client, await start_thread(client))

    assert "sk-fake-for-tests" not in str(client.incoming)
    assert "FAKE_KEY" in turn["error"]["message"]
