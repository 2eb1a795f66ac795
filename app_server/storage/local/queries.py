"""SQL of the thread index: how a `ThreadRow` is written and read, and which statement a `ThreadQuery` is. Pure.

A page walks one of the indexes `threads_by_…` from its cursor and stops after `limit`: nothing is sorted, and without
filters nothing is skipped. Called by `log`.
"""

from __future__ import annotations

from typing import Any, Final

from app_server.storage.base import ThreadQuery, ThreadRow
from app_server.storage.rules import decode_json, encode_json

_COLUMNS: Final = (
    "tenant, thread_id, created_at_ms, updated_at_ms, recency_at_ms, listed, archived, name, preview, cwd, source, "
    "model, model_provider, meta"
)
COLUMN_NAMES: Final = tuple(_COLUMNS.split(", "))
_SORT_COLUMNS: Final = {"created_at": "created_at_ms", "updated_at": "updated_at_ms", "recency_at": "recency_at_ms"}

INSERT_ROW: Final = f"INSERT INTO threads ({_COLUMNS}) VALUES ({', '.join('?' * 14)})"
UPDATE_ROW: Final = (
    "UPDATE threads SET created_at_ms = ?, updated_at_ms = ?, recency_at_ms = ?, listed = ?, archived = ?, name = ?, "
    "preview = ?, cwd = ?, source = ?, model = ?, model_provider = ?, meta = ? WHERE tenant = ? AND thread_id = ?"
)
SELECT_ROW: Final = f"SELECT {_COLUMNS} FROM threads WHERE tenant = ? AND thread_id = ?"


def row_values(row: ThreadRow) -> tuple[Any, ...]:
    """The row in the order of INSERT_ROW; UPDATE_ROW takes the first two values last."""
    return (
        row.tenant,
        row.thread_id,
        row.created_at_ms,
        row.updated_at_ms,
        row.recency_at_ms,
        int(row.listed),
        int(row.archived),
        row.name,
        row.preview,
        row.cwd,
        row.source,
        row.model,
        row.model_provider,
        encode_json(f"The index row of thread {row.thread_id}", row.meta),
    )


def read_row(values: tuple[Any, ...]) -> ThreadRow:
    """The row of a statement that selects all columns."""
    (
        tenant,
        thread_id,
        created,
        updated,
        recency,
        listed,
        archived,
        name,
        preview,
        cwd,
        source,
        model,
        provider,
        meta,
    ) = values
    return ThreadRow(
        thread_id=thread_id,
        tenant=tenant,
        created_at_ms=created,
        updated_at_ms=updated,
        recency_at_ms=recency,
        listed=bool(listed),
        archived=bool(archived),
        name=name,
        preview=preview,
        cwd=cwd,
        source=source,
        model=model,
        model_provider=provider,
        meta=decode_json(f"The index row of thread {thread_id}", meta),
    )


def page_statement(query: ThreadQuery) -> tuple[str, list[Any]]:
    """The statement of a page and its values; it asks for one row more than the page, to know whether more follow."""
    sort_column = _SORT_COLUMNS[query.sort_key]
    conditions = ["tenant = ?", "archived = ?", "listed = 1"]
    values: list[Any] = [query.tenant, int(query.archived)]
    if query.after is not None:
        conditions.append(f"({sort_column}, thread_id) {'<' if query.descending else '>'} (?, ?)")
        values += query.after
    for column, allowed in (("cwd", query.cwds), ("model_provider", query.providers), ("source", query.sources)):
        if allowed is not None:
            conditions.append(f"{column} IN ({', '.join('?' * len(allowed))})")
            values += allowed
    if query.search is not None:
        conditions.append("search_matches(preview, name, ?)")
        values.append(query.search)
    direction = "DESC" if query.descending else "ASC"
    statement = (
        f"SELECT {_COLUMNS} FROM threads WHERE {' AND '.join(conditions)} "
        f"ORDER BY {sort_column} {direction}, thread_id {direction} LIMIT ?"
    )
    return statement, [*values, query.limit + 1]
