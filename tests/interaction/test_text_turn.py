"""A turn of words, from both ends: what the client hears and in which order, what the provider is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.interaction.conversation import Client, refused, run_turn, said, start_thread, start_turn, text, users_words
from tests.support.server import make_home, serving
from tests.support.upstream import (
    Gate,
    Reply,
    ScriptedUpstream,
    completed,
    created,
    function_call,
    item_done,
    message,
    reasoning,
    sse,
    text_turn,
)

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]
ONE_RESPONSE = {
    "totalTokens": 135,
    "inputTokens": 110,
    "cachedInputTokens": 40,
    "cacheWriteInputTokens": 0,
    "outputTokens": 25,
    "reasoningOutputTokens": 10,
}


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        yield up, client


async def test_the_notifications_of_a_text_turn_come_in_the_order_of_the_protocol(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "Hello you."))

    await run_turn(client, await start_thread(client))

    assert client.order() == [
        "thread/started",
        "thread/status/changed",
        "turn/started",
        "item/started",
        "item/completed",
        "item/started",
        "item/agentMessage/delta",
        "item/agentMessage/delta",
        "item/completed",
        "thread/tokenUsage/updated",
        "account/rateLimits/updated",
        "thread/readState/changed",
        "thread/status/changed",
        "turn/completed",
    ]


async def test_the_status_goes_from_active_to_idle(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "Hello."))

    await run_turn(client, await start_thread(client))

    statuses = [params["status"] for params in client.notifications("thread/status/changed")]
    assert statuses == [{"type": "active", "activeFlags": []}, {"type": "idle"}]


async def test_the_reply_of_turn_start_comes_before_any_notification_of_the_turn(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "Hello."))
    thread_id = await start_thread(client)

    request_id = await client.post("turn/start", {"threadId": thread_id, "input": text("Hi")})
    await client.wait_for("turn/completed")

    reply = next(at for at, frame in enumerate(client.incoming) if frame.get("id") == request_id)
    first = next(
        at for at, frame in enumerate(client.incoming) if (frame.get("params") or {}).get("status") is not None
    )
    assert reply < first
    assert client.incoming[reply]["result"]["turn"] | {"id": "t", "rootTurnId": "t"} == {
        "id": "t",
        "rootTurnId": "t",
        "items": [],
        "itemsView": "notLoaded",
        "status": "inProgress",
        "error": None,
        "startedAt": None,
        "completedAt": None,
        "durationMs": None,
    }


async def test_the_text_is_the_same_in_deltas_item_and_turn(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "A rather long answer."))

    turn = await run_turn(client, await start_thread(client))

    deltas = "".join(params["delta"] for params in client.notifications("item/agentMessage/delta"))
    item = (await client.wait_for("item/completed", item__type="agentMessage"))["item"]
    assert deltas == item["text"] == turn["items"][0]["text"] == "A rather long answer."
    assert (turn["status"], turn["itemsView"], turn["error"]) == ("completed", "summary", None)


async def test_the_user_message_is_echoed_with_the_clients_id(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "Hello."))

    await run_turn(client, await start_thread(client), "Hi", clientUserMessageId="mine-1")

    item = (await client.wait_for("item/completed", item__type="userMessage"))["item"]
    assert (item["clientId"], item["content"]) == ("mine-1", [{"type": "text", "text": "Hi", "text_elements": []}])


async def test_usage_is_told_for_the_response_and_for_the_thread(talk: Talk) -> None:
    up, client = talk
    up.queue += [text_turn("r1", "One."), text_turn("r2", "Two.")]
    thread_id = await start_thread(client)

    await run_turn(client, thread_id)
    await run_turn(client, thread_id)

    first, second = (params["tokenUsage"] for params in client.notifications("thread/tokenUsage/updated"))
    double = {key: value * 2 for key, value in ONE_RESPONSE.items()}
    assert first == {"total": ONE_RESPONSE, "last": ONE_RESPONSE, "modelContextWindow": 258400}
    assert second == {"total": double, "last": ONE_RESPONSE, "modelContextWindow": 258400}


async def test_an_answer_without_usage_is_complete(talk: Talk) -> None:
    up, client = talk
    up.queue.append(sse("r1", message("m1", "Hello."), usage=None))

    assert (await run_turn(client, await start_thread(client)))["status"] == "completed"


async def test_rate_limits_come_from_the_headers(talk: Talk) -> None:
    up, client = talk
    headers = {"x-codex-primary-used-percent": "12.4", "x-codex-primary-window-minutes": "300"}
    up.queue.append(Reply(events=text_turn("r1", "Hello.").events, headers=headers))

    await run_turn(client, await start_thread(client))

    limits = (await client.wait_for("account/rateLimits/updated"))["rateLimits"]
    assert limits["primary"] == {"usedPercent": 12, "windowDurationMins": 300, "resetsAt": None}


async def test_the_earlier_input_is_byte_identical_in_the_next_turn(talk: Talk) -> None:
    up, client = talk
    up.queue += [text_turn("r1", "One — ünï."), text_turn("r2", "Two."), text_turn("r3", "Three.")]
    thread_id = await start_thread(client)

    for words in ("first ☃", "second", "third"):
        await run_turn(client, thread_id, words)

    first, second, third = up.posts()
    for earlier, later in ((first, second), (second, third)):
        prefix = orjson.dumps(earlier.body["input"])[:-1]
        assert prefix in earlier.raw
        assert prefix in later.raw
    assert users_words(third) == ["first ☃", "second", "third"]


async def test_a_request_has_the_shape_of_the_responses_api(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))
    thread_id = await start_thread(client)

    turn = await run_turn(client, thread_id)

    request = up.posts()[0]
    body = {key: value for key, value in request.body.items() if key not in ("input", "client_metadata")}
    assert body == {
        "model": "gpt-5.5",
        "stream": True,
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "medium"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": thread_id,
        "text": {"verbosity": "low"},
    }
    assert request.headers["authorization"] == "Bearer sk-fake-for-tests"
    assert request.headers["originator"] == "tests"
    assert request.body["client_metadata"]["turn_id"] == turn["id"]


async def test_the_context_stands_before_the_users_words(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))

    await run_turn(client, await start_thread(client), "Hi")

    roles = [item["role"] for item in up.posts()[0].body["input"]]
    context, words = said(up.posts()[0])
    assert roles == ["developer", "user", "user"]
    assert context.startswith("<environment_context")
    assert words == "Hi"


async def test_the_context_is_repeated_only_when_it_changed(talk: Talk, tmp_path: Path) -> None:
    up, client = talk
    up.queue += [text_turn(f"r{number}", "Yes.") for number in range(3)]
    thread_id = await start_thread(client)

    await run_turn(client, thread_id, "one")
    await run_turn(client, thread_id, "two")
    await run_turn(client, thread_id, "three", cwd=str(tmp_path))

    spoken = [words.split("\n")[0] for words in said(up.posts()[2])]
    assert spoken == ["<environment_context>", "one", "two", "<environment_context>", "three"]
    assert str(tmp_path) in said(up.posts()[2])[3]


async def test_base_instructions_replace_ours_and_developer_instructions_are_added(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))

    await run_turn(client, await start_thread(client, baseInstructions="Base.", developerInstructions="More."))

    assert said(up.posts()[0], "developer") == ["Base.", "More."]


async def test_an_output_schema_holds_for_one_turn(talk: Talk) -> None:
    up, client = talk
    up.queue += [text_turn("r1", "{}"), text_turn("r2", "Free.")]
    thread_id = await start_thread(client)
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}

    await run_turn(client, thread_id, outputSchema=schema)
    await run_turn(client, thread_id)

    wanted = {"type": "json_schema", "strict": True, "schema": schema, "name": "codex_output_schema"}
    assert [request.body["text"] for request in up.posts()] == [
        {"verbosity": "low", "format": wanted},
        {"verbosity": "low"},
    ]


async def test_reasoning_is_shown_and_its_sealed_content_goes_back(talk: Talk) -> None:
    up, client = talk
    up.queue += [sse("r1", reasoning("rs1", "First.", "Second."), message("m1", "Yes.")), text_turn("r2", "Again.")]
    thread_id = await start_thread(client)

    await run_turn(client, thread_id, summary="detailed")
    await run_turn(client, thread_id)

    item = (await client.wait_for("item/completed", item__type="reasoning"))["item"]
    assert item["summary"] == ["First.", "Second."]
    assert client.order().count("item/reasoning/summaryPartAdded") == 2
    assert up.posts()[0].body["reasoning"] == {"effort": "medium", "summary": "detailed"}
    assert next(part for part in up.posts()[1].body["input"] if part["type"] == "reasoning") == {
        "type": "reasoning",
        "id": "rs1",
        "summary": [{"type": "summary_text", "text": "First."}, {"type": "summary_text", "text": "Second."}],
        "content": None,
        "encrypted_content": "sealed",
    }


async def test_overrides_stick_and_the_whole_settings_are_told(talk: Talk, tmp_path: Path) -> None:
    up, client = talk
    up.queue += [text_turn("r1", "One."), text_turn("r2", "Two.")]
    thread_id = await start_thread(client)
    sandbox = {"type": "readOnly", "networkAccess": False}

    await run_turn(client, thread_id, model="gpt-6-sol", effort="high", approvalPolicy="never", sandboxPolicy=sandbox)
    await run_turn(client, thread_id)

    told = client.notifications("thread/settings/updated")
    settings = told[0]["threadSettings"]
    assert [params["threadId"] for params in told] == [thread_id]
    assert {key: settings[key] for key in ("model", "effort", "approvalPolicy", "sandboxPolicy")} == {
        "model": "gpt-6-sol",
        "effort": "high",
        "approvalPolicy": "never",
        "sandboxPolicy": sandbox,
    }
    shapes = [(request.body["model"], request.body["reasoning"]["effort"]) for request in up.posts()]
    assert shapes == [("gpt-6-sol", "high")] * 2


async def test_a_relative_folder_is_taken_from_the_threads_own(talk: Talk, tmp_path: Path) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))

    await run_turn(client, await start_thread(client, cwd=str(tmp_path)), cwd="sub")

    (told,) = client.notifications("thread/settings/updated")
    assert told["threadSettings"]["cwd"] == str(tmp_path / "sub")


async def test_an_override_that_changes_nothing_is_not_told(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))

    await run_turn(client, await start_thread(client), model="gpt-5.5")

    assert client.notifications("thread/settings/updated") == []


async def test_a_model_that_the_catalogue_does_not_know_is_used(talk: Talk) -> None:
    up, client = talk
    up.queue.append(text_turn("r1", "One."))

    turn = await run_turn(client, await start_thread(client, model="my-own-model"))

    assert (turn["status"], up.posts()[0].body["model"]) == ("completed", "my-own-model")


async def test_two_threads_run_their_turns_independently(talk: Talk) -> None:
    up, client = talk
    slow = Gate()
    up.queue += [sse("r1", slow, message("m1", "Slow.")), text_turn("r2", "Quick.")]
    one, two = await start_thread(client), await start_thread(client)

    await start_turn(client, one, "slow one")
    await slow.wait_reached()
    quick = await run_turn(client, two, "quick one")
    slow.release()
    done = await client.wait_for("turn/completed", threadId=one)

    assert (quick["items"][0]["text"], done["turn"]["items"][0]["text"]) == ("Quick.", "Slow.")
    assert [users_words(request) for request in up.posts()] == [["slow one"], ["quick one"]]


async def test_events_that_nobody_knows_and_broken_lines_are_skipped(talk: Talk) -> None:
    up, client = talk
    odd: list[Any] = [{"type": "response.brand.new", "x": 1}, "data: {broken\n\n", ": a comment\n\n"]
    up.queue.append(sse("r1", *odd, message("m1", "Fine.")))

    turn = await run_turn(client, await start_thread(client))

    assert (turn["status"], turn["items"][0]["text"]) == ("completed", "Fine.")


async def test_an_unknown_tool_call_is_answered_and_the_turn_goes_on(talk: Talk) -> None:
    up, client = talk
    up.queue += [sse("r1", function_call("c1", "no_such_tool", {})), text_turn("r2", "I see.")]

    turn = await run_turn(client, await start_thread(client))

    output = up.posts()[1].body["input"][-1]
    assert (turn["status"], output["type"], output["call_id"]) == ("completed", "function_call_output", "c1")
    assert output["output"].startswith("unsupported call: no_such_tool")


async def test_a_call_without_an_id_is_answered_and_the_turn_goes_on(talk: Talk) -> None:
    up, client = talk
    call = {"type": "function_call", "name": "no_such_tool", "arguments": "{}"}
    up.queue += [
        Reply(events=[created("r1"), {**item_done(call), "output_index": 0}, completed("r1")]),
        text_turn("r2", "I see."),
    ]

    turn = await run_turn(client, await start_thread(client))

    asked, answered = up.posts()[1].body["input"][-2:]
    assert (turn["status"], asked["call_id"]) == ("completed", answered["call_id"])


async def test_a_thread_with_empty_input_is_refused_before_a_turn_starts(talk: Talk) -> None:
    _, client = talk
    thread_id = await start_thread(client)

    assert await refused(client, "turn/start", {"threadId": thread_id, "input": []}) == (
        -32600,
        "input must not be empty",
    )
    assert "turn/started" not in client.order()
