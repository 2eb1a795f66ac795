"""Owns model/list, modelProvider/list and modelProvider/capabilities/read."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.base import Bool, Int, NoParams, Params, SparseModel, WireModel
from app_server.protocol.paging import Page, PageParams
from app_server.protocol.settings import CyberAccessProgram, ReasoningEffort

InputModality = Literal["text", "image", "audio"]
MultiAgentVersion = Literal["disabled", "v1", "v2"]


class ReasoningEffortOption(WireModel):
    reasoning_effort: ReasoningEffort
    description: str


class ModelServiceTier(WireModel):
    id: str
    name: str
    description: str


class ModelUpgradeInfo(WireModel):
    """A newer model to offer; clients may show it as a dialog that blocks."""

    model: str
    upgrade_copy: str | None = None
    model_link: str | None = None
    migration_markdown: str | None = None
    retirement_at: Int | None = None


class ModelAvailabilityNux(WireModel):
    message: str


class ModelAccessPrograms(WireModel):
    cyber: tuple[CyberAccessProgram, ...]


class Model(WireModel):
    """A row of the catalogue."""

    id: str
    model: str
    upgrade: str | None = None
    upgrade_info: ModelUpgradeInfo | None = None
    availability_nux: ModelAvailabilityNux | None = None
    display_name: str
    description: str
    model_specialty: str | None = None
    hidden: Bool
    supported_reasoning_efforts: tuple[ReasoningEffortOption, ...]
    default_reasoning_effort: ReasoningEffort
    input_modalities: tuple[InputModality, ...] = ("text", "image")
    supports_personality: Bool = False
    multi_agent_version: MultiAgentVersion | None = None
    additional_speed_tiers: tuple[str, ...] = ()
    service_tiers: tuple[ModelServiceTier, ...] = ()
    default_service_tier: str | None = None
    available_access_programs: ModelAccessPrograms | None = None
    is_default: Bool


class ModelListParams(PageParams):
    include_hidden: Bool | None = None
    model_provider: str | None = None


class ModelListResponse(Page):
    data: tuple[Model, ...]


class ModelProviderListParams(NoParams):
    """None."""


class NoneGatewayAuth(WireModel):
    mode: Literal["none"] = "none"


class EnvironmentVariableGatewayAuth(WireModel):
    mode: Literal["environmentVariable"] = "environmentVariable"
    env_key: str


class ModeGatewayAuth(WireModel):
    """Signed by something that a form of a client cannot show: a login, a header, a token in the settings."""

    mode: Literal["externallyConfigured"] = "externallyConfigured"
    env_key: str | None = None


class OpenaiProviderSettings(WireModel):
    type: Literal["openai"] = "openai"


class CustomGatewayProviderSettings(WireModel):
    type: Literal["customGateway"] = "customGateway"
    auth: Annotated[NoneGatewayAuth | EnvironmentVariableGatewayAuth | ModeGatewayAuth, Field(discriminator="mode")]


class ModelProviderSummary(WireModel):
    """One provider. `base_url` is null where it is not fixed, or holds what must not be shown."""

    id: str
    name: str
    can_edit: Bool
    base_url: str | None = None
    settings: Annotated[OpenaiProviderSettings | CustomGatewayProviderSettings, Field(discriminator="type")]


class ModelProviderListResponse(WireModel):
    data: tuple[ModelProviderSummary, ...]
    default_provider_id: str
    can_change_default: Bool


class ModelProviderCapabilitiesReadParams(Params):
    """None."""


class ModelProviderCapabilitiesReadResponse(SparseModel):
    """What a new thread is offered. `image_generation_reason` is ours: the first gate that says no to pictures."""

    omit_when_none = frozenset({"image_generation_reason"})

    image_generation: Bool
    web_search: Bool
    image_generation_reason: str | None = None
