"""experimentalFeature/list and experimentalFeature/enablement/set: the flags as clients see and switch them."""

from __future__ import annotations

from typing import Any

from app_server.errors import InvalidRequest
from app_server.methods.model import page_offset
from app_server.methods.services import Context
from app_server.protocol.feature import (
    ExperimentalFeature,
    ExperimentalFeatureEnablementSetParams,
    ExperimentalFeatureListParams,
)
from app_server.rpc.registry import method
from app_server.threads.paging import page_limit
from features.spec import Stage


@method("experimentalFeature/list", ExperimentalFeatureListParams)
async def experimental_feature_list(ctx: Context, params: ExperimentalFeatureListParams) -> dict[str, Any]:
    """All flags with their state: the process's, or those of one loaded thread."""
    features = ctx.services.features.current()
    if params.thread_id is not None:
        settings = (await ctx.services.threads.require(params.thread_id)).settings
        features = ctx.services.features.for_thread(settings.project_features, settings.features)
    rows = []
    for state in features.states.values():
        beta = state.spec.stage is Stage.BETA
        row = ExperimentalFeature(
            name=state.spec.key,
            stage=state.spec.stage.value,
            display_name=state.spec.title if beta else None,
            description=state.spec.description if beta else None,
            enabled=state.enabled,
            default_enabled=state.spec.default,
        )
        rows.append(row.wire())
    start = page_offset(params.cursor, len(rows))
    end = start + page_limit(params.limit, default=len(rows) or 1)
    return {"data": rows[start:end], "nextCursor": str(end) if end < len(rows) else None}


@method("experimentalFeature/enablement/set", ExperimentalFeatureEnablementSetParams)
async def experimental_feature_enablement_set(
    ctx: Context, params: ExperimentalFeatureEnablementSetParams
) -> dict[str, Any]:
    """Switch flags for the running process; every thread follows from its next turn on."""
    known = ctx.services.features.current().states
    unknown = sorted(set(params.enablement) - set(known))
    if unknown:
        raise InvalidRequest(
            f"unknown feature: {', '.join(unknown)[:200]}; experimentalFeature/list names them all",
            data_code="unknownFeature",
        )
    ctx.services.features.enable(params.enablement)
    ctx.services.extensions(ctx.services.features.current())
    return {"enablement": dict(params.enablement)}
