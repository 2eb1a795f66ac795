"""What a new thread begins with: its index row and its first record. Pure; `manager.py` stores both in one commit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app_server.storage import records as kinds
from app_server.storage.base import Record, ThreadRow
from app_server.threads.settings import to_json
from app_server.version import PROTOCOL_VERSION

if TYPE_CHECKING:
    from app_server.turns.context import Settings

SOURCE = "vscode"
"""What clients see as a thread's source: the one that pickers of existing clients ask for."""


def new_row(
    thread_id: str,
    settings: Settings,
    now_ms: int,
    *,
    originator: str,
    ephemeral: bool,
    meta: Mapping[str, Any],
    preview: str | None = None,
) -> ThreadRow:
    """The row of a thread that begins now; with a preview it has turns already, and is listed."""
    return ThreadRow(
        thread_id=thread_id,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        recency_at_ms=now_ms,
        listed=preview is not None,
        preview=preview or "",
        cwd=settings.cwd,
        source=SOURCE,
        model=settings.model,
        model_provider=settings.model_provider,
        meta={
            **meta,
            "originator": originator,
            "cliVersion": PROTOCOL_VERSION,
            "reasoningEffort": settings.effort,
            **({"ephemeral": True} if ephemeral else {}),
        },
    )


def first_record(settings: Settings, originator: str) -> Record:
    """The record that every log begins with."""
    return Record(kind=kinds.THREAD_STARTED, data={"settings": to_json(settings), "originator": originator})
