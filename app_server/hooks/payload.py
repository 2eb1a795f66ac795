"""What a hook reads on its standard input: one JSON object in the reference's shape, without bytes of pictures. Pure.

Both events: session_id (the thread), turn_id, transcript_path (null: threads are no files here), cwd, hook_event_name,
model, permission_mode, tool_name, tool_input, tool_use_id. PostToolUse adds tool_response: the tool's small JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.hooks.config import HookEvent
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.tools import ToolName

MAX_RESPONSE_BYTES: Final = 4096
_MIN_BASE64_CHARS: Final = 512
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)(?:;[\w=.+-]+)*,[\w+/=%.~-]*")
_BASE64: Final = re.compile(rf"[A-Za-z0-9+/_-]{{{_MIN_BASE64_CHARS},}}={{0,2}}")


@frozen
class HookTurn:
    """The turn in which hooks run."""

    thread_id: str
    turn_id: str
    cwd: str
    model: str
    permission_mode: str


def permission_mode(approval_policy: object) -> str:
    """The reference's word for whether anybody is asked before a tool acts."""
    return "bypassPermissions" if approval_policy == "never" else "default"


def pre_payload(turn: HookTurn, tool: ToolName, call_id: str, arguments: str) -> dict[str, Any]:
    """The object of a PreToolUse hook."""
    return _payload(HookEvent.PRE_TOOL_USE, turn, tool, call_id, arguments)


def post_payload(
    turn: HookTurn, tool: ToolName, call_id: str, arguments: str, response: Mapping[str, Any]
) -> dict[str, Any]:
    """The object of a PostToolUse hook. A response beyond 4 KiB is left out: an extension broke its contract."""
    shown: Any = without_bytes(dict(response))
    size_bytes = len(orjson.dumps(shown, default=str))
    if size_bytes > MAX_RESPONSE_BYTES:
        shown = {"omitted": f"the tool's response has {size_bytes} bytes, more than {MAX_RESPONSE_BYTES}"}
    return {**_payload(HookEvent.POST_TOOL_USE, turn, tool, call_id, arguments), "tool_response": shown}


def _payload(event: HookEvent, turn: HookTurn, tool: ToolName, call_id: str, arguments: str) -> dict[str, Any]:
    return {
        "session_id": turn.thread_id,
        "turn_id": turn.turn_id,
        "transcript_path": None,
        "cwd": turn.cwd,
        "hook_event_name": event.value,
        "model": turn.model,
        "permission_mode": turn.permission_mode,
        "tool_name": str(tool),
        "tool_input": without_bytes(_parsed(arguments)),
        "tool_use_id": call_id,
    }


def _parsed(arguments: str) -> Any:
    """The model's JSON, or its text where it is none: the tool itself will say what is wrong with it."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def without_bytes(value: Any) -> Any:
    """The same JSON with data URLs and long base64 texts replaced by what they were."""
    match value:
        case str():
            shorter = _DATA_URL.sub(lambda found: f"[{found[1]}, {len(found[0])} characters left out]", value)
            return _BASE64.sub(lambda found: f"[base64, {len(found[0])} characters left out]", shorter)
        case Mapping():
            return {str(key): without_bytes(inner) for key, inner in value.items()}
        case list() | tuple():
            return [without_bytes(inner) for inner in value]
        case _:
            return value
