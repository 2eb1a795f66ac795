"""Owns the thread/* methods: their params and replies.

Thread objects (`thread_data.py`) and notifications (`thread_events.py`) can be imported from here too.
"""

from typing import Literal

from app_server.protocol.approvals import (
    ActivePermissionProfile,
    ApprovalsReviewer,
    AskForApproval,
    SandboxMode,
    SandboxPolicy,
)
from app_server.protocol.base import Bool, Flag, JsonObject, JsonObjects, Params, Seq, SparseModel, UInt32, WireModel
from app_server.protocol.items import ThreadItemEntry
from app_server.protocol.paging import Page, PageParams, ReversiblePage, SortDirection
from app_server.protocol.settings import CollaborationMode, MultiAgentMode, Personality, ReasoningEffort
from app_server.protocol.thread_data import (
    ActiveThreadStatus,
    GitInfo,
    IdleThreadStatus,
    NotLoadedThreadStatus,
    SessionSource,
    SystemErrorThreadStatus,
    Thread,
    ThreadEnvironment,
    ThreadHistoryMode,
    ThreadReadState,
    ThreadSettings,
    ThreadStatus,
    ThreadTokenUsage,
    TokenUsageBreakdown,
)
from app_server.protocol.thread_events import (
    ThreadArchivedNotification,
    ThreadClosedNotification,
    ThreadDeletedNotification,
    ThreadNameUpdatedNotification,
    ThreadSettingsUpdatedNotification,
    ThreadStartedNotification,
    ThreadStatusChangedNotification,
    ThreadTokenUsageUpdatedNotification,
    ThreadUnarchivedNotification,
)
from app_server.protocol.turn import Turn, TurnEnvironmentParams, TurnItemsView

__all__ = [
    "ActiveThreadStatus",
    "GitInfo",
    "IdleThreadStatus",
    "ItemThreadItemsListAnchor",
    "NotLoadedThreadStatus",
    "SessionSource",
    "SystemErrorThreadStatus",
    "Thread",
    "ThreadArchiveParams",
    "ThreadArchiveResponse",
    "ThreadArchivedNotification",
    "ThreadClosedNotification",
    "ThreadDeleteParams",
    "ThreadDeleteResponse",
    "ThreadDeletedNotification",
    "ThreadEnvironment",
    "ThreadHistoryMode",
    "ThreadItemOutputDeferral",
    "ThreadItemsListParams",
    "ThreadItemsListResponse",
    "ThreadListParams",
    "ThreadListResponse",
    "ThreadLoadedListParams",
    "ThreadLoadedListResponse",
    "ThreadNameUpdatedNotification",
    "ThreadOverrides",
    "ThreadReadParams",
    "ThreadReadResponse",
    "ThreadReadState",
    "ThreadResumeInitialTurnsPageParams",
    "ThreadResumeParams",
    "ThreadResumeResponse",
    "ThreadSetNameParams",
    "ThreadSetNameResponse",
    "ThreadSettings",
    "ThreadSettingsUpdatedNotification",
    "ThreadSortKey",
    "ThreadSourceKind",
    "ThreadStartParams",
    "ThreadStartResponse",
    "ThreadStartSource",
    "ThreadStartedNotification",
    "ThreadStatus",
    "ThreadStatusChangedNotification",
    "ThreadTokenUsage",
    "ThreadTokenUsageUpdatedNotification",
    "ThreadTurnsListParams",
    "ThreadTurnsListResponse",
    "ThreadUnarchiveParams",
    "ThreadUnarchiveResponse",
    "ThreadUnarchivedNotification",
    "ThreadUnsubscribeParams",
    "ThreadUnsubscribeResponse",
    "ThreadUnsubscribeStatus",
    "TokenUsageBreakdown",
    "TurnsPage",
]

ThreadStartSource = Literal["startup", "clear"]
ThreadSortKey = Literal["created_at", "updated_at", "recency_at", "section_position"]
ThreadSourceKind = Literal[
    "cli",
    "vscode",
    "exec",
    "appServer",
    "subAgent",
    "subAgentReview",
    "subAgentCompact",
    "subAgentThreadSpawn",
    "subAgentOther",
    "unknown",
]
ThreadUnsubscribeStatus = Literal["notLoaded", "notSubscribed", "unsubscribed"]


class ThreadOverrides(Params):
    """What thread/start, thread/resume and thread/fork may all set; None leaves the value that is in force."""

    approval_policy: AskForApproval | None = None
    approvals_reviewer: ApprovalsReviewer | None = None
    base_instructions: str | None = None
    config: JsonObject | None = None
    cwd: str | None = None
    developer_instructions: str | None = None
    model: str | None = None
    model_provider: str | None = None
    permissions: str | None = None
    runtime_workspace_roots: tuple[str, ...] | None = None
    sandbox: SandboxMode | None = None
    service_tier: str | None = None


class ThreadStartParams(ThreadOverrides):
    """`dynamic_tools` and `selected_capability_roots` are checked by whoever uses them, not here."""

    allow_provider_model_fallback: Flag = False
    daybreak_enabled: Bool | None = None
    dynamic_tools: JsonObjects | None = None
    environments: tuple[TurnEnvironmentParams, ...] | None = None
    ephemeral: Bool | None = None
    experimental_raw_events: Flag = False
    history_mode: ThreadHistoryMode | None = None
    mock_experimental_field: str | None = None
    multi_agent_mode: MultiAgentMode | None = None
    personality: Personality | None = None
    project_id: str | None = None
    selected_capability_roots: JsonObjects | None = None
    service_name: str | None = None
    session_start_source: ThreadStartSource | None = None
    thread_source: str | None = None


class ThreadStartResponse(WireModel):
    """The thread and the settings in force."""

    thread: Thread
    model: str
    model_provider: str
    service_tier: str | None = None
    disabled_plugin_ids: tuple[str, ...] = ()
    cwd: str
    runtime_workspace_roots: tuple[str, ...] = ()
    instruction_sources: tuple[str, ...] = ()
    approval_policy: AskForApproval
    approvals_reviewer: ApprovalsReviewer
    sandbox: SandboxPolicy
    active_permission_profile: ActivePermissionProfile | None = None
    reasoning_effort: ReasoningEffort | None = None
    multi_agent_mode: MultiAgentMode = "explicitRequestOnly"


class ThreadResumeInitialTurnsPageParams(Params):
    """Which page of turns the reply of thread/resume brings along."""

    items_view: TurnItemsView | None = None
    limit: UInt32 | None = None
    sort_direction: SortDirection | None = None


class ThreadResumeParams(ThreadOverrides):
    """Overrides count for a thread that has to be loaded; a loaded one keeps its settings."""

    thread_id: str
    exclude_turns: Flag = False
    history: JsonObjects | None = None
    initial_turns_page: ThreadResumeInitialTurnsPageParams | None = None
    path: str | None = None
    personality: Personality | None = None
    since_seq: Seq | None = None
    """Ours: send again what came after this `seq`, which is that of the last notification that the client saw."""


class TurnsPage(ReversiblePage):
    data: tuple[Turn, ...]


class ThreadResumeResponse(ThreadStartResponse, SparseModel):
    """Like the reply of thread/start; the cursors start a walk back from the newest turn and item."""

    omit_when_none = frozenset({"last_seq"})

    collaboration_mode: CollaborationMode | None = None
    initial_turns_page: TurnsPage | None = None
    turns_backwards_cursor: str | None = None
    items_backwards_cursor: str | None = None
    last_seq: Seq | None = None
    """Ours: of the newest record that the reply knows; what comes later is sent live."""


class _OneThread(Params):
    thread_id: str


class ThreadReadParams(_OneThread):
    include_turns: Flag = False


class ThreadReadResponse(WireModel):
    thread: Thread
    read_state: ThreadReadState | None = None


class ThreadListParams(PageParams):
    """Filters; None means no filter. `project_id` and `section_id` set to null ask for threads without one."""

    ancestor_thread_id: str | None = None
    archived: Bool | None = None
    attached_to_thread_id: str | None = None
    current_account_only: Flag = False
    cwd: str | tuple[str, ...] | None = None
    excluded_thread_ids: tuple[str, ...] | None = None
    include_attached_threads: Flag = False
    model_providers: tuple[str, ...] | None = None
    originators: tuple[str, ...] | None = None
    parent_thread_id: str | None = None
    project_id: str | None = None
    search_term: str | None = None
    section_id: str | None = None
    sort_direction: SortDirection | None = None
    sort_key: ThreadSortKey | None = None
    source_kinds: tuple[ThreadSourceKind, ...] | None = None
    use_state_db_only: Flag = False


class ThreadListResponse(ReversiblePage):
    """`read_states` by thread id; None where no read state is kept."""

    data: tuple[Thread, ...]
    read_states: dict[str, ThreadReadState] | None = None


class ThreadLoadedListParams(PageParams):
    """Without a limit the reply holds all."""


class ThreadLoadedListResponse(Page):
    data: tuple[str, ...]


class ThreadUnsubscribeParams(_OneThread):
    """Stop sending this connection the thread's turns and items."""


class ThreadUnsubscribeResponse(WireModel):
    status: ThreadUnsubscribeStatus


class ThreadArchiveParams(_OneThread):
    """Interrupts a running turn first."""


class ThreadArchiveResponse(WireModel):
    """Empty."""


class ThreadUnarchiveParams(_OneThread):
    """Takes an archived thread back into the list."""


class ThreadUnarchiveResponse(WireModel):
    thread: Thread


class ThreadDeleteParams(_OneThread):
    """Removes the thread for good."""


class ThreadDeleteResponse(WireModel):
    """Empty."""


class ThreadSetNameParams(_OneThread):
    name: str


class ThreadSetNameResponse(WireModel):
    """Empty."""


class ThreadTurnsListParams(PageParams):
    """Newest first unless told otherwise; the view is `summary` unless told otherwise."""

    thread_id: str
    items_view: TurnItemsView | None = None
    sort_direction: SortDirection | None = None


class ThreadTurnsListResponse(ReversiblePage):
    data: tuple[Turn, ...]


class ItemThreadItemsListAnchor(Params):
    """A start behind (ascending) or before (descending) one item of the turn that `turn_id` names."""

    type: Literal["item"] = "item"
    item_id: str


class ThreadItemOutputDeferral(Params):
    """Which saved outputs to leave out, to be fetched by item id."""

    command_execution: Flag = False
    mcp_tool_call: Flag = False


class ThreadItemsListParams(Params):
    """Oldest first unless told otherwise; all turns unless `turn_id` names one."""

    thread_id: str
    cursor: str | ItemThreadItemsListAnchor | None = None
    defer_output: ThreadItemOutputDeferral | None = None
    limit: UInt32 | None = None
    sort_direction: SortDirection | None = None
    turn_id: str | None = None


class ThreadItemsListResponse(ReversiblePage):
    data: tuple[ThreadItemEntry, ...]
