"""Owns the thread/* methods beyond the basic ones: fork, revert, compaction, goals, settings; review/start."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.approvals import ApprovalsReviewer, AskForApproval, SandboxPolicy
from app_server.protocol.base import Bool, Flag, Int, JsonObject, JsonObjects, Params, UInt32
from app_server.protocol.paging import PageParams, SortDirection
from app_server.protocol.settings import (
    CollaborationMode,
    MultiAgentMode,
    Personality,
    ReasoningEffort,
    ReasoningSummary,
    ThreadGoalStatus,
    TurnEnvironmentParams,
)
from app_server.protocol.thread import ThreadOverrides, ThreadSourceKind


class ThreadForkParams(ThreadOverrides):
    """A new thread that begins with another one's turns, up to one of them if it is named."""

    thread_id: str
    last_turn_id: str | None = None
    before_turn_id: str | None = None
    path: str | None = None
    ephemeral: Flag = False
    exclude_turns: Flag = False
    attach_to_source: Flag = False
    defer_goal_continuation: Flag = False
    experimental_disable_prediction_mcp: Flag = False
    experimental_prediction_mode: Flag = False
    thread_source: str | None = None


class ThreadRevertParams(Params):
    """Drop a turn and all later ones."""

    thread_id: str
    before_turn_id: str


class ThreadCompactStartParams(Params):
    """Replace the history by a summary, in a turn of its own."""

    thread_id: str


class ThreadInjectItemsParams(Params):
    """Append raw Responses items to the history, unseen by clients."""

    thread_id: str
    items: JsonObjects


class ThreadShellCommandParams(Params):
    """Run a command of the user, in a turn of its own."""

    thread_id: str
    command: str
    timeout_ms: Annotated[int, Field(strict=True, ge=0)] | None = None


class ThreadGoalSetParams(Params):
    """Set or change the thread's goal; what is left out stays."""

    thread_id: str
    objective: str | None = None
    status: ThreadGoalStatus | None = None
    token_budget: Int | None = None
    origin: str | JsonObject | None = None


class ThreadGoalGetParams(Params):
    thread_id: str


class ThreadGoalClearParams(Params):
    thread_id: str
    origin: str | JsonObject | None = None


class ThreadSettingsUpdateParams(Params):
    """Change what the next turn starts with; None leaves a setting as it is."""

    thread_id: str
    approval_policy: AskForApproval | None = None
    approvals_reviewer: ApprovalsReviewer | None = None
    collaboration_mode: CollaborationMode | None = None
    cwd: str | None = None
    disabled_plugin_ids: tuple[str, ...] | None = None
    effort: ReasoningEffort | None = None
    environments: tuple[TurnEnvironmentParams, ...] | None = None
    model: str | None = None
    multi_agent_mode: MultiAgentMode | None = None
    permissions: str | None = None
    personality: Personality | None = None
    sandbox_policy: SandboxPolicy | None = None
    service_tier: str | None = None
    summary: ReasoningSummary | None = None


class ThreadMetadataGitInfoUpdateParams(Params):
    """What is left out stays, null removes."""

    branch: str | None = None
    origin_url: str | None = None
    sha: str | None = None


class ThreadMetadataUpdateParams(Params):
    thread_id: str
    git_info: ThreadMetadataGitInfoUpdateParams | None = None
    project_id: str | None = None
    daybreak_enabled: Bool | None = None


class ThreadReadStateOperation(Params):
    type: Literal["read", "unread"]


class ThreadReadStateUpdateParams(Params):
    """Mark turns read or unread; refused unless the revision is the current one."""

    thread_id: str
    expected_revision: str
    operation: ThreadReadStateOperation


class ThreadSearchParams(PageParams):
    search_term: str
    archived: Bool | None = None
    current_account_only: Flag = False
    include_attached_threads: Flag = False
    limit: UInt32 | None = None
    sort_direction: SortDirection | None = None
    sort_key: Literal["created_at", "updated_at", "recency_at"] | None = None
    source_kinds: tuple[ThreadSourceKind, ...] | None = None


class CustomReviewTarget(Params):
    type: Literal["custom"] = "custom"
    instructions: str


class UncommittedChangesReviewTarget(Params):
    type: Literal["uncommittedChanges"] = "uncommittedChanges"


class BaseBranchReviewTarget(Params):
    type: Literal["baseBranch"] = "baseBranch"
    branch: str


class CommitReviewTarget(Params):
    type: Literal["commit"] = "commit"
    sha: str
    title: str | None = None


ReviewTarget = Annotated[
    CustomReviewTarget | UncommittedChangesReviewTarget | BaseBranchReviewTarget | CommitReviewTarget,
    Field(discriminator="type"),
]


class ReviewStartParams(Params):
    """Let the model review a change, in a turn of the thread."""

    thread_id: str
    target: ReviewTarget
    delivery: Literal["inline"] | None = None
