"""Owns the thread as clients see it, and what it is made of. The methods are in `thread.py`."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.approvals import ActivePermissionProfile, ApprovalsReviewer, AskForApproval, SandboxPolicy
from app_server.protocol.base import Bool, Int, JsonObject, WireModel
from app_server.protocol.settings import (
    CollaborationMode,
    MultiAgentMode,
    Personality,
    ReasoningEffort,
    ReasoningSummary,
    ThreadHistoryMode,
)
from app_server.protocol.turn_data import Turn

ThreadActiveFlag = Literal["waitingOnApproval", "waitingOnUserInput"]
SessionSourceName = Literal["cli", "vscode", "exec", "appServer", "unknown"]


class NotLoadedThreadStatus(WireModel):
    type: Literal["notLoaded"] = "notLoaded"


class IdleThreadStatus(WireModel):
    type: Literal["idle"] = "idle"


class SystemErrorThreadStatus(WireModel):
    type: Literal["systemError"] = "systemError"


class ActiveThreadStatus(WireModel):
    type: Literal["active"] = "active"
    active_flags: tuple[ThreadActiveFlag, ...]


ThreadStatus = Annotated[
    NotLoadedThreadStatus | IdleThreadStatus | SystemErrorThreadStatus | ActiveThreadStatus,
    Field(discriminator="type"),
]


class CustomSessionSource(WireModel):
    custom: str


SessionSource = SessionSourceName | CustomSessionSource
"""Where a thread came from. Threads of sub-agents, which the reference also names here, do not exist in this server."""


class GitInfo(WireModel):
    sha: str | None = None
    branch: str | None = None
    origin_url: str | None = None


class ThreadEnvironment(WireModel):
    environment_id: str
    cwd: str
    runtime_workspace_roots: tuple[str, ...]


class ThreadSectionAppearance(WireModel):
    color: str | None = None
    icon: str | None = None


class ThreadSection(WireModel):
    id: str
    name: str
    appearance: ThreadSectionAppearance | None = None


class Thread(WireModel):
    """A conversation and its state. Times are Unix seconds.

    `turns` is filled by thread/resume and thread/read alone; `environments` and `can_accept_direct_input` are None
    while the thread is not loaded.
    """

    id: str
    environments: tuple[ThreadEnvironment, ...] | None = None
    extra: JsonObject | None = None
    session_id: str
    forked_from_id: str | None = None
    attached_to_thread_id: str | None = None
    parent_thread_id: str | None = None
    preview: str
    ephemeral: Bool
    section: ThreadSection | None = None
    section_entered_at: Int | None = None
    project_id: str | None
    history_mode: ThreadHistoryMode = "legacy"
    model_provider: str
    model: str | None = None
    reasoning_effort: ReasoningEffort | None = None
    created_at: Int
    updated_at: Int
    recency_at: Int | None = None
    status: ThreadStatus
    path: str | None = None
    cwd: str
    cli_version: str
    originator: str | None = None
    source: SessionSource
    can_accept_direct_input: Bool | None = None
    thread_source: str | None = None
    agent_nickname: str | None = None
    agent_role: str | None = None
    git_info: GitInfo | None = None
    name: str | None = None
    daybreak_enabled: Bool | None = None
    turns: tuple[Turn, ...]


class ThreadSettings(WireModel):
    """The settings that the next turn starts with."""

    disabled_plugin_ids: tuple[str, ...] = ()
    cwd: str
    environments: tuple[ThreadEnvironment, ...] | None = None
    approval_policy: AskForApproval
    approvals_reviewer: ApprovalsReviewer
    sandbox_policy: SandboxPolicy
    active_permission_profile: ActivePermissionProfile | None = None
    model: str
    model_provider: str
    service_tier: str | None = None
    effort: ReasoningEffort | None = None
    summary: ReasoningSummary | None = None
    collaboration_mode: CollaborationMode
    multi_agent_mode: MultiAgentMode = "explicitRequestOnly"
    personality: Personality | None = None


class ThreadStartThreadUnreadPosition(WireModel):
    type: Literal["threadStart"] = "threadStart"


class TurnThreadUnreadPosition(WireModel):
    type: Literal["turn"] = "turn"
    turn_id: str


class ThreadReadState(WireModel):
    """What the user has not read yet; None in `first_unread` means that everything is read."""

    first_unread: (
        Annotated[ThreadStartThreadUnreadPosition | TurnThreadUnreadPosition, Field(discriminator="type")] | None
    ) = None
    revision: str


class TokenUsageBreakdown(WireModel):
    total_tokens: Int
    input_tokens: Int
    cached_input_tokens: Int
    cache_write_input_tokens: Int = 0
    output_tokens: Int
    reasoning_output_tokens: Int


class ThreadTokenUsage(WireModel):
    """The tokens of the whole thread and of the last upstream response."""

    total: TokenUsageBreakdown
    last: TokenUsageBreakdown
    model_context_window: Int | None = None
