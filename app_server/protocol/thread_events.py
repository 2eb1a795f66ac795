"""Owns the notifications about a thread as a whole."""

from app_server.protocol.base import WireModel
from app_server.protocol.thread_data import Thread, ThreadSettings, ThreadStatus, ThreadTokenUsage


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


class ThreadNameUpdatedNotification(WireModel):
    """`thread/name/updated`: to every connection, after the reply of thread/name/set."""

    thread_id: str
    thread_name: str | None = None


class ThreadSettingsUpdatedNotification(WireModel):
    """`thread/settings/updated`: an override changed what the following turns start with."""

    thread_id: str
    thread_settings: ThreadSettings


class ThreadTokenUsageUpdatedNotification(WireModel):
    """`thread/tokenUsage/updated`: after every upstream response, always before `turn/completed`."""

    thread_id: str
    turn_id: str
    token_usage: ThreadTokenUsage
