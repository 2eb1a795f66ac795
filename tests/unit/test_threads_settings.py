"""A thread's settings: made from config and params, changed by what a turn overrides, stored, shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.config.schema import Config
from app_server.protocol.thread import ThreadResumeParams, ThreadStartParams
from app_server.protocol.turn import TurnStartParams
from app_server.threads.settings import (
    collaboration_mode,
    environments,
    from_json,
    initial_settings,
    settings_members,
    thread_settings,
    to_json,
    with_resume_overrides,
    with_turn_overrides,
)
from app_server.turns.context import Settings

SETTINGS = Settings(model="m", model_provider="p", cwd="/w", effort="low", features={"a": True})
READ_ONLY = {"type": "readOnly", "networkAccess": False}


def started(config: Config | None = None, **params: Any) -> Settings:
    return initial_settings(
        config or Config(),
        ThreadStartParams.model_validate(params),
        cwd=Path("/w"),
        default_model="default-model",
        features={"a": True},
        project_features={"b": False},
    )


def turned(settings: Settings = SETTINGS, **params: Any) -> Settings:
    return with_turn_overrides(settings, TurnStartParams.model_validate({"threadId": "t", "input": [], **params}))


def resumed(features: dict[str, bool] | None = None, **params: Any) -> Settings:
    given = ThreadResumeParams.model_validate({"threadId": "t", **params})
    return with_resume_overrides(SETTINGS, given, features=features or {})


def test_a_new_thread_takes_params_over_config_over_defaults() -> None:
    plain = started()
    assert (plain.model, plain.model_provider, plain.cwd) == ("default-model", Config().model_provider, "/w")
    assert (plain.features, plain.project_features) == ({"a": True}, {"b": False})
    config = replace(Config(), model="config-model", model_provider="config-provider")
    assert (started(config).model, started(config).model_provider) == ("config-model", "config-provider")
    assert started(config, model="asked", modelProvider="asked-provider", sandbox="read-only") == replace(
        started(config), model="asked", model_provider="asked-provider", sandbox=READ_ONLY, permission_profile=None
    )


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("read-only", READ_ONLY),
        (
            "workspace-write",
            {
                "type": "workspaceWrite",
                "writableRoots": [],
                "networkAccess": False,
                "excludeTmpdirEnvVar": False,
                "excludeSlashTmp": False,
            },
        ),
        ("danger-full-access", {"type": "dangerFullAccess"}),
    ],
)
def test_a_sandbox_mode_becomes_its_policy_at_the_start_and_at_a_resume(name: str, policy: dict[str, Any]) -> None:
    assert started(sandbox=name).sandbox == policy
    assert resumed(sandbox=name) == replace(SETTINGS, sandbox=policy)


def test_a_turn_that_overrides_nothing_leaves_the_same_object() -> None:
    assert turned() is SETTINGS
    assert turned(model=None, effort=None, summary=None, cwd=None, sandboxPolicy=None, personality=None) is SETTINGS
    assert turned(model="m", effort="low", cwd="/w") is SETTINGS


@pytest.mark.parametrize(
    ("params", "changes"),
    [
        ({"model": "n"}, {"model": "n"}),
        ({"effort": "high"}, {"effort": "high"}),
        ({"summary": "auto"}, {"summary": "auto"}),
        ({"cwd": "/x"}, {"cwd": "/x"}),
        ({"approvalPolicy": "never"}, {"approval_policy": "never"}),
        ({"sandboxPolicy": {"type": "dangerFullAccess"}}, {"sandbox": {"type": "dangerFullAccess"}}),
        ({"personality": "friendly"}, {"personality": "friendly"}),
        ({"serviceTier": "flex"}, {"service_tier": "flex"}),
        ({"outputSchema": {"type": "object"}, "unknown": 1}, {}),
    ],
)
def test_what_a_turn_overrides_sticks(params: dict[str, Any], changes: dict[str, Any]) -> None:
    assert turned(**params) == replace(SETTINGS, **changes)


def test_a_collaboration_mode_gives_model_and_effort_where_the_turn_does_not() -> None:
    mode = {
        "mode": "default",
        "settings": {"model": "mode-model", "reasoning_effort": "high", "developer_instructions": None},
    }
    assert turned(collaborationMode=mode) == replace(SETTINGS, model="mode-model", effort="high")
    assert turned(collaborationMode=mode, model="asked") == replace(SETTINGS, model="asked", effort="high")


def test_a_resume_overrides_only_what_it_names_and_adds_to_the_threads_features() -> None:
    assert resumed() == SETTINGS
    assert resumed({"b": False}, model="n", developerInstructions="Be brief.") == replace(
        SETTINGS, model="n", developer_instructions="Be brief.", features={"a": True, "b": False}
    )
    assert resumed({"a": False}).features == {"a": False}


def test_settings_survive_the_log_and_members_of_a_later_release_are_ignored() -> None:
    full = replace(
        SETTINGS,
        sandbox={"type": "workspaceWrite", "writableRoots": ["/a"]},
        approval_policy={"granular": {"rules": True}},
        project_features={"b": True},
    )
    stored = orjson.loads(orjson.dumps(to_json(full)))
    assert from_json(stored) == full
    assert from_json({**stored, "member_of_tomorrow": 1}) == full
    assert from_json({"model": "m", "model_provider": "p", "cwd": "/w"}) == Settings(
        model="m", model_provider="p", cwd="/w"
    )


def test_settings_are_shown_in_the_wires_names() -> None:
    place = [{"environmentId": "local", "cwd": "/w", "runtimeWorkspaceRoots": ["/w"]}]
    mode = {
        "mode": "default",
        "settings": {"model": "m", "reasoning_effort": "low", "developer_instructions": None},
    }
    shared: dict[str, Any] = {
        "model": "m",
        "modelProvider": "p",
        "serviceTier": None,
        "disabledPluginIds": [],
        "cwd": "/w",
        "approvalPolicy": "on-request",
        "approvalsReviewer": "user",
        "activePermissionProfile": None,
        "multiAgentMode": "explicitRequestOnly",
    }
    assert environments(SETTINGS) == place
    assert collaboration_mode(SETTINGS) == mode
    assert settings_members(SETTINGS) == {
        **shared,
        "runtimeWorkspaceRoots": ["/w"],
        "instructionSources": [],
        "sandbox": READ_ONLY,
        "reasoningEffort": "low",
    }
    assert thread_settings(SETTINGS) == {
        **shared,
        "environments": place,
        "sandboxPolicy": READ_ONLY,
        "effort": "low",
        "summary": None,
        "collaborationMode": mode,
        "personality": None,
    }
