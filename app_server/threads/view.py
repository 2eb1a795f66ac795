"""The protocol's Thread object, from an index row and what is known of the live thread. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app_server.version import PROTOCOL_VERSION

if TYPE_CHECKING:
    from app_server.storage.base import ThreadRow

Status = Mapping[str, Any]
NOT_LOADED: Status = {"type": "notLoaded"}


def status_object(word: str) -> Status:
    """The ThreadStatus of a live thread."""
    return {"type": "active", "activeFlags": []} if word == "active" else {"type": word}


def thread_object(
    row: ThreadRow,
    status: Status,
    *,
    environments: Sequence[Mapping[str, Any]] | None,
    turns: Sequence[Mapping[str, Any]] = (),
    accepts_input: bool | None = None,
) -> dict[str, Any]:
    """`environments` is None while the thread is not loaded; `accepts_input` is told by start, resume and read."""
    meta = row.meta
    return {
        "id": row.thread_id,
        "environments": environments,
        "extra": None,
        "sessionId": row.thread_id,
        "forkedFromId": meta.get("forkedFromId"),
        "attachedToThreadId": None,
        "parentThreadId": None,
        "preview": row.preview,
        "ephemeral": bool(meta.get("ephemeral")),
        "section": None,
        "sectionEnteredAt": None,
        "projectId": meta.get("projectId"),
        "historyMode": "paginated",
        "modelProvider": row.model_provider,
        "model": row.model,
        "reasoningEffort": meta.get("reasoningEffort"),
        "createdAt": row.created_at_ms // 1000,
        "updatedAt": row.updated_at_ms // 1000,
        "recencyAt": row.recency_at_ms // 1000,
        "status": status,
        "path": None,
        "cwd": row.cwd,
        "cliVersion": meta.get("cliVersion", PROTOCOL_VERSION),
        "originator": meta.get("originator"),
        "source": row.source,
        "canAcceptDirectInput": accepts_input,
        "threadSource": meta.get("threadSource"),
        "agentNickname": None,
        "agentRole": None,
        "gitInfo": meta.get("gitInfo"),
        "name": row.name,
        "daybreakEnabled": None,
        "turns": list(turns),
    }
