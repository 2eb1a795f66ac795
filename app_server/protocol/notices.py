"""Owns the notifications that no thread's course depends on: warnings, deprecations, requests that are settled."""

from app_server.protocol.base import Int, SparseModel, WireModel


class WarningNotification(WireModel):
    """`warning`: something the user should know, at any time; with a thread where it concerns one."""

    thread_id: str | None = None
    message: str


class TextPosition(WireModel):
    """Counted from 1, columns in Unicode characters."""

    line: Int
    column: Int


class TextRange(WireModel):
    start: TextPosition
    end: TextPosition


class ConfigWarningNotification(SparseModel):
    """`configWarning`: the config was read with a reservation; sent after `initialize` and after a config change."""

    omit_when_none = frozenset({"path", "range"})

    summary: str
    details: str | None = None
    path: str | None = None
    range: TextRange | None = None


class DeprecationNoticeNotification(WireModel):
    """`deprecationNotice`: the client used something that will go away."""

    summary: str
    details: str | None = None


RequestId = Int | str
"""The id of a request, as its sender chose it."""


class ServerRequestResolvedNotification(WireModel):
    """`serverRequest/resolved`: a request of ours needs no answer any more, whoever settled it."""

    thread_id: str
    request_id: RequestId
