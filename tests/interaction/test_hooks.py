"""The user's commands around a tool call, seen from the client and from the provider."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.bootstrap import App
from tests.interaction.conversation import Client, imagegen, outputs, picture_home, run_turn, start_thread, start_turn
from tests.support.server import Home, connected, running, serving
from tests.support.upstream import Reply, ScriptedUpstream, sse, text_turn

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="the commands are those of a POSIX shell"),
]
PROMPT = "a blue whale"


def hook(event: str, command: str, matcher: str = "image_gen.imagegen", **members: Any) -> str:
    more = "".join(f"{name} = {json.dumps(value)}\n" for name, value in members.items())
    return (
        f"[[hooks.{event}]]\nmatcher = {json.dumps(matcher)}\n"
        f'[[hooks.{event}.hooks]]\ntype = "command"\ncommand = {json.dumps(command)}\n{more}'
    )


def hooked_home(folder: Path, up: ScriptedUpstream, *hooks: str) -> Home:
    home = picture_home(folder, up)
    path = home.home / "config.toml"
    path.write_text(path.read_text(encoding="utf-8") + "\n".join(hooks), encoding="utf-8")
    home.env["PATH"] = "/usr/bin:/bin"
    return home


def queue_picture(up: ScriptedUpstream) -> None:
    up.queue += [sse("r1", imagegen("call_1", prompt=PROMPT)), text_turn("r2", "Done.")]


def runs(client: Client, method: str) -> list[dict[str, Any]]:
    """The runs that were told, without what differs from time to time."""
    told = [frame["run"] for frame in client.notifications(method)]
    return [{key: value for key, value in run.items() if key not in ("id", "startedAt")} for run in told]


def pictures(client: Client) -> list[dict[str, Any]]:
    done = (frame["item"] for frame in client.notifications("item/completed"))
    return [item for item in done if item["type"] == "imageGeneration"]


async def test_hooks_are_told_of_a_picture_without_its_bytes(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PreToolUse", "cat > pre.json"), hook("PostToolUse", "cat > post.json"))
        queue_picture(up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client, cwd=str(home.cwd))
            turn = await run_turn(client, thread_id)
    item = pictures(client)[0]
    pre = json.loads((home.cwd / "pre.json").read_text(encoding="utf-8"))
    post = json.loads((home.cwd / "post.json").read_text(encoding="utf-8"))
    assert pre == {
        "session_id": thread_id,
        "turn_id": turn["id"],
        "transcript_path": None,
        "cwd": str(home.cwd),
        "hook_event_name": "PreToolUse",
        "model": "gpt-5.5",
        "permission_mode": "default",
        "tool_name": "image_gen.imagegen",
        "tool_input": {"prompt": PROMPT},
        "tool_use_id": "call_1",
    }
    response = post.pop("tool_response")
    assert post == {**pre, "hook_event_name": "PostToolUse"}
    facts = {key: response[key] for key in ("path", "type", "bytes", "sha256", "width", "height")}
    assert facts == {
        "path": item["savedPath"],
        "type": item["mimeType"],
        "bytes": item["bytes"],
        "sha256": item["sha256"],
        "width": item["width"],
        "height": item["height"],
    }
    assert (home.cwd / "post.json").stat().st_size < 4096
    assert [part["type"] for part in outputs(up.posts()[1])[0]["output"]] == ["input_image", "input_text"]


async def test_a_run_of_a_hook_is_shown_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PreToolUse", "true", statusMessage="Checking the prompt"))
        queue_picture(up)
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client))
    started = {
        "eventName": "preToolUse",
        "handlerType": "command",
        "executionMode": "sync",
        "scope": "turn",
        "source": "user",
        "sourcePath": str(home.home / "config.toml"),
        "displayOrder": 0,
        "status": "running",
        "statusMessage": "Checking the prompt",
        "completedAt": None,
        "durationMs": None,
        "entries": [],
    }
    assert runs(client, "hook/started") == [started]
    (completed,) = runs(client, "hook/completed")
    assert {**completed, "completedAt": None, "durationMs": None} == {**started, "status": "completed"}
    assert isinstance(completed["completedAt"], int)
    assert isinstance(completed["durationMs"], int)


@pytest.mark.parametrize(
    "command",
    [
        "echo whales are protected >&2; exit 2",
        'echo \'{"decision": "block", "reason": "whales are protected"}\'',
        'echo \'{"hookSpecificOutput": {"permissionDecision": "deny", '
        '"permissionDecisionReason": "whales are protected"}}\'',
    ],
)
async def test_a_blocked_call_makes_no_item_and_no_request_and_everybody_is_told(tmp_path: Path, command: str) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PreToolUse", command), hook("PostToolUse", "touch after"))
        queue_picture(up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client, cwd=str(home.cwd))
            turn = await run_turn(client, thread_id)
    told = "Tool call blocked by PreToolUse hook: whales are protected. Tool: image_gen.imagegen"
    assert turn["status"] == "completed"
    assert outputs(up.posts()[1])[0]["output"] == told
    assert client.notifications("warning") == [{"threadId": thread_id, "message": told}]
    assert runs(client, "hook/completed")[0]["status"] == "blocked"
    assert runs(client, "hook/completed")[0]["entries"] == [{"kind": "feedback", "text": "whales are protected"}]
    assert (pictures(client), up.posts("/images/generations"), up.unscripted) == ([], [], [])
    assert not (home.cwd / "after").exists()


async def test_one_hook_of_several_is_enough_to_block(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(
            tmp_path,
            up,
            hook("PreToolUse", "touch first", matcher="*"),
            hook("PreToolUse", "echo no >&2; exit 2", matcher="image_gen.*"),
            hook("PreToolUse", "touch other", matcher="Bash"),
        )
        queue_picture(up)
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
    assert outputs(up.posts()[1])[0]["output"].startswith("Tool call blocked by PreToolUse hook: no. ")
    assert sorted(path.name for path in home.cwd.iterdir()) == ["first"]


async def test_what_a_hook_says_after_the_tool_goes_to_the_model_beside_the_picture(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PostToolUse", "echo too dark, try again >&2; exit 2", "imagegen"))
        queue_picture(up)
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client))
    output = outputs(up.posts()[1])[0]["output"]
    assert output[0]["type"] == "input_image"
    assert output[-1] == {"type": "input_text", "text": "PostToolUse hook: too dark, try again"}
    assert pictures(client)[0]["status"] == "completed"


async def test_no_hook_runs_after_a_picture_that_failed(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PostToolUse", "touch after"))
        queue_picture(up)
        up.images.append(Reply(status=400, body={"error": {"message": "no"}}))
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
    assert pictures(client)[0]["status"] == "failed"
    assert not (home.cwd / "after").exists()


@pytest.mark.parametrize(
    ("command", "members", "cause"),
    [
        ("exit 3", {}, "it ended with status 3"),
        ("sleep 60", {"timeout": 0.2}, "it did not end within 0.2 s and was stopped"),
    ],
)
async def test_a_hook_that_fails_by_itself_is_told_and_stops_nothing(
    tmp_path: Path, command: str, members: dict[str, Any], cause: str
) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PreToolUse", command, **members))
        queue_picture(up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
    place = home.home / "config.toml"
    message = f"The PreToolUse hook of {place} failed, so it decided nothing: {cause}."
    assert client.notifications("warning") == [{"threadId": thread_id, "message": message}]
    assert runs(client, "hook/completed")[0]["status"] == "failed"
    assert pictures(client)[0]["status"] == "completed"


async def test_an_interrupt_ends_a_hook_that_is_running(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PreToolUse", "sleep 600"))
        queue_picture(up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            turn_id = await start_turn(client, thread_id)
            await client.wait_for("hook/started")
            await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
            done = await client.wait_for("turn/completed")
    assert done["turn"]["status"] == "interrupted"
    assert runs(client, "hook/completed")[0]["status"] == "failed"
    assert (pictures(client), up.posts("/images/generations")) == ([], [])


async def test_a_picture_is_the_models_even_when_the_hook_after_it_is_interrupted(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up, hook("PostToolUse", "sleep 600"))
        queue_picture(up)
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            turn_id = await start_turn(client, thread_id)
            await client.wait_for("hook/started")
            await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
            await client.wait_for("turn/completed")
            await run_turn(client, thread_id)
    (output,) = outputs(up.posts()[-1])
    assert output["output"][0]["type"] == "input_image"


async def test_a_hook_of_a_project_that_is_not_trusted_does_not_run(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = hooked_home(tmp_path, up)
        (home.cwd / ".codex").mkdir()
        project = home.cwd / ".codex" / "config.toml"
        project.write_text(hook("PreToolUse", "touch ran; exit 2"), encoding="utf-8")
        queue_picture(up)
        async with running(home) as app, connected(app) as client:
            warning = await client.wait_for("configWarning")
            await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
        assert f"{project}: hooks is ignored: the project is not trusted" in warning["summary"]
        assert (runs(client, "hook/started"), (home.cwd / "ran").exists()) == ([], False)
        await _once_trusted(home, up, project)


async def _once_trusted(home: Home, up: ScriptedUpstream, project: Path) -> None:
    """The same project, trusted by the user: its hook counts."""
    own = home.home / "config.toml"
    trust = f"\n[projects.'{project.parent.parent}']\ntrust_level = \"trusted\"\n"
    own.write_text(own.read_text(encoding="utf-8") + trust, encoding="utf-8")
    queue_picture(up)
    async with App(home.options()).running() as app, connected(app) as client:
        await run_turn(client, await start_thread(client, cwd=str(home.cwd)))
    assert [run["source"] for run in runs(client, "hook/started")] == ["project"]
    assert await anyio.Path(home.cwd / "ran").exists()
