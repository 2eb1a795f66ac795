"""A thread's settings: made from config and params, changed by a turn's overrides, stored, and shown. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app_server.errors import InvalidRequest
from app_server.turns.context import Settings

if TYPE_CHECKING:
    from app_server.config.schema import Config
    from app_server.protocol.thread import ThreadResumeParams, ThreadStartParams
    from app_server.protocol.thread_more import ThreadForkParams, ThreadSettingsUpdateParams
    from app_server.protocol.turn import TurnStartParams

_SANDBOXES: Mapping[str, Mapping[str, Any]] = {
    "read-only": {"type": "readOnly", "networkAccess": False},
    "workspace-write": {
        "type": "workspaceWrite",
        "writableRoots": [],
        "networkAccess": False,
        "excludeTmpdirEnvVar": False,
        "excludeSlashTmp": False,
    },
    "danger-full-access": {"type": "dangerFullAccess"},
}
PERMISSION_PROFILES: Mapping[str, str] = {
    ":read-only": "read-only",
    ":workspace": "workspace-write",
    ":danger-full-access": "danger-full-access",
}
"""The sandbox modes under the names that permission profiles have."""


def initial_settings(
    config: Config,
    params: ThreadStartParams,
    *,
    cwd: Path,
    default_model: str,
    features: Mapping[str, bool],
    project_features: Mapping[str, bool],
) -> Settings:
    """The settings of a new thread: params over config over defaults. `cwd` is absolute."""
    return Settings(
        model=params.model or config.model or default_model,
        model_provider=params.model_provider or config.model_provider,
        cwd=str(cwd),
        approval_policy=_plain(params.approval_policy) or _plain(config.approval_policy),
        approvals_reviewer=params.approvals_reviewer or "user",
        **(_sandbox("sandbox", params.sandbox, params.permissions) or _configured(config)),
        effort=config.model_reasoning_effort,
        summary=config.model_reasoning_summary,
        verbosity=config.model_verbosity,
        personality=params.personality,
        service_tier=params.service_tier,
        service_name=params.service_name,
        base_instructions=params.base_instructions,
        developer_instructions=params.developer_instructions,
        dynamic_tools=tuple(params.dynamic_tools or ()),
        features=dict(features),
        project_features=dict(project_features),
    )


def with_resume_overrides(
    settings: Settings, params: ThreadResumeParams | ThreadForkParams, *, features: Mapping[str, bool]
) -> Settings:
    """A stored thread's settings with what the resuming client overrides; a loaded thread keeps its own."""
    changes: dict[str, Any] = {
        "model": params.model,
        "model_provider": params.model_provider,
        "cwd": str(Path(settings.cwd) / params.cwd) if params.cwd else None,
        "approval_policy": _plain(params.approval_policy),
        "approvals_reviewer": params.approvals_reviewer,
        "personality": getattr(params, "personality", None),  # a fork cannot set it
        "service_tier": params.service_tier,
        "base_instructions": params.base_instructions,
        "developer_instructions": params.developer_instructions,
        "features": {**settings.features, **features} if features else None,
    }
    chosen = _sandbox("sandbox", params.sandbox, params.permissions)
    return replace(settings, **{key: value for key, value in changes.items() if value is not None}, **chosen)


def with_turn_overrides(settings: Settings, params: TurnStartParams | ThreadSettingsUpdateParams) -> Settings:
    """The settings from this turn on: what turn/start overrides sticks. The same object when nothing changes."""
    mode = params.collaboration_mode.settings if params.collaboration_mode is not None else None
    changes: dict[str, Any] = {
        "model": params.model or (mode.model if mode is not None else None),
        "effort": params.effort or (mode.reasoning_effort if mode is not None else None),
        "summary": params.summary,
        "cwd": str(Path(settings.cwd) / params.cwd) if params.cwd else None,
        "approval_policy": _plain(params.approval_policy),
        "approvals_reviewer": params.approvals_reviewer,
        "personality": params.personality,
        "service_tier": params.service_tier,
    }
    chosen = _sandbox("sandboxPolicy", params.sandbox_policy, params.permissions)
    changed = replace(settings, **{key: value for key, value in changes.items() if value is not None}, **chosen)
    return settings if changed == settings else changed


def to_json(settings: Settings) -> dict[str, Any]:
    """As a record keeps them."""
    return {name: getattr(settings, name) for name in Settings.__dataclass_fields__}


def from_json(data: Mapping[str, Any]) -> Settings:
    """From a record; members of a later release are ignored."""
    known = Settings.__dataclass_fields__
    given = {key: value for key, value in data.items() if key in known}
    return Settings(**{**given, "dynamic_tools": tuple(given.get("dynamic_tools") or ())})


def environments(settings: Settings) -> list[dict[str, Any]]:
    """The one place to work in: this machine."""
    return [{"environmentId": "local", "cwd": settings.cwd, "runtimeWorkspaceRoots": [settings.cwd]}]


def settings_members(settings: Settings) -> dict[str, Any]:
    """The members that replies of thread/start and thread/resume have beside `thread`."""
    return {
        "model": settings.model,
        "modelProvider": settings.model_provider,
        "serviceTier": settings.service_tier,
        "disabledPluginIds": [],
        "cwd": settings.cwd,
        "runtimeWorkspaceRoots": [settings.cwd],
        "instructionSources": [],
        "approvalPolicy": settings.approval_policy,
        "approvalsReviewer": settings.approvals_reviewer,
        "sandbox": settings.sandbox,
        "activePermissionProfile": _profile(settings),
        "reasoningEffort": settings.effort,
        "multiAgentMode": "explicitRequestOnly",
    }


def collaboration_mode(settings: Settings) -> dict[str, Any]:
    """The mode that this server knows."""
    return {
        "mode": "default",
        "settings": {
            "model": settings.model,
            "reasoning_effort": settings.effort,
            "developer_instructions": None,
        },
    }


def thread_settings(settings: Settings) -> dict[str, Any]:
    """The protocol's ThreadSettings, for `thread/settings/updated`."""
    return {
        "disabledPluginIds": [],
        "cwd": settings.cwd,
        "environments": environments(settings),
        "approvalPolicy": settings.approval_policy,
        "approvalsReviewer": settings.approvals_reviewer,
        "sandboxPolicy": settings.sandbox,
        "activePermissionProfile": _profile(settings),
        "model": settings.model,
        "modelProvider": settings.model_provider,
        "serviceTier": settings.service_tier,
        "effort": settings.effort,
        "summary": settings.summary,
        "collaborationMode": collaboration_mode(settings),
        "multiAgentMode": "explicitRequestOnly",
        "personality": settings.personality,
    }


def _profile(settings: Settings) -> dict[str, Any] | None:
    """The profile in force, as replies show it; none of ours extends another."""
    return None if settings.permission_profile is None else {"id": settings.permission_profile, "extends": None}


def _configured(config: Config) -> dict[str, Any]:
    """The sandbox of the config; where no file and no client chose one, it is that of a profile."""
    mode = config.sandbox_mode
    profile = next(one for one, its_mode in PERMISSION_PROFILES.items() if its_mode == mode)
    return {"sandbox": dict(_SANDBOXES[mode]), "permission_profile": None if "sandbox_mode" in config.raw else profile}


def _sandbox(name: str, given: Any, profile: str | None) -> dict[str, Any]:
    """What changes by a permission profile, or by what the param `name` says; else nothing. Raises InvalidRequest."""
    if profile is None:
        policy = _SANDBOXES[given] if isinstance(given, str) else given
        return {} if policy is None else {"sandbox": _plain(policy), "permission_profile": None}
    if given is not None:
        raise InvalidRequest(
            f"`permissions` cannot be combined with `{name}`; send one of the two.", data_code="twoSandboxes"
        )
    if profile not in PERMISSION_PROFILES:
        raise InvalidRequest(
            f"There is no permission profile {profile[:100]}; permissionProfile/list names them all.",
            data_code="unknownProfile",
        )
    return {"sandbox": dict(_SANDBOXES[PERMISSION_PROFILES[profile]]), "permission_profile": profile}


def _plain(value: Any) -> Any:
    """A wire value as JSON: a model's object, or the word itself."""
    if hasattr(value, "wire"):  # a model of the wire
        return value.wire()
    return dict(value) if isinstance(value, Mapping) else value
