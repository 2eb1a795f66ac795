"""SQL of the picture index: how rows are added and taken away in the commit of the records, and how they are asked for.

A page walks `pictures_by_time`, or the thread's own rows, from its cursor. Called by `log`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from app_server.extension_api.tools import PictureRef
from app_server.storage.base import Lease, PictureQuery, PictureRow, Record
from app_server.storage.picture_index import INDEXED, picture_row, removed_item

_COLUMNS: Final = (
    "tenant, thread_id, seq, at_ms, turn_id, item_id, sha256, mime, size_bytes, width, height, path, handle, prompt, "
    "model"
)
_INSERT: Final = f"INSERT OR REPLACE INTO pictures ({_COLUMNS}) VALUES ({', '.join('?' * 15)})"
_REMOVE: Final = "DELETE FROM pictures WHERE tenant = ? AND thread_id = ? AND turn_id = ? AND item_id = ?"


def index_pictures(
    connection: sqlite3.Connection, lease: Lease, last_seq: int, records: Sequence[Record], at_ms: Sequence[int]
) -> None:
    """Bring the index to where the records are that follow `last_seq`."""
    for seq, (record, when) in enumerate(zip(records, at_ms, strict=True), last_seq + 1):
        if record.kind not in INDEXED:
            continue
        if (row := picture_row(lease.thread_id, record, seq=seq, at_ms=when, tenant=lease.tenant)) is not None:
            connection.execute(_INSERT, _values(row))
        elif (removed := removed_item(record)) is not None:
            connection.execute(_REMOVE, (lease.tenant, lease.thread_id, *removed))


def select_pictures(connection: sqlite3.Connection, query: PictureQuery) -> list[PictureRow]:
    """The rows that were asked for, the newest first."""
    conditions = ["tenant = ?"]
    values: list[Any] = [query.tenant]
    given: tuple[tuple[str, Any], ...] = (
        ("thread_id", query.thread_id),
        ("item_id", query.item_id),
        ("sha256", query.sha256),
    )
    for column, wanted in given:
        if wanted is not None:
            conditions.append(f"{column} = ?")
            values.append(wanted)
    if query.before is not None:
        conditions.append("(at_ms, thread_id, seq) < (?, ?, ?)")
        values += query.before
    statement = (
        f"SELECT {_COLUMNS} FROM pictures WHERE {' AND '.join(conditions)} "
        "ORDER BY at_ms DESC, thread_id DESC, seq DESC LIMIT ?"
    )
    return [_row(found) for found in connection.execute(statement, [*values, query.limit])]


def _values(row: PictureRow) -> tuple[Any, ...]:
    ref = row.ref
    facts = (row.tenant, row.thread_id, row.seq, row.at_ms, row.turn_id, row.item_id)
    picture = (ref.sha256, ref.mime, ref.size_bytes, ref.width, ref.height)
    return (*facts, *picture, row.path, row.handle, row.prompt, row.model)


def _row(values: tuple[Any, ...]) -> PictureRow:
    tenant, thread_id, seq, at_ms, turn_id, item_id, sha256, mime, size_bytes, width, height, *rest = values
    path, handle, prompt, model = rest
    return PictureRow(
        tenant=tenant,
        thread_id=thread_id,
        seq=seq,
        at_ms=at_ms,
        turn_id=turn_id,
        item_id=item_id,
        ref=PictureRef(sha256=sha256, mime=mime, size_bytes=size_bytes, width=width, height=height),
        path=path,
        handle=handle,
        prompt=prompt,
        model=model,
    )
