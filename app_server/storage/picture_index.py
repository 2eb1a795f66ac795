"""The index of generated pictures: what a record adds to it or takes from it. Pure.

Every `ThreadLog` keeps the index in the commit of the records, and could make it anew from them.
"""

from __future__ import annotations

from typing import Any, Final

from app_server.extension_api.tools import PictureRef
from app_server.storage import records as kinds
from app_server.storage.base import LOCAL_TENANT, PictureQuery, PictureRow, Record

INDEXED: Final = frozenset({kinds.ITEM_COMPLETED, kinds.PICTURE_REMOVED})
"""The kinds of records that may change the index."""


def picture_row(
    thread_id: str, record: Record, *, seq: int, at_ms: int, tenant: str = LOCAL_TENANT
) -> PictureRow | None:
    """The row that a stored record adds, or None: only a finished generated picture has one."""
    if record.kind != kinds.ITEM_COMPLETED:
        return None
    item, picture = record.data.get("item"), record.data.get("picture")
    if not isinstance(item, dict) or item.get("type") != "imageGeneration" or not isinstance(picture, dict):
        return None
    return PictureRow(
        tenant=tenant,
        thread_id=thread_id,
        seq=seq,
        at_ms=at_ms,
        turn_id=str(record.data.get("turnId")),
        item_id=str(item.get("id")),
        ref=PictureRef.from_json(picture),
        path=_text(item.get("savedPath")),
        handle=_text(item.get("handle")),
        prompt=_text(item.get("prompt")) or _text(item.get("revisedPrompt")),
        model=_text(item.get("model")),
    )


def removed_item(record: Record) -> tuple[str, str] | None:
    """Turn and item whose row a record takes away, or None."""
    if record.kind != kinds.PICTURE_REMOVED:
        return None
    return str(record.data["turnId"]), str(record.data["itemId"])


def picture_matches(query: PictureQuery, row: PictureRow) -> bool:
    """Whether a row is one of those that were asked for."""
    return (
        row.tenant == query.tenant
        and query.thread_id in (None, row.thread_id)
        and query.item_id in (None, row.item_id)
        and query.sha256 in (None, row.ref.sha256)
        and (query.before is None or row.place < query.before)
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
