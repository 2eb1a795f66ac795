"""A thread's settings, from what a rollout tells of them: `turn_context` lines and `thread_settings_applied`. Pure.

What this server does not know (permission profiles of its own making, plugins, collaboration modes) is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from app_server.errors import AppServerError
from app_server.moving.rollout_items import Json
from app_server.tools.dynamic import parse_dynamic_tools
from app_server.turns.context import Settings

_POLICIES: Final = frozenset({"untrusted", "on-failure", "on-request", "never"})


def first_settings(meta: Json) -> Settings:
    """What the first line tells; the model comes with the first turn."""
    return Settings(
        model="",
        model_provider=str(meta.get("model_provider") or "openai"),
        cwd=str(meta.get("cwd") or "/"),
        dynamic_tools=_tools(meta.get("dynamic_tools")),
    )


def changed(settings: Settings, told: Json) -> Settings:
    """The settings with what a line tells; members that it does not have stay."""
    changes: dict[str, Any] = {
        "model": _text(told.get("model")),
        "model_provider": _text(told.get("model_provider_id")),
        "cwd": _text(told.get("cwd")),
        "approval_policy": policy if (policy := _text(told.get("approval_policy"))) in _POLICIES else None,
        "approvals_reviewer": _text(told.get("approvals_reviewer")),
        "sandbox": _sandbox(told.get("sandbox_policy")),
        "effort": _text(told.get("effort")) or _text(told.get("reasoning_effort")),
        "summary": _text(told.get("reasoning_summary")),
        "personality": _text(told.get("personality")),
        "service_tier": _text(told.get("service_tier")),
    }
    return replace(settings, **{name: value for name, value in changes.items() if value is not None})


def _sandbox(policy: Any) -> dict[str, Any] | None:
    if not isinstance(policy, Mapping):
        return None
    match policy.get("type", policy.get("mode")):
        case "read-only":
            return {"type": "readOnly", "networkAccess": bool(policy.get("network_access"))}
        case "workspace-write":
            return {
                "type": "workspaceWrite",
                "writableRoots": [str(root) for root in policy.get("writable_roots") or []],
                "networkAccess": bool(policy.get("network_access")),
                "excludeTmpdirEnvVar": bool(policy.get("exclude_tmpdir_env_var")),
                "excludeSlashTmp": bool(policy.get("exclude_slash_tmp")),
            }
        case "danger-full-access":
            return {"type": "dangerFullAccess"}
        case _:
            return None


def _tools(given: Any) -> tuple[Mapping[str, Any], ...]:
    """The tools of the client, if this server can offer them."""
    tools = tuple(tool for tool in given if isinstance(tool, Mapping)) if isinstance(given, list) else ()
    try:
        parse_dynamic_tools(tools)
    except AppServerError:
        return ()
    return tools


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
