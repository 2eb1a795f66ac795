"""Owns the params of thread/*. The thread object is in `thread_data.py`, replies are in `thread_replies.py`."""

from typing import Literal

from app_server.protocol.approvals import ApprovalsReviewer, AskForApproval, SandboxMode
from app_server.protocol.base import Bool, Flag, JsonObject, JsonObjects, Params, Seq, UInt32
from app_server.protocol.paging import PageParams, SortDirection
from app_server.protocol.settings import (
    MultiAgentMode,
    Personality,
    ThreadHistoryMode,
    TurnEnvironmentParams,
    TurnItemsView,
)

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


class _OneThread(Params):
    thread_id: str


class ThreadReadParams(_OneThread):
    include_turns: Flag = False


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


class ThreadLoadedListParams(PageParams):
    """Without a limit the reply holds all."""


class ThreadUnsubscribeParams(_OneThread):
    """Stop sending this connection the thread's turns and items."""


class ThreadArchiveParams(_OneThread):
    """Interrupts a running turn first."""


class ThreadUnarchiveParams(_OneThread):
    """Takes an archived thread back into the list."""


class ThreadDeleteParams(_OneThread):
    """Removes the thread for good."""


class ThreadSetNameParams(_OneThread):
    name: str


class ThreadTurnsListParams(PageParams):
    """Newest first unless told otherwise; the view is `summary` unless told otherwise."""

    thread_id: str
    items_view: TurnItemsView | None = None
    sort_direction: SortDirection | None = None


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
