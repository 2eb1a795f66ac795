"""Pages over a thread's turns and items, and over the list of threads: cursors in both directions. Pure.

A cursor of turns or items is a JSON text, as the reference's: an ordinal, whether the page begins with it, and what is
counted; a thread's turns and items only grow, so an ordinal stays true. One of thread/list is `<time>|<thread id>`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import orjson

from app_server.errors import InvalidRequest
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.storage.base import ThreadRow, ThreadSortKey

Kind = Literal["turns", "items"]
DEFAULT_LIMIT = 25
MAX_LIMIT = 1000
_EPOCH, _MS = datetime(1970, 1, 1, tzinfo=UTC), timedelta(milliseconds=1)


@frozen
class Anchor:
    """Where a page begins."""

    ordinal: int
    include: bool


@frozen
class Slice:
    """One page of ordinals, in the asked direction, with the cursors to go on and to turn round."""

    ordinals: tuple[int, ...]
    next_cursor: str | None
    backwards_cursor: str | None


def page_limit(limit: int | None, default: int = DEFAULT_LIMIT) -> int:
    """A limit that a client asked for, within reason; 0 counts as 1, for a page of nothing leads nowhere."""
    return default if limit is None else max(1, min(limit, MAX_LIMIT))


def cursor_text(thread_id: str, kind: Kind, anchor: Anchor) -> str:
    """The text form of an anchor."""
    value = {
        "requestedThreadId": thread_id,
        "rolloutOrdinal": anchor.ordinal,
        "includeAnchor": anchor.include,
        "scope": {"kind": kind},
    }
    return orjson.dumps(value).decode()


def parse_cursor(text: str, thread_id: str, kind: Kind) -> Anchor:
    """The anchor of a text that `cursor_text` made for this thread. Raises InvalidRequest."""
    try:
        value = orjson.loads(text)
        anchor = Anchor(ordinal=value["rolloutOrdinal"], include=value["includeAnchor"])
        fits = (
            value["requestedThreadId"] == thread_id
            and value["scope"]["kind"] == kind
            and type(anchor.ordinal) is int
            and type(anchor.include) is bool
        )
    except (orjson.JSONDecodeError, KeyError, TypeError):
        fits = False
    if not fits:
        raise invalid_cursor(text)
    return anchor


def slice_ordinals(
    count: int, *, anchor: Anchor | None, limit: int, descending: bool, thread_id: str, kind: Kind
) -> Slice:
    """The page of `count` things, counted from 0 (oldest)."""
    step = -1 if descending else 1
    first = anchor.ordinal + (0 if anchor.include else step) if anchor else (count - 1 if descending else 0)
    if not descending:
        first = max(first, 0)
    else:
        first = min(first, count - 1)
    last = min(first + limit, count) if not descending else max(first - limit, -1)
    ordinals = tuple(range(first, last, step))
    if not ordinals:
        return Slice(ordinals=(), next_cursor=None, backwards_cursor=None)
    more = 0 <= ordinals[-1] + step < count
    ahead = cursor_text(thread_id, kind, Anchor(ordinal=ordinals[-1], include=False)) if more else None
    back = cursor_text(thread_id, kind, Anchor(ordinal=ordinals[0], include=True))
    return Slice(ordinals=ordinals, next_cursor=ahead, backwards_cursor=back)


def item_anchor(entries: Sequence[Mapping[str, Any]], item_id: str) -> Anchor:
    """The anchor behind one item. Raises InvalidRequest when it is not among the entries."""
    for ordinal, entry in enumerate(entries):
        if entry["item"]["id"] == item_id:
            return Anchor(ordinal=ordinal, include=False)
    raise InvalidRequest(f"item not found: {item_id}", data_code="itemNotFound")


def list_cursor_of(row: ThreadRow, key: ThreadSortKey) -> str:
    """Where a list in the order of `key` goes on behind this thread."""
    return list_cursor(getattr(row, f"{key}_ms"), row.thread_id)


def list_cursor(at_ms: int, thread_id: str) -> str:
    """A place in thread/list."""
    stamp = (_EPOCH + at_ms * _MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{stamp}|{thread_id}"


def parse_list_cursor(text: str) -> tuple[int, str]:
    """The sort value in ms and the thread id of a `list_cursor`. Raises InvalidRequest."""
    stamp, _, thread_id = text.partition("|")
    try:
        at = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    except ValueError:
        raise invalid_cursor(text) from None
    if at.tzinfo is None:
        raise invalid_cursor(text)
    return (at - _EPOCH) // _MS, thread_id  # whole numbers: a float loses milliseconds


def invalid_cursor(text: str) -> InvalidRequest:
    shown = text if len(text) <= 200 else text[:200] + "…"
    return InvalidRequest(f"invalid cursor: {shown}; use one that a reply gave", data_code="invalidCursor")
