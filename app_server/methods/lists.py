"""The lists that clients ask for at their start. What this server has none of is an empty list, and true."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any, Final

import anyio.to_thread

from app_server.hooks.config import HookCommand, HookEvent
from app_server.methods.model import page_offset
from app_server.methods.services import Context
from app_server.methods.thread import resolve_cwd
from app_server.protocol.hooks import HookEventName
from app_server.protocol.lists import (
    AppsListParams,
    BedrockCheckGovCloudRequirementsParams,
    BedrockCheckGovCloudRequirementsResponse,
    CollaborationModeListParams,
    CollaborationModeListResponse,
    CollaborationModeMask,
    HookMetadata,
    HooksListEntry,
    HooksListParams,
    HooksListResponse,
    ListMcpServerStatusParams,
    PermissionProfileListParams,
    PermissionProfileSummary,
    PluginInstalledParams,
    PluginListParams,
    ProjectListParams,
    SkillErrorInfo,
    SkillMetadata,
    SkillsListEntry,
    SkillsListParams,
    SkillsListResponse,
    ThreadBackgroundTerminalsListParams,
    ThreadSectionListParams,
)
from app_server.rpc.registry import method
from app_server.threads.paging import page_limit
from app_server.threads.settings import PERMISSION_PROFILES
from app_server.workspace.skills import find_skills

_EMPTY_PAGE: Final[dict[str, Any]] = {"data": [], "nextCursor": None}
_PROFILES: Final = tuple(PERMISSION_PROFILES)
_EVENTS: Final[dict[HookEvent, HookEventName]] = {
    HookEvent.PRE_TOOL_USE: "preToolUse",
    HookEvent.POST_TOOL_USE: "postToolUse",
}
_FLAGS_FILE: Final = Path("<session-flags>", "config.toml")
"""Stands for the command line where the protocol wants a file."""


@method("skills/list", SkillsListParams)
async def skills_list(ctx: Context, params: SkillsListParams) -> SkillsListResponse:
    """The SKILL.md folders of the repository and of the user, for each working directory. A tenant has none here."""
    folders = [resolve_cwd(cwd, ctx.services) for cwd in params.cwds] or [ctx.services.cwd]
    if ctx.services.ground is not None:
        return SkillsListResponse(
            data=tuple(SkillsListEntry(cwd=str(folder), skills=(), errors=()) for folder in folders)
        )
    home = ctx.services.home
    return SkillsListResponse(
        data=tuple([await anyio.to_thread.run_sync(_skills_entry, folder, home) for folder in folders])
    )


def _skills_entry(cwd: Path, home: Path) -> SkillsListEntry:
    skills, errors = find_skills(cwd, home)
    return SkillsListEntry(
        cwd=str(cwd),
        skills=tuple(
            SkillMetadata(name=one.name, description=one.description, path=str(one.path), scope=one.scope, enabled=True)
            for one in skills
        ),
        errors=tuple(SkillErrorInfo(path=str(one.path), message=one.message) for one in errors),
    )


@method("hooks/list", HooksListParams)
async def hooks_list(ctx: Context, params: HooksListParams) -> HooksListResponse:
    """The hooks of this process: those read at its start run for every thread, whatever its folder."""
    services = ctx.services
    folders = [resolve_cwd(cwd, services) for cwd in params.cwds] or [services.cwd]
    if params.thread_id is not None:
        folders = [Path((await services.threads.require(params.thread_id)).settings.cwd)]
    hooks = services.hooks
    rows = tuple(_hook(one, services.cwd) for one in hooks.commands)
    return HooksListResponse(
        data=tuple(HooksListEntry(cwd=str(cwd), hooks=rows, warnings=hooks.warnings, errors=()) for cwd in folders)
    )


def _hook(hook: HookCommand, cwd: Path) -> HookMetadata:
    path = Path(hook.source_path)
    facts = "\n".join((hook.event.value, hook.matcher or "", hook.command, str(hook.timeout_s)))
    return HookMetadata(
        key=f"{hook.source_path}:{hook.event.value}:{hook.order}",
        event_name=_EVENTS[hook.event],
        command=hook.command,
        matcher=hook.matcher,
        timeout_sec=math.ceil(hook.timeout_s),
        status_message=hook.status_message,
        source_path=str(path if path.is_absolute() else Path(cwd.anchor) / _FLAGS_FILE),
        source=hook.source,
        display_order=hook.order,
        enabled=True,
        is_managed=False,
        current_hash="sha256:" + hashlib.sha256(facts.encode()).hexdigest(),
        trust_status="trusted",
    )


@method("permissionProfile/list", PermissionProfileListParams)
async def permission_profile_list(ctx: Context, params: PermissionProfileListParams) -> dict[str, Any]:
    """The three sandbox modes, under the names that profiles have."""
    start = page_offset(params.cursor, len(_PROFILES))
    end = start + page_limit(params.limit, default=len(_PROFILES))
    rows = [PermissionProfileSummary(id=profile, allowed=True).wire() for profile in _PROFILES[start:end]]
    return {"data": rows, "nextCursor": str(end) if end < len(_PROFILES) else None}


@method("collaborationMode/list", CollaborationModeListParams)
async def collaboration_mode_list(
    ctx: Context, params: CollaborationModeListParams | None
) -> CollaborationModeListResponse:
    """The one mode there is."""
    return CollaborationModeListResponse(data=(CollaborationModeMask(name="Default", mode="default"),))


@method("account/bedrock/checkGovCloudRequirements", BedrockCheckGovCloudRequirementsParams)
async def account_bedrock_check_gov_cloud_requirements(
    ctx: Context, params: BedrockCheckGovCloudRequirementsParams
) -> BedrockCheckGovCloudRequirementsResponse:
    """No login of Amazon Bedrock exists here, so none is of a government's region."""
    return BedrockCheckGovCloudRequirementsResponse(is_gov_cloud=False, should_warn=False)


@method("mcpServerStatus/list", ListMcpServerStatusParams)
async def mcp_server_status_list(ctx: Context, params: ListMcpServerStatusParams) -> dict[str, Any]:
    """There are no MCP servers."""
    return _EMPTY_PAGE


@method("app/list", AppsListParams)
async def app_list(ctx: Context, params: AppsListParams) -> dict[str, Any]:
    """There are no apps."""
    return _EMPTY_PAGE


@method("plugin/list", PluginListParams)
async def plugin_list(ctx: Context, params: PluginListParams) -> dict[str, Any]:
    """There are no marketplaces."""
    return {"marketplaces": [], "marketplaceLoadErrors": [], "featuredPluginIds": []}


@method("plugin/installed", PluginInstalledParams)
async def plugin_installed(ctx: Context, params: PluginInstalledParams) -> dict[str, Any]:
    """There are no plugins."""
    return {"marketplaces": [], "marketplaceLoadErrors": []}


@method("project/list", ProjectListParams)
async def project_list(ctx: Context, params: ProjectListParams) -> dict[str, Any]:
    """There are no projects."""
    return _EMPTY_PAGE


@method("threadSection/list", ThreadSectionListParams)
async def thread_section_list(ctx: Context, params: ThreadSectionListParams) -> dict[str, Any]:
    """There are no sections."""
    return _EMPTY_PAGE


@method("thread/backgroundTerminals/list", ThreadBackgroundTerminalsListParams)
async def thread_background_terminals_list(ctx: Context, params: ThreadBackgroundTerminalsListParams) -> dict[str, Any]:
    """No command of a turn outlives it. Raises InvalidRequest for a thread that is not loaded."""
    await ctx.services.threads.require(params.thread_id)
    return _EMPTY_PAGE
