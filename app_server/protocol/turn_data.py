"""Owns the turn object, the replies of turn/*, and its notifications: the schema of what the server makes itself."""

from typing import Literal

from app_server.protocol.base import DurableNotification, Int, WireModel
from app_server.protocol.items import ThreadItem
from app_server.protocol.settings import TurnItemsView
from app_server.protocol.turn_error import TurnError

TurnStatus = Literal["completed", "interrupted", "failed", "inProgress"]


class Turn(WireModel):
    """One request of the user, to its end. Times are Unix seconds."""

    id: str
    root_turn_id: str | None = None
    items: tuple[ThreadItem, ...]
    items_view: TurnItemsView = "full"
    status: TurnStatus
    error: TurnError | None = None
    started_at: Int | None = None
    completed_at: Int | None = None
    duration_ms: Int | None = None


class TurnStartResponse(WireModel):
    turn: Turn


class TurnSteerResponse(WireModel):
    turn_id: str


class TurnInterruptResponse(WireModel):
    """Empty: the outcome is `turn/completed` with status interrupted."""


class TurnStartedNotification(DurableNotification):
    """`turn/started`: after the reply of turn/start and before every item of the turn."""

    thread_id: str
    turn: Turn


class TurnCompletedNotification(DurableNotification):
    """`turn/completed`: the last notification of a turn, whatever its outcome."""

    thread_id: str
    turn: Turn
