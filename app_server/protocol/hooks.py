"""Owns hook/started and hook/completed: the runs of the user's commands around tools."""

from typing import Literal

from app_server.protocol.base import Int, WireModel

HookEventName = Literal[
    "preModelRequest",
    "postModelRequest",
    "preToolUse",
    "permissionRequest",
    "postToolUse",
    "preCompact",
    "postCompact",
    "sessionStart",
    "sessionEnd",
    "userPromptSubmit",
    "subagentStart",
    "subagentStop",
    "stop",
    "interrupt",
]
HookSource = Literal[
    "system",
    "user",
    "project",
    "mdm",
    "sessionFlags",
    "plugin",
    "cloudRequirements",
    "cloudManagedConfig",
    "legacyManagedConfigFile",
    "legacyManagedConfigMdm",
    "unknown",
]


class HookOutputEntry(WireModel):
    """What a hook had to say."""

    kind: Literal["warning", "stop", "feedback", "context", "error"]
    text: str


class HookRunSummary(WireModel):
    """One run of one hook. `started_at` and `completed_at` are seconds since the Unix epoch."""

    id: str
    event_name: HookEventName
    handler_type: Literal["command", "mcpTool", "prompt", "agent"]
    execution_mode: Literal["sync", "async"]
    scope: Literal["thread", "turn"]
    source: HookSource = "unknown"
    source_path: str
    display_order: Int
    status: Literal["running", "completed", "failed", "blocked", "stopped"]
    status_message: str | None = None
    started_at: Int
    completed_at: Int | None = None
    duration_ms: Int | None = None
    entries: tuple[HookOutputEntry, ...]


class HookStartedNotification(WireModel):
    """`hook/started`: before the command runs; `hook/completed` of the same run id follows in every outcome."""

    thread_id: str
    turn_id: str | None = None
    run: HookRunSummary


class HookCompletedNotification(WireModel):
    """`hook/completed`: the command ended, and what that means for the tool call."""

    thread_id: str
    turn_id: str | None = None
    run: HookRunSummary
