"""Rollouts of the reference become threads of ours: both modes, forks, reverts, damage, pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app_server.moving.codex import move_codex
from app_server.moving.report import Report
from app_server.moving.rollout_files import RolloutsUnreadable
from app_server.storage.base import PictureQuery, Storage
from app_server.storage.memory import MemoryStorageWorld
from app_server.threads.replay import ThreadState, replay, turn_objects
from tests.support.pictures import data_url, png
from tests.support.rollouts import (
    FORK,
    THREAD,
    TURN,
    Line,
    context,
    event,
    item,
    legacy_turn,
    line,
    meta,
    numbered,
    paginated_turn,
    said,
    write_rollout,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def target(tmp_path: Path) -> Storage:
    return MemoryStorageWorld(home=tmp_path / "target").process()


async def moved(home: Path, target: Storage | None) -> Report:
    return await move_codex(home, target, lambda report: None, default_model="gpt-default")


async def state_of(target: Storage, thread_id: str = THREAD) -> ThreadState:
    return replay(await target.log.read(thread_id))


def texts(history: list[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Role and first text of the messages that the model would be sent."""
    return [(str(one.get("role")), str(one["content"][0].get("text"))) for one in history if "content" in one]


def shown(state: ThreadState) -> list[list[tuple[str, str]]]:
    """Type and id of the items of each turn."""
    return [[(one["type"], one["id"]) for one in turn["items"]] for turn in turn_objects(state, "full")]


TALK = [("developer", "Be brief."), ("user", "one"), ("assistant", "first"), ("user", "two"), ("assistant", "second")]


async def test_a_paginated_rollout_keeps_ids_times_settings_and_history(tmp_path: Path, target: Storage) -> None:
    write_rollout(
        tmp_path, numbered([meta(), *paginated_turn(1, "one", "first", 1), *paginated_turn(2, "two", "second", 5)])
    )
    report = await moved(tmp_path, target)
    assert (report.complete, report.threads, report.verified_threads) == (True, {"moved": 1}, 1)
    state = await state_of(target)
    assert texts(state.history) == TALK
    assert turn_objects(state, "full")[0] == {
        "id": TURN.format(1),
        "rootTurnId": TURN.format(1),
        "items": [
            {
                "type": "userMessage",
                "id": "user-1",
                "clientId": None,
                "content": [{"type": "text", "text": "one", "text_elements": []}],
                "startedAtMs": 1795378741500,
                "completedAtMs": 1795378741500,
            },
            {
                "type": "agentMessage",
                "id": "agent-1",
                "moderation": None,
                "text": "first",
                "phase": None,
                "memoryCitation": None,
                "delivery": None,
                "questions": None,
                "startedAtMs": 1795378741500,
                "completedAtMs": 1795378741500,
            },
        ],
        "itemsView": "full",
        "status": "completed",
        "error": None,
        "startedAt": 1795378741,
        "completedAt": 1795378741,
        "durationMs": 250,
    }
    row = await target.log.row(THREAD)
    assert row is not None
    assert state.settings is not None
    assert (row.preview, row.listed, row.source, row.cwd, row.model) == ("one", True, "cli", "/work", "gpt-5.5")
    assert (row.created_at_ms, row.updated_at_ms) == (1795378740500, 1795378745750)
    assert (state.settings.approval_policy, state.settings.sandbox["type"]) == ("never", "readOnly")


async def test_a_legacy_rollout_has_the_same_history_and_counted_items(tmp_path: Path, target: Storage) -> None:
    turns = [*legacy_turn(1, "one", "first", 1), *legacy_turn(2, "two", "second", 5)]
    write_rollout(tmp_path, [meta(mode="legacy"), *turns])
    assert (await moved(tmp_path, target)).complete
    state = await state_of(target)
    assert texts(state.history) == TALK
    assert shown(state) == [
        [("userMessage", "item-1"), ("agentMessage", "item-2")],
        [("userMessage", "item-3"), ("agentMessage", "item-4")],
    ]


async def test_a_rollout_without_turn_events_begins_a_turn_with_each_message(tmp_path: Path, target: Storage) -> None:
    def spoken(words: str, answer: str) -> list[Line]:
        return [line for line in legacy_turn(1, words, answer) if line["payload"].get("type", "task")[:4] != "task"]

    write_rollout(tmp_path, [meta(mode="legacy"), *spoken("one", "first"), *spoken("two", "second")])
    assert (await moved(tmp_path, target)).complete
    state = await state_of(target)
    assert texts(state.history) == TALK
    assert [(turn.status, len(turn.items)) for turn in state.turns.values()] == [("completed", 2), ("completed", 2)]


async def test_what_the_reference_keeps_for_itself_is_not_sent(tmp_path: Path, target: Storage) -> None:
    own = said("user", "one", internal_chat_message_metadata_passthrough={"turn_id": "x"}, phase=None)
    tools = line("response_item", {"type": "additional_tools", "tools": []})
    write_rollout(tmp_path, [meta(), event("task_started", turn_id="t1"), own, tools])
    await moved(tmp_path, target)
    content = [{"type": "input_text", "text": "one"}]
    assert (await state_of(target)).history[1:] == [
        {"type": "message", "id": "msg_one", "role": "user", "content": content}
    ]


async def test_commands_changes_plans_and_searches_are_items_of_the_wire(tmp_path: Path, target: Storage) -> None:
    turn = TURN.format(1)
    command = {
        "type": "CommandExecution",
        "id": "call_1",
        "command": ["bash", "-lc", "echo hi"],
        "cwd": "file:///work/a%20b",
        "parsed_cmd": [{"type": "read", "cmd": "cat x", "name": "x", "path": "/work/x"}],
        "source": "unified_exec_startup",
        "status": "completed",
        "aggregated_output": "hi\n",
        "exit_code": 0,
        "duration": {"secs": 1, "nanos": 2_000_000},
    }
    change = {"type": "update", "unified_diff": "@@\n", "move_path": "/work/b"}
    patch = {"type": "FileChange", "id": "call_2", "changes": {"/work/a": change}, "status": "declined"}
    plan = {"type": "Plan", "id": "plan", "text": "1. think"}
    search = {"type": "WebSearch", "id": "ws", "query": "q", "action": {"type": "open_page", "url": "https://x"}}
    lines = [item(turn, one) for one in (command, patch, plan, search)]
    write_rollout(tmp_path, [meta(), event("task_started", turn_id=turn), *lines])
    await moved(tmp_path, target)
    (only,) = turn_objects(await state_of(target), "full")
    plain = [{key: value for key, value in one.items() if not key.endswith("AtMs")} for one in only["items"]]
    assert plain == [
        {
            "type": "commandExecution",
            "id": "call_1",
            "pluginId": None,
            "scriptPath": None,
            "command": "bash -lc 'echo hi'",
            "cwd": "/work/a b",
            "processId": None,
            "source": "unifiedExecStartup",
            "status": "completed",
            "commandActions": [{"type": "read", "command": "cat x", "name": "x", "path": "/work/x"}],
            "aggregatedOutput": "hi\n",
            "exitCode": 0,
            "durationMs": 1002,
        },
        {
            "type": "fileChange",
            "id": "call_2",
            "changes": [
                {
                    "path": "/work/a",
                    "kind": {"type": "update", "move_path": "/work/b"},
                    "diff": "@@\n\n\nMoved to: /work/b",
                }
            ],
            "status": "declined",
        },
        {"type": "plan", "id": "plan", "text": "1. think"},
        {
            "type": "webSearch",
            "id": "ws",
            "query": "q",
            "action": {"type": "openPage", "url": "https://x"},
            "results": None,
        },
    ]


async def test_a_legacy_command_is_made_of_its_call_and_its_output(tmp_path: Path, target: Storage) -> None:
    arguments = '{"cmd": "false", "workdir": "/work/sub"}'
    call = {"type": "function_call", "name": "exec_command", "arguments": arguments, "call_id": "call_1"}
    output = "Wall time: 0.1 seconds\nProcess exited with code 3\nOutput:\nno\n"
    lines = [
        event("task_started", turn_id="t1"),
        line("response_item", call),
        line("response_item", {"type": "function_call_output", "call_id": "call_1", "output": output}),
    ]
    write_rollout(tmp_path, [meta(mode="legacy"), *lines])
    await moved(tmp_path, target)
    (only,) = turn_objects(await state_of(target), "full")
    (command,) = only["items"]
    told = {key: command[key] for key in ("id", "command", "cwd", "exitCode", "status", "aggregatedOutput")}
    assert told == {
        "id": "call_1",
        "command": "false",
        "cwd": "/work/sub",
        "exitCode": 3,
        "status": "failed",
        "aggregatedOutput": "no\n",
    }


async def test_a_turn_that_was_cut_off_is_interrupted_and_its_calls_are_answered(
    tmp_path: Path, target: Storage
) -> None:
    call = {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "call_1"}
    write_rollout(
        tmp_path, [meta(), event("task_started", turn_id="t1"), said("user", "one"), line("response_item", call)]
    )
    await moved(tmp_path, target)
    state = await state_of(target)
    assert state.turns["t1"].status == "interrupted"
    answer = state.history[-1]
    assert (answer["type"], answer["call_id"]) == ("function_call_output", "call_1")


async def test_a_failed_turn_keeps_its_error(tmp_path: Path, target: Storage) -> None:
    error = {"message": "too long", "codex_error_info": "context_window_exceeded"}
    write_rollout(
        tmp_path, [meta(), event("task_started", turn_id="t1"), event("task_complete", turn_id="t1", error=error)]
    )
    await moved(tmp_path, target)
    turn = (await state_of(target)).turns["t1"]
    told = {"message": "too long", "codexErrorInfo": "contextWindowExceeded", "additionalDetails": None}
    assert (turn.status, turn.error) == ("failed", told)


async def test_a_compaction_replaces_the_history_behind_the_instructions(tmp_path: Path, target: Storage) -> None:
    summary = said("user", "summary")["payload"]
    compacted = line("compacted", {"message": "m", "replacement_history": [summary]})
    write_rollout(
        tmp_path, [meta(), *paginated_turn(1, "one", "first"), compacted, *paginated_turn(2, "two", "second")]
    )
    await moved(tmp_path, target)
    told = [TALK[0], ("user", "summary"), *TALK[3:]]
    assert texts((await state_of(target)).history) == told


async def test_an_old_compaction_keeps_the_users_words_and_its_summary(tmp_path: Path, target: Storage) -> None:
    compacted = line("compacted", {"message": "summary"})
    write_rollout(tmp_path, [meta(mode="legacy"), *legacy_turn(1, "one", "first"), compacted])
    await moved(tmp_path, target)
    assert texts((await state_of(target)).history) == [TALK[0], ("user", "one"), ("user", "summary")]


async def test_a_fork_begins_with_the_lines_of_its_source(tmp_path: Path, target: Storage) -> None:
    source = numbered([meta(), *paginated_turn(1, "one", "first"), *paginated_turn(2, "two", "second")])
    base = {"thread_id": THREAD, "end_ordinal_exclusive": 8, "end_byte_offset": 0}
    own = [meta(FORK, second=9, forked_from_id=THREAD, history_base=base), *paginated_turn(3, "three", "third", 9)]
    write_rollout(tmp_path, source)
    write_rollout(tmp_path, numbered(own, 8), FORK)
    report = await moved(tmp_path, target)
    assert (report.complete, report.threads["moved"]) == (True, 2)
    state = await state_of(target, FORK)
    assert texts(state.history) == [*TALK[:3], ("user", "three"), ("assistant", "third")]
    assert list(state.turns) == [TURN.format(1), TURN.format(3)]
    row = await target.log.row(FORK)
    assert row is not None
    assert row.meta["forkedFromId"] == THREAD


async def test_a_fork_whose_source_is_gone_keeps_its_own_lines_and_says_so(tmp_path: Path, target: Storage) -> None:
    base = {"thread_id": THREAD, "end_ordinal_exclusive": 8}
    write_rollout(tmp_path, numbered([meta(FORK, history_base=base), *paginated_turn(3, "three", "third")], 8), FORK)
    report = await moved(tmp_path, target)
    assert report.notes == {f"Thread {FORK} begins in thread {THREAD}, which is not there.": 1}
    assert list((await state_of(target, FORK)).turns) == [TURN.format(3)]


async def test_a_revert_goes_on_in_a_second_file(tmp_path: Path, target: Storage) -> None:
    first = numbered([meta(), *paginated_turn(1, "one", "first"), *paginated_turn(2, "bad", "worse")])
    base = {"thread_id": THREAD, "end_ordinal_exclusive": 8}
    again = [meta(second=9, history_base=base), *paginated_turn(3, "two", "second", 9)]
    write_rollout(tmp_path, first)
    write_rollout(tmp_path, numbered(again, 8), suffix=f"_{FORK}")
    report = await moved(tmp_path, target)
    assert (report.total, report.complete) == (1, True)
    assert texts((await state_of(target)).history) == TALK


async def test_a_legacy_rollback_takes_turns_away(tmp_path: Path, target: Storage) -> None:
    turns = [*legacy_turn(1, "one", "first"), *legacy_turn(2, "bad", "worse"), event("thread_rolled_back", num_turns=1)]
    write_rollout(tmp_path, [meta(mode="legacy"), *turns, *legacy_turn(3, "two", "second")])
    await moved(tmp_path, target)
    state = await state_of(target)
    assert (texts(state.history), list(state.turns)) == (TALK, [TURN.format(1), TURN.format(3)])


async def test_damaged_and_unknown_lines_are_counted_and_the_rest_is_taken(tmp_path: Path, target: Storage) -> None:
    broken = ['{"timestamp": "x", "type":', "\0" * 64, "[]", '{"type": "event_msg", "payload": 7}']
    odd = [line("hologram", {}), event("hum"), item(TURN.format(1), {"type": "Dance", "id": "d"})]
    misshapen = event("task_complete", turn_id=TURN.format(1), error={"message": 1, "codex_error_info": []})
    write_rollout(tmp_path, [meta(), *broken, *odd, *paginated_turn(1, "one", "first"), misshapen])
    report = await moved(tmp_path, target)
    assert report.complete
    skipped = "Lines of the kind {} mean nothing here and were skipped."
    assert report.notes == {
        "A damaged line was skipped.": 4,
        skipped.format("hologram"): 1,
        skipped.format("hum"): 1,
        skipped.format("item Dance"): 1,
    }
    assert texts((await state_of(target)).history) == TALK[:3]


async def test_a_rollout_without_its_first_line_is_known_by_its_name(tmp_path: Path, target: Storage) -> None:
    write_rollout(tmp_path, paginated_turn(1, "one", "first"))
    assert (await moved(tmp_path, target)).complete
    assert texts((await state_of(target)).history) == TALK[1:3]


async def test_names_archived_threads_and_sub_agents(tmp_path: Path, target: Storage) -> None:
    write_rollout(tmp_path, [meta(), *paginated_turn(1, "one", "first")], archived=True)
    write_rollout(tmp_path, [meta(FORK, source={"subagent": "review"}), *paginated_turn(2, "two", "second")], FORK)
    index = f'{{"id": "{THREAD}", "thread_name": "old"}}\nrubbish\n{{"id": "{THREAD}", "thread_name": "Named"}}\n'
    (tmp_path / "session_index.jsonl").write_text(index, encoding="utf-8")
    report = await moved(tmp_path, target)
    row = await target.log.row(THREAD)
    assert row is not None
    assert (row.name, row.archived) == ("Named", True)
    assert await target.log.row(FORK) is None
    assert list(report.notes.values()) == [1]


async def test_a_second_run_doubles_nothing_and_appends_what_has_come(tmp_path: Path, target: Storage) -> None:
    lines = [meta(), *paginated_turn(1, "one", "first")]
    write_rollout(tmp_path, lines)
    assert (await moved(tmp_path, target)).threads == {"moved": 1}
    before = await target.log.read(THREAD)
    assert (await moved(tmp_path, target)).threads == {"present": 1}
    assert await target.log.read(THREAD) == before
    write_rollout(tmp_path, [*lines, *paginated_turn(2, "two", "second", 5)])
    report = await moved(tmp_path, target)
    assert (report.threads, report.complete) == ({"resumed": 1}, True)
    assert texts((await state_of(target)).history) == TALK
    row = await target.log.row(THREAD)
    assert row is not None
    assert row.updated_at_ms == 1795378745750


async def test_a_thread_with_other_content_is_told_and_left_alone(tmp_path: Path, target: Storage) -> None:
    write_rollout(tmp_path, [meta(), *paginated_turn(1, "one", "first")])
    await moved(tmp_path, target)
    before = await target.log.read(THREAD)
    write_rollout(tmp_path, [meta(), *paginated_turn(1, "other", "words")])
    report = await moved(tmp_path, target)
    assert (report.complete, report.threads) == (False, {"differs": 1})
    assert report.problems[0].thread_id == THREAD
    assert await target.log.read(THREAD) == before


@pytest.mark.parametrize("mode", ["paginated", "legacy"])
async def test_pictures_become_blobs_and_their_bytes_leave_the_log(tmp_path: Path, target: Storage, mode: str) -> None:
    drawn, attached = png(9, 9), png(8, 8)
    picture = {"id": "call_1", "call_id": "call_1", "status": "completed", "result": base64.b64encode(drawn).decode()}
    turn = TURN.format(1)
    shown_lines = (
        [
            item(
                turn,
                {
                    "type": "UserMessage",
                    "id": "u",
                    "content": [{"type": "image", "image_url": data_url(attached), "detail": "low"}],
                },
            ),
            item(turn, {"type": "Extension", "kind": "image_gen.generation", **picture}),
        ]
        if mode == "paginated"
        else [
            event("user_message", message="", images=[data_url(attached)], image_details=["low"]),
            event("image_generation_end", **picture),
        ]
    )
    part = {"type": "input_image", "image_url": data_url(drawn), "detail": "original"}
    lines = [
        event("task_started", turn_id=turn),
        *shown_lines,
        line("response_item", {"type": "function_call_output", "call_id": "call_1", "output": [part]}),
    ]
    write_rollout(tmp_path, [meta(mode=mode), *lines])
    report = await moved(tmp_path, target)
    assert (report.complete, report.pictures, report.verified_pictures) == (True, 2, 2)
    records = await target.log.read(THREAD)
    assert base64.b64encode(drawn).decode()[20:] not in str(records)
    state = await state_of(target)
    user, generated = state.turns[turn].items.values()
    (row,) = await target.log.pictures(PictureQuery(thread_id=THREAD))
    assert await target.blobs.read(row.ref.sha256) == drawn
    told = {key: generated[key] for key in ("id", "result", "sha256", "width", "mimeType", "handle")}
    assert told == {
        "id": "call_1",
        "result": "",
        "sha256": row.ref.sha256,
        "width": 9,
        "mimeType": "image/png",
        "handle": "img_2",
    }
    url = user["content"][0]["url"]
    assert url.startswith("urn:sha256:")
    assert await target.blobs.read(url.removeprefix("urn:sha256:")) == attached
    assert state.history[-1]["output"] == [
        {"type": "input_image", "picture": row.ref.to_json(), "detail": "original", "handle": "img_2"}
    ]


async def test_a_generated_file_is_taken_along_when_it_is_there(tmp_path: Path, target: Storage) -> None:
    folder = tmp_path / "generated_images" / THREAD
    folder.mkdir(parents=True)
    (folder / "call_1.png").write_bytes(png())
    lost = {"type": "Extension", "kind": "image_gen.generation", "id": "call_2", "savedPath": str(tmp_path / "no.png")}
    found = {**lost, "id": "call_1"}
    turn = TURN.format(1)
    write_rollout(tmp_path, [meta(), event("task_started", turn_id=turn), item(turn, found), item(turn, lost)])
    report = await moved(tmp_path, target)
    assert report.notes == {"The file of a generated picture is not there any more.": 1}
    (row,) = await target.log.pictures(PictureQuery(thread_id=THREAD))
    assert (row.item_id, await target.blobs.read(row.ref.sha256)) == ("call_1", png())


async def test_what_is_no_picture_is_left_out_in_words(tmp_path: Path, target: Storage) -> None:
    part = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
    message = line("response_item", {"type": "message", "role": "user", "content": [part]})
    write_rollout(tmp_path, [meta(), event("task_started", turn_id="t1"), message])
    report = await moved(tmp_path, target)
    assert report.notes == {"A picture in a rollout cannot be used and was left out.": 1}
    assert (await state_of(target)).history[-1]["content"][0]["type"] == "input_text"


async def test_a_dry_run_counts_and_opens_no_target(tmp_path: Path) -> None:
    write_rollout(tmp_path, [meta(), *paginated_turn(1, "one", "first"), context(model="other")])
    report = await moved(tmp_path, None)
    assert (report.dry_run, report.total, report.records, report.done) == (True, 1, 8, 0)


async def test_a_folder_without_rollouts_is_refused(tmp_path: Path, target: Storage) -> None:
    with pytest.raises(RolloutsUnreadable, match="has no folder sessions; name a home of codex"):
        await moved(tmp_path, target)
