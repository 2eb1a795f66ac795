"""The lists that clients ask for at their start: what there is, honest emptiness, and what is not supported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_server.protocol.unsupported import UNSUPPORTED
from tests.interaction.conversation import UNKNOWN_THREAD, refused, run_turn, start_thread
from tests.support.server import connected, make_home, running, serving
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio
NO_UPSTREAM = "http://127.0.0.1:9/v1"
EMPTY: dict[str, Any] = {"data": [], "nextCursor": None}


async def test_skills_are_listed_by_folder_with_the_files_that_are_none(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    folder = home.cwd / ".codex" / "skills"
    for name, text in (("demo", "---\nname: demo\ndescription: A demo.\n---\n"), ("odd", "no head")):
        (folder / name).mkdir(parents=True)
        (folder / name / "SKILL.md").write_text(text, encoding="utf-8")
    async with serving(home) as (_, client):
        here = await client.request("skills/list", {})
        there = await client.request("skills/list", {"cwds": [str(tmp_path)], "forceReload": True})

    (entry,) = here["data"]
    assert entry["cwd"] == str(home.cwd)
    assert entry["skills"] == [
        {
            "name": "demo",
            "description": "A demo.",
            "path": str(folder / "demo" / "SKILL.md"),
            "scope": "repo",
            "enabled": True,
            "pluginId": None,
        }
    ]
    assert [error["path"] for error in entry["errors"]] == [str(folder / "odd" / "SKILL.md")]
    assert there == {"data": [{"cwd": str(tmp_path), "skills": [], "errors": []}]}


async def test_hooks_are_listed_as_they_run(tmp_path: Path) -> None:
    hooks = (
        '[[hooks.PreToolUse]]\nmatcher = "image_gen.*"\nhooks = [{type = "command", command = "true", timeout = 1.5}]\n'
    )
    home = make_home(tmp_path, NO_UPSTREAM, top=hooks)
    async with serving(home) as (_, client):
        thread_id = await start_thread(client, cwd=str(tmp_path))
        reply = await client.request("hooks/list", {"threadId": thread_id})

    (entry,) = reply["data"]
    (hook,) = entry["hooks"]
    assert entry["cwd"] == str(tmp_path)
    assert (hook["eventName"], hook["matcher"], hook["command"], hook["timeoutSec"]) == (
        "preToolUse",
        "image_gen.*",
        "true",
        2,
    )
    assert (hook["source"], hook["sourcePath"]) == ("user", str(home.home / "config.toml"))
    assert (hook["enabled"], hook["isManaged"], hook["trustStatus"], hook["async"]) == (True, False, "trusted", False)


async def test_what_there_is_none_of_is_an_empty_list(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        for method in ("mcpServerStatus/list", "app/list", "project/list", "threadSection/list"):
            assert await client.request(method, {}) == EMPTY
        thread_id = await start_thread(client)
        assert await client.request("thread/backgroundTerminals/list", {"threadId": thread_id}) == EMPTY
        assert (await refused(client, "thread/backgroundTerminals/list", {"threadId": UNKNOWN_THREAD}))[0] == -32600
        assert (await client.request("plugin/list", {}))["marketplaces"] == []
        assert (await client.request("plugin/installed", {}))["marketplaces"] == []
        bedrock = await client.request("account/bedrock/checkGovCloudRequirements", {})

    assert bedrock == {"isGovCloud": False, "shouldWarn": False}


async def test_the_sandbox_modes_are_listed_in_pages(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        first = await client.request("permissionProfile/list", {"limit": 2})
        second = await client.request("permissionProfile/list", {"cursor": first["nextCursor"]})

    assert [row["id"] for row in first["data"] + second["data"]] == [":read-only", ":workspace", ":danger-full-access"]
    assert second["nextCursor"] is None


async def test_a_thread_takes_the_permission_profiles_that_are_listed(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        taken = await client.request("thread/start", {"permissions": ":danger-full-access"})
        unknown = await refused(client, "thread/start", {"permissions": ":everything"})

    assert taken["sandbox"] == {"type": "dangerFullAccess"}
    assert unknown == (-32600, "There is no permission profile :everything; permissionProfile/list names them all.")


READ_ONLY, WORKSPACE = ({"id": name, "extends": None} for name in (":read-only", ":workspace"))


@pytest.mark.parametrize(
    ("setting", "params", "profile"),
    [
        ("", {}, READ_ONLY),
        ("", {"permissions": ":workspace"}, WORKSPACE),
        ("", {"sandbox": "workspace-write"}, None),
        ('sandbox_mode = "workspace-write"', {}, None),
        ('sandbox_mode = "workspace-write"', {"permissions": ":read-only"}, READ_ONLY),
    ],
)
async def test_a_thread_tells_the_permission_profile_that_is_in_force(
    tmp_path: Path, setting: str, params: dict[str, str], profile: dict[str, Any] | None
) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    config = home.home / "config.toml"
    text = config.read_text(encoding="utf-8").replace('sandbox_mode = "workspace-write"', setting)
    config.write_text(text, encoding="utf-8")
    async with serving(home) as (_, client):
        reply = await client.request("thread/start", params)

    assert reply["activePermissionProfile"] == profile


async def test_a_permission_profile_sticks_until_a_sandbox_is_chosen(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue += [text_turn("r1", "Hello."), text_turn("r2", "Hello.")]
        async with serving(home) as (_, client):
            thread_id = await start_thread(client, permissions=":workspace")
            await run_turn(client, thread_id, permissions=":read-only")
            forks = [
                await client.request("thread/fork", {"threadId": thread_id, "excludeTurns": True, **more})
                for more in ({}, {"sandbox": "read-only"})
            ]
        async with serving(home) as (_, other):
            resumed = await other.request("thread/resume", {"threadId": thread_id})
            await run_turn(other, thread_id, sandboxPolicy={"type": "readOnly", "networkAccess": True})

        told = [
            params["threadSettings"]["activePermissionProfile"]
            for each in (client, other)
            for params in each.notifications("thread/settings/updated")
        ]
    assert told == [READ_ONLY, None]
    assert [reply["activePermissionProfile"] for reply in (*forks, resumed)] == [READ_ONLY, None, READ_ONLY]


@pytest.mark.parametrize(
    "name", ["thread/start", "thread/resume", "thread/fork", "turn/start", "thread/settings/update"]
)
async def test_a_permission_profile_and_a_sandbox_are_not_taken_together(tmp_path: Path, name: str) -> None:
    by_policy = name in ("turn/start", "thread/settings/update")
    sandbox = {"sandboxPolicy": {"type": "dangerFullAccess"}} if by_policy else {"sandbox": "read-only"}
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        up.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            await run_turn(client, thread_id)
        async with serving(home) as (_, client):
            if by_policy:
                await client.request("thread/resume", {"threadId": thread_id})
            params = {
                "threadId": thread_id,
                "input": [{"type": "text", "text": "Hi"}],
                "permissions": ":workspace",
                **sandbox,
            }
            code, message = await refused(client, name, params)

    assert (code, message) == (
        -32600,
        f"`permissions` cannot be combined with `{next(iter(sandbox))}`; send one of the two.",
    )


async def test_there_is_one_collaboration_mode(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        reply = await client.request("collaborationMode/list", {})

    assert reply == {"data": [{"name": "Default", "mode": "default", "model": None, "reasoning_effort": None}]}


async def test_providers_are_listed_with_how_they_are_signed_and_without_secrets(tmp_path: Path) -> None:
    more = """
[model_providers.gateway]
base_url = "https://user:pw@gateway.example.com/v1"
experimental_bearer_token = "sk-hidden"

[model_providers.plain]
base_url = "http://127.0.0.1:1/v1"
"""
    async with serving(make_home(tmp_path, NO_UPSTREAM, provider=more)) as (_, client):
        reply = await client.request("modelProvider/list", {})

    rows = {row["id"]: (row["canEdit"], row["baseUrl"], row["settings"]) for row in reply["data"]}
    gateway = "customGateway"
    assert (reply["defaultProviderId"], reply["canChangeDefault"]) == ("fake", True)
    assert rows == {
        "fake": (
            True,
            NO_UPSTREAM,
            {"type": gateway, "auth": {"mode": "environmentVariable", "envKey": "FAKE_KEY"}},
        ),
        "gateway": (True, None, {"type": gateway, "auth": {"mode": "externallyConfigured", "envKey": None}}),
        "offline": (False, None, {"type": gateway, "auth": {"mode": "none"}}),
        "openai": (False, None, {"type": "openai"}),
        "plain": (True, "http://127.0.0.1:1/v1", {"type": gateway, "auth": {"mode": "none"}}),
    }


async def test_the_host_is_described_as_it_is(tmp_path: Path) -> None:
    home = make_home(tmp_path, NO_UPSTREAM)
    async with serving(home) as (_, client):
        environment = await client.request("environment/info", {"environmentId": "local"})
        unknown = await refused(client, "environment/info", {"environmentId": "moon"})
        sandbox = await client.request("windowsSandbox/readiness", None)
        diagnostics = await client.request("server/diagnostics", {})

    assert environment["cwd"] == home.cwd.as_uri()
    assert unknown == (-32600, "There is no environment moon; threads run in the one named local.")
    assert sandbox == {"status": "notConfigured"}
    assert {gauge["name"]: gauge["value"] for gauge in diagnostics["gauges"]} == {
        "app.connections": 1,
        "app.threads.loaded": 0,
    }


async def test_every_method_that_is_not_supported_says_so_and_why(tmp_path: Path) -> None:
    async with serving(make_home(tmp_path, NO_UPSTREAM)) as (_, client):
        answers = {method: await refused(client, method, {}) for method in UNSUPPORTED}

    assert answers == {
        method: (-32601, f"{method} is not supported yet: {reason}.") for method, reason in UNSUPPORTED.items()
    }


async def test_an_experimental_method_asks_for_the_capability_first(tmp_path: Path) -> None:
    async with running(make_home(tmp_path, NO_UPSTREAM)) as app, connected(app, experimental=False) as client:
        code, message = await refused(client, "thread/realtime/start", {})

    assert (code, message) == (-32600, "thread/realtime/start requires experimentalApi capability")
