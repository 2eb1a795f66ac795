"""SQL of the thread index: how a `ThreadRow` is written and read, and which statement a `ThreadQuery` is. Pure.

A page walks one of the indexes `threads_by_…` from its cursor and stops after `limit`: nothing is sorted, and without
filters nothing is skipped. Called by `log` and `appends`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app_server.storage.base import StorageError, ThreadQuery, ThreadRow
from app_server.storage.postgres.texts import folded, folded_search, from_text, to_text
from app_server.storage.rules import decode_json, encode_json

KEY_COLUMNS: Final = ("tenant", "thread_id")
ROW_COLUMNS: Final = (
    ("created_at_ms", "bigint"),
    ("updated_at_ms", "bigint"),
    ("recency_at_ms", "bigint"),
    ("listed", "boolean"),
    ("archived", "boolean"),
    ("name", "text"),
    ("preview", "text"),
    ("cwd", "text"),
    ("source", "text"),
    ("model", "text"),
    ("model_provider", "text"),
    ("meta", "bytea"),
    ("folded", "bytea"),
)
"""What an index row has behind its key, in the order of `row_values`."""
_READ: Final = ", ".join((*KEY_COLUMNS, *(name for name, _ in ROW_COLUMNS[:-1])))
_SORT_COLUMNS: Final = {"created_at": "created_at_ms", "updated_at": "updated_at_ms", "recency_at": "recency_at_ms"}

SELECT_ROW: Final = f"SELECT {_READ} FROM threads WHERE tenant = $1 AND thread_id = $2"


def row_values(row: ThreadRow) -> tuple[Any, ...]:
    """The row in the order of ROW_COLUMNS. Raises StorageError when it has what cannot be stored."""
    try:
        search = folded(row.preview, row.name)
    except UnicodeEncodeError as error:
        raise StorageError(
            f"The name or preview of thread {row.thread_id} has half a character in it; give it whole ones."
        ) from error
    return (
        row.created_at_ms,
        row.updated_at_ms,
        row.recency_at_ms,
        row.listed,
        row.archived,
        to_text(row.name),
        to_text(row.preview),
        to_text(row.cwd),
        to_text(row.source),
        to_text(row.model),
        to_text(row.model_provider),
        encode_json(f"The index row of thread {row.thread_id}", row.meta),
        search,
    )


def read_row(values: Sequence[Any]) -> ThreadRow:
    """The row of SELECT_ROW or a page."""
    tenant, thread_id, created, updated, recency, listed, archived, *texts, meta = values
    name, preview, cwd, source, model, provider = map(from_text, texts)
    return ThreadRow(
        thread_id=thread_id,
        tenant=tenant,
        created_at_ms=created,
        updated_at_ms=updated,
        recency_at_ms=recency,
        listed=listed,
        archived=archived,
        name=name,
        preview=preview or "",
        cwd=cwd or "",
        source=source or "",
        model=model or "",
        model_provider=provider or "",
        meta=decode_json(f"The index row of thread {thread_id}", meta),
    )


def page_statement(query: ThreadQuery) -> tuple[str, list[Any]]:
    """The statement of a page and its values; it asks for one row more than the page, to know whether more follow."""
    sort_column = _SORT_COLUMNS[query.sort_key]
    values: list[Any] = [query.tenant, query.archived]
    conditions = ["tenant = $1", "archived = $2", "listed"]

    def given(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    if query.after is not None:
        sign = "<" if query.descending else ">"
        conditions.append(f"({sort_column}, thread_id) {sign} ({given(query.after[0])}, {given(query.after[1])})")
    for column, allowed in (("cwd", query.cwds), ("model_provider", query.providers), ("source", query.sources)):
        if allowed is not None:
            conditions.append(f"{column} = ANY({given([to_text(text) for text in allowed])})")
    if query.search is not None:
        conditions.append(f"position({given(folded_search(query.search))} IN folded) > 0")
    direction = "DESC" if query.descending else "ASC"
    statement = (
        f"SELECT {_READ} FROM threads WHERE {' AND '.join(conditions)} "
        f"ORDER BY {sort_column} {direction}, thread_id {direction} LIMIT {given(query.limit + 1)}"
    )
    return statement, values
