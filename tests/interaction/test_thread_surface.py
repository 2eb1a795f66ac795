"""Forks, reverts, compaction, reviews, shell commands, goals and tools of the client, seen from a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.interaction.conversation import Client, picture_home, run_turn, said, start_thread, users_words
from tests.support.client import RpcFailure
from tests.support.pictures import data_url, png
from tests.support.server import serving
from tests.support.upstream import Gate, ReceivedRequest, ScriptedUpstream, function_call, message, sse, text_turn

pytestmark = pytest.mark.anyio
Talk = tuple[ScriptedUpstream, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, serving(picture_home(tmp_path, up)) as (_, client):
        yield up, client


async def two_turns(talk: Talk) -> tuple[str, list[str]]:
    up, client = talk
    up.queue += [text_turn("r1", "First answer."), text_turn("r2", "Second answer.")]
    thread_id = await start_thread(client)
    turns = [(await run_turn(client, thread_id, words))["id"] for words in ("first", "second")]
    client.skip()
    return thread_id, turns


def answers(request: ReceivedRequest) -> list[str]:
    """What the assistant said, as a request tells it."""
    return said(request, "assistant")


async def refusal(client: Client, method: str, params: dict[str, Any]) -> tuple[int, str]:
    with pytest.raises(RpcFailure) as caught:
        await client.request(method, params)
    return caught.value.code, caught.value.data["code"]


# -- forks
@pytest.mark.parametrize(
    ("cut", "said"),
    [
        ({}, ["First answer.", "Second answer."]),
        ({"lastTurnId": 0}, ["First answer."]),
        ({"beforeTurnId": 1}, ["First answer."]),
    ],
)
async def test_a_fork_goes_on_from_the_turns_it_took_along(talk: Talk, cut: dict[str, int], said: list[str]) -> None:
    up, client = talk
    source, turns = await two_turns(talk)

    params = {"threadId": source, **{key: turns[index] for key, index in cut.items()}}
    fork = (await client.request("thread/fork", params))["thread"]
    up.queue.append(text_turn("r3", "In the fork."))
    await run_turn(client, fork["id"], "third")

    assert (fork["forkedFromId"], len(fork["turns"]), fork["preview"]) == (source, len(said), "first")
    assert answers(up.posts()[-1]) == said
    assert up.posts()[-1].body["prompt_cache_key"] == fork["id"]
    assert len((await client.request("thread/turns/list", {"threadId": source}))["data"]) == 2


@pytest.mark.parametrize(
    ("cut", "told"),
    [({}, [(1, 270)]), ({"lastTurnId": 0}, [(0, 135)]), ({"lastTurnId": 0, "excludeTurns": True}, [])],
)
async def test_a_fork_tells_what_the_turns_in_its_reply_cost(
    talk: Talk, cut: dict[str, Any], told: list[tuple[int, int]]
) -> None:
    _, client = talk
    source, turns = await two_turns(talk)
    params = cut | ({"lastTurnId": turns[cut["lastTurnId"]]} if "lastTurnId" in cut else {})

    fork = (await client.request("thread/fork", {"threadId": source, **params}))["thread"]["id"]
    await client.wait_for("thread/started", thread__id=fork)

    usages = [usage for usage in client.notifications("thread/tokenUsage/updated") if usage["threadId"] == fork]
    shown = [(turns.index(usage["turnId"]), usage["tokenUsage"]["total"]["totalTokens"]) for usage in usages]
    assert shown == told


async def test_a_fork_keeps_the_name(talk: Talk) -> None:
    _, client = talk
    source, _ = await two_turns(talk)
    await client.request("thread/name/set", {"threadId": source, "name": "a boat at sea"})

    fork = (await client.request("thread/fork", {"threadId": source}))["thread"]
    read = (await client.request("thread/read", {"threadId": fork["id"]}))["thread"]
    resumed = (await client.request("thread/resume", {"threadId": fork["id"], "excludeTurns": True}))["thread"]

    assert (fork["name"], read["name"], resumed["name"]) == ("a boat at sea",) * 3


async def test_a_fork_of_a_running_thread_has_its_turn_interrupted(talk: Talk) -> None:
    up, client = talk
    gate = Gate()
    up.queue.append(sse("r1", gate))
    thread_id = await start_thread(client)
    await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "go"}]})
    await gate.wait_reached()

    fork = (await client.request("thread/fork", {"threadId": thread_id}))["thread"]
    gate.release()

    assert [turn["status"] for turn in fork["turns"]] == ["interrupted"]
    assert (await client.wait_for("turn/completed", threadId=thread_id))["turn"]["status"] == "completed"


async def test_a_fork_keeps_its_own_settings_though_its_source_changed_them_before(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with serving(home) as (_, client):
            up.queue += [text_turn("r1", "One."), text_turn("r2", "Two.")]
            source = await start_thread(client)
            await run_turn(client, source, "first", model="gpt-source")
            fork = (await client.request("thread/fork", {"threadId": source, "model": "gpt-fork"}))["thread"]["id"]
            kept = (await client.request("thread/fork", {"threadId": source}))["thread"]["id"]
        async with serving(home) as (_, client):
            resumed = [await client.request("thread/resume", {"threadId": one}) for one in (source, fork, kept)]
    assert [reply["model"] for reply in resumed] == ["gpt-source", "gpt-fork", "gpt-source"]


async def test_a_fork_before_an_unknown_turn_is_refused(talk: Talk) -> None:
    thread_id, _ = await two_turns(talk)
    params = {"threadId": thread_id, "lastTurnId": "nope"}
    assert await refusal(talk[1], "thread/fork", params) == (-32600, "turnNotFound")


# -- reverts
async def test_a_revert_forgets_a_turn_and_what_it_brought_into_the_history(talk: Talk) -> None:
    up, client = talk
    thread_id, turns = await two_turns(talk)

    await client.request("thread/revert", {"threadId": thread_id, "beforeTurnId": turns[1]})
    await client.wait_for("thread/reverted", threadId=thread_id)
    up.queue.append(text_turn("r3", "Another."))
    await run_turn(client, thread_id, "instead")

    assert answers(up.posts()[-1]) == ["First answer."]
    assert users_words(up.posts()[-1]) == ["first", "instead"]
    listed = (await client.request("thread/turns/list", {"threadId": thread_id}))["data"]
    assert [turn["id"] for turn in listed][-1] == turns[0]
    assert len(listed) == 2


async def test_a_revert_behind_a_compaction_brings_the_whole_history_back(talk: Talk) -> None:
    up, client = talk
    thread_id, turns = await two_turns(talk)
    up.queue.append(text_turn("s", "All of it, in short."))
    await client.request("thread/compact/start", {"threadId": thread_id})
    await client.wait_for("turn/completed")

    await client.request("thread/revert", {"threadId": thread_id, "beforeTurnId": turns[1]})
    up.queue.append(text_turn("r3", "Again."))
    await run_turn(client, thread_id, "third")

    assert answers(up.posts()[-1]) == ["First answer."]


# -- compaction
async def test_a_compaction_leaves_the_users_words_and_a_summary(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    gate = Gate()
    up.queue.append(sse("s", gate, message("ms", "All of it, in short.")))

    assert await client.request("thread/compact/start", {"threadId": thread_id}) == {}
    await gate.wait_reached()
    running = await client.wait_for("turn/started")
    params = {"threadId": thread_id, "expectedTurnId": running["turn"]["id"], "input": [{"type": "text", "text": "x"}]}
    with pytest.raises(RpcFailure, match="cannot steer a compact turn") as caught:
        await client.request("turn/steer", params)
    gate.release()
    ended = (await client.wait_for("turn/completed"))["turn"]
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")

    assert caught.value.data["codexErrorInfo"] == {"activeTurnNotSteerable": {"turnKind": "compact"}}
    assert (ended["status"], ended["items"]) == ("completed", [])
    assert [n["item"]["type"] for n in client.notifications("item/completed")].count("contextCompaction") == 1
    last = up.posts()[-1]
    assert answers(last) == []
    words = users_words(last)
    assert (words[0], words[1], words[-1]) == ("first", "second", "third")
    assert "All of it, in short." in words[2]
    assert last.headers["x-codex-window-id"] == f"{thread_id}:1"
    assert up.posts()[-2].body["parallel_tool_calls"] is False


async def test_a_compaction_without_a_summary_fails_and_keeps_the_history(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    up.queue.append(text_turn("s", " "))
    await client.request("thread/compact/start", {"threadId": thread_id})
    failed = (await client.wait_for("turn/completed"))["turn"]
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")

    assert failed["status"] == "failed"
    assert answers(up.posts()[-1]) == ["First answer.", "Second answer."]


# -- review
FINDING = (
    '{"findings": [{"title": "[P1] Bad", "body": "It is bad.", "code_location": {"absolute_file_path": "/a.py", '
    '"line_range": {"start": 1, "end": 2}}}], "overall_explanation": "One issue."}'
)


async def test_a_review_shows_its_findings_and_leaves_them_in_the_history(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    up.queue.append(text_turn("rv", FINDING))

    target = {"type": "custom", "instructions": "Look at a.py"}
    begun = await client.request("review/start", {"threadId": thread_id, "target": target})
    ended = (await client.wait_for("turn/completed"))["turn"]
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")

    text = "One issue.\n\nReview comment:\n\n- [P1] Bad — /a.py:1-2\n  It is bad."
    shown = [n["item"] for n in client.notifications("item/completed") if n["turnId"] == begun["turn"]["id"]]
    assert [item["type"] for item in shown] == ["enteredReviewMode", "exitedReviewMode", "agentMessage"]
    assert (shown[1]["review"], shown[2]["text"], ended["items"][0]["text"]) == (text, text, text)
    assert any(text in words for words in said(up.posts()[-1]))


async def test_a_review_without_words_is_refused(talk: Talk) -> None:
    thread_id, _ = await two_turns(talk)
    params = {"threadId": thread_id, "target": {"type": "custom", "instructions": " "}}
    assert await refusal(talk[1], "review/start", params) == (-32600, "emptyInstructions")


# -- shell commands
async def test_a_shell_command_is_shown_and_told_to_the_model(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    assert await client.request("thread/shellCommand", {"threadId": thread_id, "command": "echo hi; exit 3"}) == {}
    item = (await client.wait_for("item/completed", item__type="commandExecution"))["item"]
    await client.wait_for("turn/completed")
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")

    assert (item["source"], item["status"], item["exitCode"], item["aggregatedOutput"]) == (
        "userShell",
        "failed",
        3,
        "hi\n",
    )
    told = next(words for words in said(up.posts()[-1]) if words.startswith("<user_shell_command"))
    assert "<command>echo hi; exit 3</command>\n<exit_code>3</exit_code>\n<output>\nhi\n</output>" in told


async def test_an_interrupted_shell_command_is_ended_with_its_children(talk: Talk, tmp_path: Path) -> None:
    client = talk[1]
    thread_id, _ = await two_turns(talk)
    pid_file = tmp_path / "pid"
    command = f"sleep 60 & echo $! > {pid_file}; echo started; wait"
    await client.request("thread/shellCommand", {"threadId": thread_id, "command": command})
    turn = (await client.wait_for("turn/started"))["turn"]
    await client.wait_for("item/commandExecution/outputDelta")
    await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn["id"]})
    ended = (await client.wait_for("turn/completed"))["turn"]

    assert ended["status"] == "interrupted"
    state = Path(f"/proc/{pid_file.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text()


# -- goals, read state, settings, injected items
async def test_a_goal_is_kept_with_the_thread_until_it_is_cleared(talk: Talk) -> None:
    client = talk[1]
    thread_id, _ = await two_turns(talk)
    goal = (await client.request("thread/goal/set", {"threadId": thread_id, "objective": "Ship it"}))["goal"]
    done = (await client.request("thread/goal/set", {"threadId": thread_id, "status": "complete"}))["goal"]
    assert (goal["objective"], goal["status"], done["objective"], done["status"]) == (
        "Ship it",
        "active",
        "Ship it",
        "complete",
    )
    assert (await client.request("thread/goal/get", {"threadId": thread_id}))["goal"] == done
    assert await client.request("thread/goal/clear", {"threadId": thread_id}) == {"cleared": True}
    assert await client.request("thread/goal/clear", {"threadId": thread_id}) == {"cleared": False}
    assert (await client.request("thread/goal/get", {"threadId": thread_id})) == {"goal": None}


async def test_a_read_state_changes_only_from_what_the_client_saw(talk: Talk) -> None:
    client = talk[1]
    thread_id, turns = await two_turns(talk)
    seen = (await client.request("thread/read", {"threadId": thread_id}))["readState"]
    read = {"threadId": thread_id, "operation": {"type": "read"}}
    after = await client.request("thread/readState/update", {**read, "expectedRevision": seen["revision"]})
    assert seen["firstUnread"] == {"type": "turn", "turnId": turns[0]}
    assert after["readState"]["firstUnread"] is None
    stale = {**read, "expectedRevision": seen["revision"]}
    assert await refusal(client, "thread/readState/update", stale) == (-32600, "revisionConflict")


async def test_injected_items_are_sent_to_the_model_and_shown_to_nobody(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    item = {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Earlier.", "annotations": []}],
    }
    assert await client.request("thread/inject_items", {"threadId": thread_id, "items": [item]}) == {}
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")
    assert answers(up.posts()[-1]) == ["First answer.", "Second answer.", "Earlier."]


async def test_changed_settings_count_from_the_next_turn_on(talk: Talk) -> None:
    up, client = talk
    thread_id, _ = await two_turns(talk)
    assert (
        await client.request("thread/settings/update", {"threadId": thread_id, "model": "other", "effort": "high"})
        == {}
    )
    told = await client.wait_for("thread/settings/updated")
    up.queue.append(text_turn("r3", "Third."))
    await run_turn(client, thread_id, "third")
    assert (told["threadSettings"]["model"], told["threadSettings"]["effort"]) == ("other", "high")
    assert (up.posts()[-1].body["model"], up.posts()[-1].body["reasoning"]["effort"]) == ("other", "high")


async def test_a_thread_is_found_by_its_words(talk: Talk) -> None:
    client = talk[1]
    thread_id, _ = await two_turns(talk)
    found = (await client.request("thread/search", {"searchTerm": "FIRST"}))["data"]
    assert [(row["thread"]["id"], row["snippet"]) for row in found] == [(thread_id, "first")]
    assert (await client.request("thread/search", {"searchTerm": "zebra"}))["data"] == []


# -- tools of the client
LOOKUP = {"name": "lookup", "description": "Look up a ticket", "inputSchema": {"type": "object", "properties": {}}}


async def test_a_tool_of_the_client_is_called_there_and_its_answer_goes_to_the_model(talk: Talk) -> None:
    up, client = talk
    thread_id = await start_thread(client, dynamicTools=[LOOKUP])
    up.queue += [sse("r1", function_call("c1", "lookup", {"id": 7})), text_turn("r2", "Done.")]
    picture = {"type": "inputImage", "imageUrl": data_url(png())}
    answer = {"contentItems": [{"type": "inputText", "text": "open"}, picture], "success": True}

    await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "look"}]})
    asked = await client.wait_for_request("item/tool/call")
    await client.reply(asked.id, answer)
    item = (await client.wait_for("item/completed", item__type="dynamicToolCall"))["item"]
    await client.wait_for("turn/completed")

    assert (asked.params["tool"], asked.params["arguments"], asked.params["callId"]) == ("lookup", {"id": 7}, "c1")
    assert (item["status"], item["success"], item["arguments"]) == ("completed", True, {"id": 7})
    output = next(i for i in up.posts()[1].body["input"] if i["type"] == "function_call_output")["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]


async def test_a_client_that_fails_ends_in_a_failed_item_and_words_for_the_model(talk: Talk) -> None:
    up, client = talk
    thread_id = await start_thread(client, dynamicTools=[LOOKUP])
    up.queue += [sse("r1", function_call("c1", "lookup", {})), text_turn("r2", "Done.")]
    await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "look"}]})
    asked = await client.wait_for_request("item/tool/call")
    await client.reply(asked.id, RpcFailure(-32000, "broken", None))
    item = (await client.wait_for("item/completed", item__type="dynamicToolCall"))["item"]
    await client.wait_for("turn/completed")
    output = next(i for i in up.posts()[1].body["input"] if i["type"] == "function_call_output")["output"]
    assert (item["status"], item["success"], output) == ("failed", False, "dynamic tool request failed")


@pytest.mark.parametrize(
    ("tools", "code"),
    [
        ([{**LOOKUP, "namespace": "image_gen"}], "reservedNamespace"),
        ([{"type": "namespace", "name": "image_gen", "description": "", "tools": [LOOKUP]}], "reservedNamespace"),
        ([LOOKUP, LOOKUP], "duplicateTool"),
        ([{"name": "x"}], "invalidTool"),
    ],
)
async def test_a_tool_that_cannot_be_offered_is_refused_at_the_start(talk: Talk, tools: list[Any], code: str) -> None:
    assert await refusal(talk[1], "thread/start", {"dynamicTools": tools}) == (-32600, code)
