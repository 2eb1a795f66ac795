"""thread/list, thread/turns/list, thread/items/list: everything about threads that is answered in pages."""

from __future__ import annotations

from typing import Any

from app_server.methods.services import Context
from app_server.protocol.thread import ThreadItemsListParams, ThreadListParams, ThreadTurnsListParams
from app_server.rpc.registry import method
from app_server.storage.base import ThreadQuery, ThreadRow, ThreadSortKey
from app_server.threads.joining import hide_open
from app_server.threads.paging import (
    Anchor,
    Kind,
    Slice,
    item_anchor,
    list_cursor_of,
    page_limit,
    parse_cursor,
    parse_list_cursor,
    slice_ordinals,
)
from app_server.threads.replay import item_entries


@method("thread/list", ThreadListParams)
async def thread_list(ctx: Context, params: ThreadListParams) -> dict[str, Any]:
    """A page of stored threads, newest first; threads without a turn are not listed."""
    key: ThreadSortKey = params.sort_key if params.sort_key in ("updated_at", "recency_at") else "created_at"
    if _asks_for_what_no_thread_has(params):
        return {"data": [], "readStates": {}, "nextCursor": None, "backwardsCursor": None}
    cwds = (params.cwd,) if isinstance(params.cwd, str) else params.cwd
    page = await ctx.services.threads.page(
        ThreadQuery(
            limit=page_limit(params.limit),
            sort_key=key,
            descending=params.sort_direction != "asc",
            after=parse_list_cursor(params.cursor) if params.cursor is not None else None,
            archived=bool(params.archived),
            cwds=cwds,
            providers=params.model_providers or None,
            sources=params.source_kinds or None,
            search=params.search_term or None,
        )
    )
    excluded = frozenset(params.excluded_thread_ids or ())
    originators = frozenset(params.originators or ())
    rows = [
        row
        for row in page.rows
        if row.thread_id not in excluded and (not originators or row.meta.get("originator") in originators)
    ]
    return {
        "data": [ctx.services.threads.wire(row) for row in rows],
        "readStates": {row.thread_id: row.meta["readState"] for row in rows if row.meta.get("readState")},
        "nextCursor": list_cursor_of(page.rows[-1], key) if page.has_more else None,
        "backwardsCursor": list_cursor_of(page.rows[0], key) if page.rows else None,
    }


@method("thread/turns/list", ThreadTurnsListParams)
async def thread_turns_list(ctx: Context, params: ThreadTurnsListParams) -> dict[str, Any]:
    """A page of turns, newest first unless asked otherwise."""
    row = await ctx.services.threads.row(params.thread_id)
    turns = list(hide_open(await ctx.services.threads.state(row.thread_id)).turns.values())
    page = _slice(row, "turns", len(turns), params.cursor, params.limit, params.sort_direction != "asc")
    view = params.items_view or "summary"
    return _reply(page, [turns[ordinal].wire(view) for ordinal in page.ordinals])


@method("thread/items/list", ThreadItemsListParams)
async def thread_items_list(ctx: Context, params: ThreadItemsListParams) -> dict[str, Any]:
    """A page of items, oldest first unless asked otherwise; of one turn or of all."""
    row = await ctx.services.threads.row(params.thread_id)
    turns = hide_open(await ctx.services.threads.state(row.thread_id)).turns.values()
    entries = item_entries(turn for turn in turns if params.turn_id in (None, turn.turn_id))
    cursor = params.cursor
    anchor = item_anchor(entries, cursor.item_id) if cursor is not None and not isinstance(cursor, str) else None
    text = cursor if isinstance(cursor, str) else None
    page = _slice(row, "items", len(entries), text, params.limit, params.sort_direction == "desc", anchor)
    return _reply(page, [entries[ordinal] for ordinal in page.ordinals])


def _slice(
    row: ThreadRow,
    kind: Kind,
    count: int,
    cursor: str | None,
    limit: int | None,
    descending: bool,
    anchor: Anchor | None = None,
) -> Slice:
    if cursor is not None:
        anchor = parse_cursor(cursor, row.thread_id, kind)
    return slice_ordinals(
        count,
        anchor=anchor,
        limit=page_limit(limit),
        descending=descending,
        thread_id=row.thread_id,
        kind=kind,
    )


def _reply(page: Slice, data: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": data, "nextCursor": page.next_cursor, "backwardsCursor": page.backwards_cursor}


def _asks_for_what_no_thread_has(params: ThreadListParams) -> bool:
    """Parents, sections and projects do not exist here: a filter by one finds nothing, as is true."""
    wanted = (params.ancestor_thread_id, params.attached_to_thread_id, params.parent_thread_id, params.section_id)
    return any(value is not None for value in wanted)
