"""SQL of the picture index: what records add to it and take away, and how it is asked. Pure. For `log` and `appends`.

A page walks `pictures_by_time`, or the thread's own rows, from its cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from app_server.extension_api.tools import PictureRef
from app_server.storage.base import Lease, PictureQuery, PictureRow, Record
from app_server.storage.picture_index import INDEXED, picture_row, removed_item
from app_server.storage.postgres.texts import from_text, to_text

PICTURE_COLUMNS: Final = (
    ("at_ms", "bigint"),
    ("turn_id", "text"),
    ("item_id", "text"),
    ("sha256", "text"),
    ("mime", "text"),
    ("size_bytes", "bigint"),
    ("width", "bigint"),
    ("height", "bigint"),
    ("path", "text"),
    ("handle", "text"),
    ("prompt", "text"),
    ("model", "text"),
)
"""What a row has behind tenant, thread and seq, in the order of `picture_changes`."""
_READ: Final = ", ".join(("tenant", "thread_id", "seq", *(name for name, _ in PICTURE_COLUMNS)))

Change = tuple[int, tuple[Any, ...] | None, tuple[str | None, str | None]]
"""The place of the record among those it came with, from 1; the new row's values, None for a removal; turn and item."""


def picture_changes(lease: Lease, records: Sequence[Record], at_ms: Sequence[int]) -> list[Change]:
    """What the records do to the index, in their order."""
    changes: list[Change] = []
    for place, (record, when) in enumerate(zip(records, at_ms, strict=True), 1):
        if record.kind not in INDEXED:
            continue
        if (row := picture_row(lease.thread_id, record, seq=place, at_ms=when, tenant=lease.tenant)) is not None:
            changes.append((place, _values(row), (to_text(row.turn_id), to_text(row.item_id))))
        elif (removed := removed_item(record)) is not None:
            changes.append((place, None, (to_text(removed[0]), to_text(removed[1]))))
    return changes


def pictures_statement(query: PictureQuery) -> tuple[str, list[Any]]:
    """The statement of a query and its values; the newest come first."""
    conditions, values = ["tenant = $1"], list[Any]([query.tenant])
    given = (("thread_id", query.thread_id), ("item_id", to_text(query.item_id)), ("sha256", query.sha256))
    for column, wanted in given:
        if wanted is not None:
            values.append(wanted)
            conditions.append(f"{column} = ${len(values)}")
    if query.before is not None:
        first = len(values) + 1
        values += query.before
        conditions.append(f"(at_ms, thread_id, seq) < (${first}, ${first + 1}, ${first + 2})")
    values.append(query.limit)
    statement = (
        f"SELECT {_READ} FROM pictures WHERE {' AND '.join(conditions)} "
        f"ORDER BY at_ms DESC, thread_id DESC, seq DESC LIMIT ${len(values)}"
    )
    return statement, values


def read_picture(values: Sequence[Any]) -> PictureRow:
    """The row of a query."""
    tenant, thread_id, seq, at_ms, turn_id, item_id, sha256, mime, size_bytes, width, height, *texts = values
    path, handle, prompt, model = map(from_text, texts)
    return PictureRow(
        tenant=tenant,
        thread_id=thread_id,
        seq=seq,
        at_ms=at_ms,
        turn_id=from_text(turn_id) or "",
        item_id=from_text(item_id) or "",
        ref=PictureRef(sha256=sha256, mime=mime, size_bytes=size_bytes, width=width, height=height),
        path=path,
        handle=handle,
        prompt=prompt,
        model=model,
    )


def _values(row: PictureRow) -> tuple[Any, ...]:
    ref = row.ref
    texts = (to_text(text) for text in (row.path, row.handle, row.prompt, row.model))
    picture = (ref.sha256, ref.mime, ref.size_bytes, ref.width, ref.height)
    return (row.at_ms, to_text(row.turn_id), to_text(row.item_id), *picture, *texts)
