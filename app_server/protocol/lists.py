"""Owns the lists that clients ask for at their start: skills, hooks, and what this server has none of or a fixed few.

Replies that are always empty here are not modelled: `methods/lists.py` says them.
"""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from app_server.protocol.base import Bool, Flag, Int, JsonObject, NoParams, Params, SparseModel, WireModel
from app_server.protocol.hooks import HookEventName, HookSource
from app_server.protocol.paging import Page, PageParams, SortDirection
from app_server.protocol.settings import ReasoningEffort

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: () if value is None else value)]
"""An optional list that is empty by default; null counts as left out."""
SkillScope = Literal["user", "repo", "system", "admin"]
HookTrustStatus = Literal["managed", "untrusted", "trusted", "modified"]


class SkillsListParams(Params):
    """No folder named: the server's own. Nothing is cached, so `force_reload` changes nothing."""

    cwds: Names = ()
    force_reload: Flag = False


class SkillMetadata(SparseModel):
    omit_when_none = frozenset({"short_description", "interface"})

    name: str
    description: str
    short_description: str | None = None
    interface: JsonObject | None = None
    path: str
    scope: SkillScope
    enabled: Bool
    plugin_id: str | None = None


class SkillErrorInfo(WireModel):
    path: str
    message: str


class SkillsListEntry(WireModel):
    """The skills that hold in one folder, and the files that should be skills and are not."""

    cwd: str
    skills: tuple[SkillMetadata, ...]
    errors: tuple[SkillErrorInfo, ...]


class SkillsListResponse(WireModel):
    data: tuple[SkillsListEntry, ...]


class HooksListParams(Params):
    """By folders, or by the folder of a loaded thread."""

    cwds: Names = ()
    thread_id: str | None = None


class HookMetadata(WireModel):
    """A hook that runs a command, the only kind here. `timeout_sec` is rounded up to whole seconds."""

    key: str
    event_name: HookEventName
    handler_type: Literal["command"] = "command"
    command: str
    waits_not: Bool = Field(default=False, alias="async")
    matcher: str | None = None
    timeout_sec: Int
    status_message: str | None = None
    additional_context_limit: Int | None = None
    source_path: str
    source: HookSource
    plugin_id: str | None = None
    environment_id: str | None = None
    display_order: Int
    enabled: Bool
    is_managed: Bool
    current_hash: str
    trust_status: HookTrustStatus


class HookErrorInfo(WireModel):
    path: str
    message: str


class HooksListEntry(WireModel):
    """The hooks that run for a thread of that folder, and what was left out of them."""

    cwd: str
    hooks: tuple[HookMetadata, ...]
    warnings: tuple[str, ...]
    errors: tuple[HookErrorInfo, ...]


class HooksListResponse(WireModel):
    data: tuple[HooksListEntry, ...]


class ListMcpServerStatusParams(PageParams):
    detail: Literal["full", "toolsAndAuthOnly"] | None = None
    server_name: str | None = None
    thread_id: str | None = None


class AppsListParams(PageParams):
    thread_id: str | None = None
    force_refetch: Flag = False


class PluginListParams(Params):
    cwds: tuple[str, ...] | None = None
    force_refetch: Flag = False
    marketplace_kinds: (
        tuple[Literal["local", "vertical", "workspace-directory", "shared-with-me", "created-by-me-remote"], ...] | None
    ) = None


class PluginInstalledParams(Params):
    cwds: tuple[str, ...] | None = None
    install_suggestion_plugin_names: tuple[str, ...] | None = None


class PermissionProfileListParams(PageParams):
    cwd: str | None = None


class PermissionProfileSummary(WireModel):
    id: str
    description: str | None = None
    allowed: Bool


class PermissionProfileListResponse(Page):
    data: tuple[PermissionProfileSummary, ...]


class CollaborationModeListParams(NoParams):
    """None."""


class CollaborationModeMask(WireModel):
    """A preset; null leaves the thread's own value. Its last member is snake_case in the protocol, too."""

    name: str
    mode: Literal["plan", "default"] | None = None
    model: str | None = None
    reasoning_effort: ReasoningEffort | None = Field(default=None, alias="reasoning_effort")


class CollaborationModeListResponse(WireModel):
    data: tuple[CollaborationModeMask, ...]


class ThreadBackgroundTerminalsListParams(PageParams):
    thread_id: str


class ProjectListParams(PageParams):
    sort_key: Literal["position", "recencyAt"] | None = None
    sort_direction: SortDirection | None = None


class ThreadSectionListParams(PageParams):
    """A page of the sections of the thread list."""


class BedrockCheckGovCloudRequirementsParams(NoParams):
    """None."""


class BedrockCheckGovCloudRequirementsResponse(WireModel):
    is_gov_cloud: Bool
    should_warn: Bool
