"""fuzzyFileSearch and its sessions: files and folders below some roots by a few letters of their path."""

from __future__ import annotations

from typing import Any

from app_server.methods.fs import belongings
from app_server.methods.services import Context
from app_server.protocol.search import (
    FuzzyFileSearchParams,
    FuzzyFileSearchResponse,
    FuzzyFileSearchSessionCompletedNotification,
    FuzzyFileSearchSessionStartParams,
    FuzzyFileSearchSessionStopParams,
    FuzzyFileSearchSessionUpdatedNotification,
    FuzzyFileSearchSessionUpdateParams,
)
from app_server.rpc.registry import method
from app_server.workspace.search_session import Files


@method("fuzzyFileSearch", FuzzyFileSearchParams)
async def fuzzy_file_search(ctx: Context, params: FuzzyFileSearchParams) -> FuzzyFileSearchResponse:
    """The paths that fit best; an empty query finds nothing."""
    files = await belongings(ctx).search(params.query, params.roots, params.cancellation_token)
    return FuzzyFileSearchResponse(files=files)


@method("fuzzyFileSearch/sessionStart", FuzzyFileSearchSessionStartParams)
async def fuzzy_file_search_session_start(ctx: Context, params: FuzzyFileSearchSessionStartParams) -> dict[str, Any]:
    """Begin to list the roots; queries come by sessionUpdate."""
    hub, connection, session_id = ctx.services.hub, ctx.connection, params.session_id

    def report(query: str, files: Files) -> None:
        updated = FuzzyFileSearchSessionUpdatedNotification(session_id=session_id, query=query, files=files)
        completed = FuzzyFileSearchSessionCompletedNotification(session_id=session_id)
        hub.notify(connection, "fuzzyFileSearch/sessionUpdated", updated.wire())
        hub.notify(connection, "fuzzyFileSearch/sessionCompleted", completed.wire())

    belongings(ctx).start_search(session_id, params.roots, report)
    return {}


@method("fuzzyFileSearch/sessionUpdate", FuzzyFileSearchSessionUpdateParams)
async def fuzzy_file_search_session_update(ctx: Context, params: FuzzyFileSearchSessionUpdateParams) -> dict[str, Any]:
    """Search for this from now on; what was found comes as notifications."""
    belongings(ctx).update_search(params.session_id, params.query)
    return {}


@method("fuzzyFileSearch/sessionStop", FuzzyFileSearchSessionStopParams)
async def fuzzy_file_search_session_stop(ctx: Context, params: FuzzyFileSearchSessionStopParams) -> dict[str, Any]:
    """End a session; one that is not there is no fault."""
    belongings(ctx).stop_search(params.session_id)
    return {}
