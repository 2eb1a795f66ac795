"""Owns the words for what a turn may do unasked: approval policy, reviewer, sandbox.

thread/start names a sandbox by a kebab-case string (`SandboxMode`); turn/start and every reply by an object
(`SandboxPolicy`). What the words mean is decided elsewhere.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, Tag

from app_server.protocol.base import Bool, Flag, WireModel, name_or_object

ApprovalPolicyName = Literal["untrusted", "on-request", "never"]
ApprovalsReviewer = Literal["user", "auto_review", "guardian_subagent"]
SandboxMode = Literal["read-only", "workspace-write", "danger-full-access"]
NetworkAccess = Literal["restricted", "enabled"]


class GranularApproval(WireModel):
    """Which kinds of approval may be asked for at all; its members are snake_case on the wire."""

    sandbox_approval: Bool = Field(alias="sandbox_approval")
    rules: Bool
    mcp_elicitations: Bool = Field(alias="mcp_elicitations")
    skill_approval: Flag = Field(default=False, alias="skill_approval")
    request_permissions: Flag = Field(default=False, alias="request_permissions")


class GranularAskForApproval(WireModel):
    granular: GranularApproval


AskForApproval = Annotated[
    Annotated[ApprovalPolicyName, Tag("name")] | Annotated[GranularAskForApproval, Tag("granular")],
    name_or_object(get_args(ApprovalPolicyName), "granular"),
]


class DangerFullAccessSandboxPolicy(WireModel):
    type: Literal["dangerFullAccess"] = "dangerFullAccess"


class ReadOnlySandboxPolicy(WireModel):
    type: Literal["readOnly"] = "readOnly"
    network_access: Flag = False


class ExternalSandboxSandboxPolicy(WireModel):
    type: Literal["externalSandbox"] = "externalSandbox"
    network_access: NetworkAccess = "restricted"


class WorkspaceWriteSandboxPolicy(WireModel):
    type: Literal["workspaceWrite"] = "workspaceWrite"
    writable_roots: tuple[str, ...] = ()
    network_access: Flag = False
    exclude_tmpdir_env_var: Flag = False
    exclude_slash_tmp: Flag = False


SandboxPolicy = Annotated[
    DangerFullAccessSandboxPolicy | ReadOnlySandboxPolicy | ExternalSandboxSandboxPolicy | WorkspaceWriteSandboxPolicy,
    Field(discriminator="type"),
]


class ActivePermissionProfile(WireModel):
    """The named profile that the active permissions come from."""

    id: str
    extends: str | None = None
