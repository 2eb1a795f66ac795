"""model/list and modelProvider/capabilities/read."""

from __future__ import annotations

from typing import Any, Final

from app_server.errors import InvalidRequest
from app_server.methods.services import Context, Services
from app_server.protocol.model import (
    Model,
    ModelListParams,
    ModelProviderCapabilitiesReadParams,
    ModelProviderCapabilitiesReadResponse,
    ReasoningEffortOption,
)
from app_server.providers.catalog import ModelEntry, default_model, list_models
from app_server.rpc.registry import method
from app_server.threads.paging import invalid_cursor, page_limit
from app_server.tools.hosted import STANDALONE_IMAGEGEN
from app_server.tools.planning import ToolPlan, plan_tools
from app_server.turns.context import Settings

HOSTED_TOOL: Final = "image_generation"
"""The name under which a plan speaks of the provider's own image tool."""


@method("model/list", ModelListParams)
async def model_list(ctx: Context, params: ModelListParams) -> dict[str, Any]:
    """The catalogue for the provider in use; the cursor is the offset as a text."""
    provider = params.model_provider or ctx.services.config.config.model_provider
    entries = list_models(bool(params.include_hidden), provider_id=provider)
    start = page_offset(params.cursor, len(entries))
    end = start + page_limit(params.limit, default=len(entries) or 1)
    return {
        "data": [_model(entry).wire() for entry in entries[start:end]],
        "nextCursor": str(end) if end < len(entries) else None,
    }


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
