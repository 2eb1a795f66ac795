"""model/list, modelProvider/list and modelProvider/capabilities/read."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from app_server.config.layers import LayerOrigin, LoadedConfig
from app_server.config.merge import value_at
from app_server.config.schema import RESERVED_PROVIDERS, ProviderConfig
from app_server.errors import InvalidRequest
from app_server.methods.services import Context, Services
from app_server.protocol.model import (
    CustomGatewayProviderSettings,
    EnvironmentVariableGatewayAuth,
    ModeGatewayAuth,
    Model,
    ModelListParams,
    ModelProviderCapabilitiesReadParams,
    ModelProviderCapabilitiesReadResponse,
    ModelProviderListParams,
    ModelProviderListResponse,
    ModelProviderSummary,
    NoneGatewayAuth,
    OpenaiProviderSettings,
    ReasoningEffortOption,
)
from app_server.providers.catalog import ModelEntry, default_model, list_models
from app_server.providers.fetched_catalog import merged
from app_server.rpc.registry import method
from app_server.threads.paging import invalid_cursor, page_limit
from app_server.tools.hosted import STANDALONE_IMAGEGEN
from app_server.tools.planning import ToolPlan, plan_tools
from app_server.turns.context import Settings

HOSTED_TOOL: Final = "image_generation"
"""The name under which a plan speaks of the provider's own image tool."""


@method("model/list", ModelListParams)
def model_list(ctx: Context, params: ModelListParams) -> dict[str, Any] | Coroutine[Any, Any, dict[str, Any]]:
    """The built-in catalogue, and what a ChatGPT login's own adds to it; the cursor is the offset as a text."""
    provider = params.model_provider or ctx.services.config.config.model_provider
    fetched = ctx.services.fetched_models.known(provider)
    return _asked_models(ctx, params, provider) if fetched is None else _models(params, provider, fetched)


async def _asked_models(ctx: Context, params: ModelListParams, provider: str) -> dict[str, Any]:
    return _models(params, provider, await ctx.services.fetched_models.entries(provider))


def _models(params: ModelListParams, provider: str, fetched: tuple[ModelEntry, ...]) -> dict[str, Any]:
    rows = _rows(provider, fetched, params.include_hidden)
    start = page_offset(params.cursor, len(rows))
    end = start + page_limit(params.limit, default=len(rows) or 1)
    return {"data": rows[start:end], "nextCursor": str(end) if end < len(rows) else None}


@lru_cache(maxsize=32)
def _rows(provider: str, fetched: tuple[ModelEntry, ...], include_hidden: bool) -> tuple[orjson.Fragment, ...]:
    """The rows as JSON: they hardly ever change, and every client asks for them."""
    known = merged(fetched, list_models(True, provider_id=provider))
    shown = [entry for entry in known if include_hidden or not entry.hidden]
    return tuple(orjson.Fragment(orjson.dumps(_model(entry).wire())) for entry in shown)


@method("modelProvider/list", ModelProviderListParams)
async def model_provider_list(ctx: Context, params: ModelProviderListParams | None) -> ModelProviderListResponse:
    """The providers by name: those of the settings, and the built-in ones. A tenant is told their names alone."""
    services = ctx.services
    config = services.config
    tables = [services.providers.table(provider_id) for provider_id in services.providers.ids]
    if services.ground is not None:
        return ModelProviderListResponse(
            data=tuple(_name_alone(table) for table in tables),
            default_provider_id=config.config.model_provider,
            can_change_default=False,
        )
    return ModelProviderListResponse(
        data=tuple(_provider(table, editable=_is_users(config, table.id)) for table in tables),
        default_provider_id=config.config.model_provider,
        can_change_default=True,
    )


def _is_users(loaded: LoadedConfig, provider_id: str) -> bool:
    """Whether the provider stands in the user's own file, which config/value/write changes."""
    user = next(layer for layer in loaded.layers if layer.origin is LayerOrigin.USER)
    return provider_id not in RESERVED_PROVIDERS and value_at(user.values, ("model_providers", provider_id)) is not None


def _provider(table: ProviderConfig, *, editable: bool) -> ModelProviderSummary:
    return ModelProviderSummary(
        id=table.id,
        name=table.name or table.id,
        can_edit=editable,
        base_url=shown_address(table.base_url),
        settings=provider_settings(table),
    )


def _name_alone(table: ProviderConfig) -> ModelProviderSummary:
    """Where it is and how its requests are signed is the host's; nobody else has to give anything for it."""
    own = table.id == "openai"
    settings = OpenaiProviderSettings() if own else CustomGatewayProviderSettings(auth=NoneGatewayAuth())
    return ModelProviderSummary(
        id=table.id, name=table.name or table.id, can_edit=False, base_url=None, settings=settings
    )


def shown_address(base_url: str | None) -> str | None:
    """An address without user, password and query; None for one that has them: it may hold a secret."""
    parts = urlsplit(base_url or "")
    return None if "@" in parts.netloc or parts.query else base_url


def provider_settings(table: ProviderConfig) -> OpenaiProviderSettings | CustomGatewayProviderSettings:
    """How requests to the provider are signed, in the protocol's words; never a key."""
    if table.id == "openai":
        return OpenaiProviderSettings()
    if table.env_key:
        return CustomGatewayProviderSettings(auth=EnvironmentVariableGatewayAuth(env_key=table.env_key))
    if table.experimental_bearer_token or table.requires_openai_auth or table.http_headers or table.env_http_headers:
        return CustomGatewayProviderSettings(auth=ModeGatewayAuth())
    return CustomGatewayProviderSettings(auth=NoneGatewayAuth())


@method("modelProvider/capabilities/read", ModelProviderCapabilitiesReadParams)
async def model_provider_capabilities_read(ctx: Context, params: ModelProviderCapabilitiesReadParams) -> dict[str, Any]:
    """What a new thread would be offered here and now: login, flags, provider and model included."""
    reason = no_pictures_reason(plan_here_and_now(ctx.services, ctx.session.client_name))
    return ModelProviderCapabilitiesReadResponse(
        image_generation=reason is None, web_search=False, image_generation_reason=reason
    ).wire()


def plan_here_and_now(services: Services, originator: str) -> ToolPlan:
    """The tools that a new thread would be offered in this moment."""
    config = services.config.config
    provider = config.model_provider
    model = config.model or default_model(provider)
    settings = Settings(model=model, model_provider=provider, cwd=str(services.cwd))
    moment = services.moment("", "", settings, originator)
    return plan_tools(moment.executors, moment.scope)


def no_pictures_reason(plan: ToolPlan) -> str | None:
    """The first gate that says no to pictures; None when the standalone or the hosted tool is offered.

    The standalone tool's reason goes first where it is loaded: it is the one that would be used."""
    hidden = {each.tool: each.reason for each in plan.hidden}
    standalone, hosted = hidden.get(str(STANDALONE_IMAGEGEN)), hidden.get(HOSTED_TOOL)
    if hosted is None or any(executor.name == STANDALONE_IMAGEGEN for executor in plan.routes.values()):
        return None
    return standalone or hosted


def page_offset(cursor: str | None, count: int) -> int:
    """The offset that a cursor stands for. Raises InvalidRequest."""
    if cursor is None:
        return 0
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 9:
        raise invalid_cursor(cursor)
    if int(cursor) > count:
        raise InvalidRequest(f"cursor {cursor} exceeds the total of {count}", data_code="invalidCursor")
    return int(cursor)


def _model(entry: ModelEntry) -> Model:
    return Model(
        id=entry.slug,
        model=entry.slug,
        display_name=entry.display_name,
        description=entry.description,
        hidden=entry.hidden,
        supported_reasoning_efforts=tuple(
            ReasoningEffortOption(reasoning_effort=option.effort, description=option.description)
            for option in entry.efforts
        ),
        default_reasoning_effort=entry.default_effort,
        input_modalities=entry.input_modalities,
        supports_personality=entry.supports_personality,
        is_default=entry.is_default,
    )
