"""Owns the replies of thread/*. Handlers make them of plain data; the models are the schema, which tests hold."""

from typing import Literal

from app_server.protocol.approvals import ActivePermissionProfile, ApprovalsReviewer, AskForApproval, SandboxPolicy
from app_server.protocol.base import Seq, SparseModel, WireModel
from app_server.protocol.items import ThreadItemEntry
from app_server.protocol.paging import Page, ReversiblePage
from app_server.protocol.settings import CollaborationMode, MultiAgentMode, ReasoningEffort
from app_server.protocol.thread_data import Thread, ThreadReadState
from app_server.protocol.turn_data import Turn

ThreadUnsubscribeStatus = Literal["notLoaded", "notSubscribed", "unsubscribed"]


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


class ThreadReadResponse(WireModel):
    thread: Thread
    read_state: ThreadReadState | None = None


class ThreadListResponse(ReversiblePage):
    """`read_states` by thread id; None where no read state is kept."""

    data: tuple[Thread, ...]
    read_states: dict[str, ThreadReadState] | None = None


class ThreadLoadedListResponse(Page):
    data: tuple[str, ...]


class ThreadUnsubscribeResponse(WireModel):
    status: ThreadUnsubscribeStatus


class ThreadArchiveResponse(WireModel):
    """Empty."""


class ThreadUnarchiveResponse(WireModel):
    thread: Thread


class ThreadDeleteResponse(WireModel):
    """Empty."""


class ThreadSetNameResponse(WireModel):
    """Empty."""


class ThreadTurnsListResponse(ReversiblePage):
    data: tuple[Turn, ...]


class ThreadItemsListResponse(ReversiblePage):
    data: tuple[ThreadItemEntry, ...]
