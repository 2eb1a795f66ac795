"""Owns config/read and configRequirements/read: the effective config, where each value comes from, the layers."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from app_server.protocol.approvals import ApprovalsReviewer, AskForApproval, SandboxMode
from app_server.protocol.base import Bool, Flag, Int, JsonObject, NoParams, Params, SparseModel, WireModel
from app_server.protocol.settings import ReasoningEffort, ReasoningSummary


class ConfigReadParams(Params):
    """`cwd` asks for the config as a thread of that folder would see it."""

    cwd: str | None = None
    include_layers: Flag = False


class Config(WireModel):
    """The effective config. Its keys are those of config.toml, snake_case; keys beyond these are sent as they are."""

    model_config = ConfigDict(alias_generator=None, extra="allow")

    model: str | None = None
    review_model: str | None = None
    model_context_window: Int | None = None
    model_auto_compact_token_limit: Int | None = None
    model_auto_compact_token_limit_scope: Literal["total", "body_after_prefix"] | None = None
    model_provider: str | None = None
    approval_policy: AskForApproval | None = None
    approvals_reviewer: ApprovalsReviewer | None = None
    sandbox_mode: SandboxMode | None = None
    sandbox_workspace_write: JsonObject | None = None
    forced_chatgpt_workspace_id: str | tuple[str, ...] | None = None
    forced_login_method: Literal["chatgpt", "api"] | None = None
    web_search: Literal["disabled", "cached", "indexed", "live"] | None = None
    client_search_provider: Literal["standalone", "search_mcp"] | None = None
    tools: JsonObject | None = None
    instructions: str | None = None
    developer_instructions: str | None = None
    compact_prompt: str | None = None
    model_reasoning_effort: ReasoningEffort | None = None
    model_reasoning_summary: ReasoningSummary | None = None
    model_verbosity: Literal["low", "medium", "high"] | None = None
    service_tier: str | None = None
    analytics: JsonObject | None = None
    apps: JsonObject | None = None
    browser_use: JsonObject | None = None
    computer_use: JsonObject | None = None
    desktop: JsonObject | None = None


class PackagedDefaultsConfigLayerSource(WireModel):
    type: Literal["packagedDefaults"] = "packagedDefaults"
    file: str


class MdmConfigLayerSource(WireModel):
    type: Literal["mdm"] = "mdm"
    domain: str
    key: str


class SystemConfigLayerSource(WireModel):
    type: Literal["system"] = "system"
    file: str


class EnterpriseManagedConfigLayerSource(WireModel):
    type: Literal["enterpriseManaged"] = "enterpriseManaged"
    id: str
    name: str


class UserConfigLayerSource(WireModel):
    """The config.toml of the home."""

    type: Literal["user"] = "user"
    file: str
    profile: str | None = None


class ProjectConfigLayerSource(WireModel):
    """The config folder of a project, found from the working directory upwards."""

    type: Literal["project"] = "project"
    dot_codex_folder: str


class SessionFlagsConfigLayerSource(WireModel):
    """The command line, and what a client overrode."""

    type: Literal["sessionFlags"] = "sessionFlags"


class LegacyManagedConfigTomlFromFileConfigLayerSource(WireModel):
    type: Literal["legacyManagedConfigTomlFromFile"] = "legacyManagedConfigTomlFromFile"
    file: str


class LegacyManagedConfigTomlFromMdmConfigLayerSource(WireModel):
    type: Literal["legacyManagedConfigTomlFromMdm"] = "legacyManagedConfigTomlFromMdm"


ConfigLayerSource = Annotated[
    PackagedDefaultsConfigLayerSource
    | MdmConfigLayerSource
    | SystemConfigLayerSource
    | EnterpriseManagedConfigLayerSource
    | UserConfigLayerSource
    | ProjectConfigLayerSource
    | SessionFlagsConfigLayerSource
    | LegacyManagedConfigTomlFromFileConfigLayerSource
    | LegacyManagedConfigTomlFromMdmConfigLayerSource,
    Field(discriminator="type"),
]


class ConfigLayerMetadata(WireModel):
    """A layer, and the version of its content, to detect a change in between."""

    name: ConfigLayerSource
    version: str


class ConfigLayer(SparseModel):
    omit_when_none = frozenset({"disabled_reason"})

    name: ConfigLayerSource
    version: str
    config: Any
    disabled_reason: str | None = None


class ConfigReadResponse(SparseModel):
    """`origins` maps dotted keys to the layer that set them; `layers` is there only when it was asked for."""

    omit_when_none = frozenset({"layers"})

    config: Config
    origins: dict[str, ConfigLayerMetadata]
    layers: tuple[ConfigLayer, ...] | None = None


class ConfigRequirementsReadParams(NoParams):
    """None."""


class ConfigRequirementsReadResponse(WireModel):
    """What an administrator demands; None where nobody demands anything."""

    supports_independent_speed_modes: Bool | None = None
    requirements: JsonObject | None = None
