"""Owns which notification and which server request has which shape. Tests and the schema command read it."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from app_server.protocol.account import (
    AccountLoginCompletedNotification,
    AccountRateLimitsUpdatedNotification,
    AccountUpdatedNotification,
    ChatgptAuthTokensRefreshParams,
)
from app_server.protocol.base import WireModel
from app_server.protocol.command import CommandExecOutputDeltaNotification
from app_server.protocol.fs import FsChangedNotification
from app_server.protocol.hooks import HookCompletedNotification, HookStartedNotification
from app_server.protocol.items import (
    AgentMessageDeltaNotification,
    CommandExecutionOutputDeltaNotification,
    DynamicToolCallParams,
    ItemCompletedNotification,
    ItemStartedNotification,
    ReasoningSummaryPartAddedNotification,
    ReasoningSummaryTextDeltaNotification,
    ReasoningTextDeltaNotification,
)
from app_server.protocol.notices import (
    ConfigWarningNotification,
    DeprecationNoticeNotification,
    ServerRequestResolvedNotification,
    WarningNotification,
)
from app_server.protocol.search import (
    FuzzyFileSearchSessionCompletedNotification,
    FuzzyFileSearchSessionUpdatedNotification,
)
from app_server.protocol.thread_events import (
    ThreadArchivedNotification,
    ThreadClosedNotification,
    ThreadDeletedNotification,
    ThreadGoalClearedNotification,
    ThreadGoalUpdatedNotification,
    ThreadNameUpdatedNotification,
    ThreadReadStateChangedNotification,
    ThreadRevertedNotification,
    ThreadSettingsUpdatedNotification,
    ThreadStartedNotification,
    ThreadStatusChangedNotification,
    ThreadTokenUsageUpdatedNotification,
    ThreadUnarchivedNotification,
)
from app_server.protocol.turn_data import TurnCompletedNotification, TurnStartedNotification
from app_server.protocol.turn_error import ErrorNotification

NOTIFICATIONS: Final[Mapping[str, type[WireModel]]] = MappingProxyType(
    {
        "error": ErrorNotification,
        "thread/started": ThreadStartedNotification,
        "thread/status/changed": ThreadStatusChangedNotification,
        "thread/closed": ThreadClosedNotification,
        "thread/archived": ThreadArchivedNotification,
        "thread/unarchived": ThreadUnarchivedNotification,
        "thread/deleted": ThreadDeletedNotification,
        "thread/name/updated": ThreadNameUpdatedNotification,
        "thread/settings/updated": ThreadSettingsUpdatedNotification,
        "thread/tokenUsage/updated": ThreadTokenUsageUpdatedNotification,
        "thread/reverted": ThreadRevertedNotification,
        "thread/goal/updated": ThreadGoalUpdatedNotification,
        "thread/goal/cleared": ThreadGoalClearedNotification,
        "thread/readState/changed": ThreadReadStateChangedNotification,
        "turn/started": TurnStartedNotification,
        "turn/completed": TurnCompletedNotification,
        "hook/started": HookStartedNotification,
        "hook/completed": HookCompletedNotification,
        "item/started": ItemStartedNotification,
        "item/completed": ItemCompletedNotification,
        "item/agentMessage/delta": AgentMessageDeltaNotification,
        "item/commandExecution/outputDelta": CommandExecutionOutputDeltaNotification,
        "item/reasoning/summaryTextDelta": ReasoningSummaryTextDeltaNotification,
        "item/reasoning/summaryPartAdded": ReasoningSummaryPartAddedNotification,
        "item/reasoning/textDelta": ReasoningTextDeltaNotification,
        "account/updated": AccountUpdatedNotification,
        "account/rateLimits/updated": AccountRateLimitsUpdatedNotification,
        "account/login/completed": AccountLoginCompletedNotification,
        "warning": WarningNotification,
        "configWarning": ConfigWarningNotification,
        "deprecationNotice": DeprecationNoticeNotification,
        "serverRequest/resolved": ServerRequestResolvedNotification,
        "fs/changed": FsChangedNotification,
        "command/exec/outputDelta": CommandExecOutputDeltaNotification,
        "fuzzyFileSearch/sessionUpdated": FuzzyFileSearchSessionUpdatedNotification,
        "fuzzyFileSearch/sessionCompleted": FuzzyFileSearchSessionCompletedNotification,
    }
)
"""What the server tells clients: method → shape of its params."""

METHOD_OF: Final[Mapping[type[WireModel], str]] = MappingProxyType(
    {model: method for method, model in NOTIFICATIONS.items()}
)
"""The other way round: each shape belongs to one method."""

SERVER_REQUESTS: Final[Mapping[str, type[WireModel]]] = MappingProxyType(
    {
        "item/tool/call": DynamicToolCallParams,
        "account/chatgptAuthTokens/refresh": ChatgptAuthTokensRefreshParams,
    }
)
"""What the server asks clients: method → shape of its params."""
