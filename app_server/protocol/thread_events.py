"""Owns the notifications about a thread as a whole."""

from app_server.protocol.base import DurableNotification, Int, WireModel
from app_server.protocol.settings import ThreadGoalStatus
from app_server.protocol.thread_data import (
    Thread,
    ThreadReadState,
    ThreadSettings,
    ThreadStatus,
    ThreadTokenUsage,
)


class ThreadStartedNotification(WireModel):
    """`thread/started`: to every initialized connection, after the reply of thread/start; `turns` is empty."""

    thread: Thread


class ThreadStatusChangedNotification(WireModel):
    """`thread/status/changed`: to every connection, before `turn/started` and before `turn/completed`."""

    thread_id: str
    status: ThreadStatus


class ThreadClosedNotification(WireModel):
    """`thread/closed`: the thread is not loaded any more."""

    thread_id: str


class ThreadArchivedNotification(WireModel):
    """`thread/archived`: to every connection, after the reply."""

    thread_id: str


class ThreadUnarchivedNotification(WireModel):
    """`thread/unarchived`: to every connection, after the reply."""

    thread_id: str


class ThreadDeletedNotification(WireModel):
    """`thread/deleted`: to every connection, after the reply."""

    thread_id: str


class ThreadNameUpdatedNotification(DurableNotification):
    """`thread/name/updated`: to every connection, after the reply of thread/name/set."""

    thread_id: str
    thread_name: str | None = None


class ThreadSettingsUpdatedNotification(DurableNotification):
    """`thread/settings/updated`: an override changed what the following turns start with."""

    thread_id: str
    thread_settings: ThreadSettings


class ThreadTokenUsageUpdatedNotification(DurableNotification):
    """`thread/tokenUsage/updated`: after every upstream response, always before `turn/completed`."""

    thread_id: str
    turn_id: str
    token_usage: ThreadTokenUsage


class ThreadRevertedNotification(DurableNotification):
    """`thread/reverted`: to every connection, after the reply of thread/revert."""

    thread_id: str


class ThreadGoal(WireModel):
    """What a thread is for; times are Unix seconds."""

    thread_id: str
    objective: str
    status: ThreadGoalStatus
    token_budget: Int | None = None
    tokens_used: Int
    time_used_seconds: Int
    created_at: Int
    updated_at: Int


class ThreadGoalUpdatedNotification(DurableNotification):
    """`thread/goal/updated`: the goal was set or changed; `turn_id` is None where no turn did it."""

    thread_id: str
    turn_id: str | None = None
    goal: ThreadGoal


class ThreadGoalClearedNotification(DurableNotification):
    """`thread/goal/cleared`: the thread has no goal any more."""

    thread_id: str


class ThreadReadStateChangedNotification(DurableNotification):
    """`thread/readState/changed`: a turn answered, or a client marked the thread; experimental."""

    thread_id: str
    read_state: ThreadReadState
