"""Owns the params of turn/*. What comes back, the turn object first, is in `turn_data.py`."""

from typing import Any, Literal

from app_server.protocol.approvals import ApprovalsReviewer, AskForApproval, SandboxPolicy
from app_server.protocol.base import Flag, JsonObject, Params
from app_server.protocol.settings import (
    CollaborationMode,
    CyberAccessProgram,
    MultiAgentMode,
    Personality,
    ReasoningEffort,
    ReasoningSummary,
    TurnEnvironmentParams,
)
from app_server.protocol.user_input import UserInput


class AdditionalContextEntry(Params):
    """A fragment of context from the client, trusted (`application`) or not."""

    kind: Literal["untrusted", "application"]
    name: str | None = None
    value: str


class TurnToolOutput(Params):
    """The output of a tool that the client ran by itself."""

    name: str
    namespace: str | None = None
    output: str | tuple[JsonObject, ...]
    retain: Flag = False


class _TurnInput(Params):
    """What starts a turn and what steers one have in common."""

    thread_id: str
    input: tuple[UserInput, ...]
    client_user_message_id: str | None = None
    additional_context: dict[str, AdditionalContextEntry] | None = None
    responsesapi_client_metadata: dict[str, str] | None = None
    responsesapi_client_metadata_patch: dict[str, str] | None = None


class TurnStartParams(_TurnInput):
    """Overrides given here hold for this turn and the following ones, but for those that name one turn.

    Those are `output_schema`, `service_tier_for_turn`, `turn_trigger`, `tool_output` and `cyber_access_program`.
    """

    approval_policy: AskForApproval | None = None
    approvals_reviewer: ApprovalsReviewer | None = None
    collaboration_mode: CollaborationMode | None = None
    cwd: str | None = None
    cyber_access_program: CyberAccessProgram | None = None
    disabled_plugin_ids: tuple[str, ...] | None = None
    effort: ReasoningEffort | None = None
    environments: tuple[TurnEnvironmentParams, ...] | None = None
    model: str | None = None
    multi_agent_mode: MultiAgentMode | None = None
    output_schema: Any = None
    parent_turn_id: str | None = None
    permissions: str | None = None
    personality: Personality | None = None
    root_turn_id: str | None = None
    runtime_workspace_roots: tuple[str, ...] | None = None
    sandbox_policy: SandboxPolicy | None = None
    service_tier: str | None = None
    service_tier_for_turn: str | None = None
    summary: ReasoningSummary | None = None
    tool_output: TurnToolOutput | None = None
    turn_trigger: str | None = None


class TurnSteerParams(_TurnInput):
    """Refused unless `expected_turn_id` is the running turn."""

    expected_turn_id: str


class TurnInterruptParams(Params):
    thread_id: str
    turn_id: str
