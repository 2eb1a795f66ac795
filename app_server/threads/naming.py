"""Ids of threads as clients write them. Pure."""

from __future__ import annotations

from app_server.errors import InvalidRequest
from app_server.ids import parse_uuid


def check_id(thread_id: str) -> None:
    """Raises InvalidRequest for a text that cannot be a thread id."""
    if parse_uuid(thread_id) is None:
        raise InvalidRequest(
            f"invalid thread id: {shown_id(thread_id)} is not a UUID; use an id of thread/list",
            data_code="invalidThreadId",
        )


def shown_id(text: str) -> str:
    """An id from outside, fit for a message."""
    clean = "".join(char if char.isprintable() else "�" for char in text[:80])
    return clean + ("…" if len(text) > 80 else "")


def canonical(thread_id: str) -> str:
    """The id as it is stored, where it is one."""
    return parse_uuid(thread_id) or thread_id
