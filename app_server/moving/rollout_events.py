"""Events of a rollout in legacy mode that show something, as items of the wire. Pure.

Legacy files have no items: what was shown is told by events, and the commands of some releases by nothing but the call
in the history and its output. Items without an id of their own are counted through the thread, as the reference does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from app_server.moving.rollout_items import (
    Json,
    agent_message,
    command_execution,
    file_changes,
    image_generation,
    mcp_call,
    review_text,
    web_search,
)

_COMMANDS: Final = frozenset({"exec_command", "shell", "shell_command", "container.exec", "local_shell"})
_EXIT = re.compile(r"(?:Process exited with code|Exit code:?) (-?\d+)")
_OUTPUT = re.compile(r"^(?:Output|Total output lines: \d+\n+Output):\n", re.MULTILINE)


def event_item(event: Json, next_id: Callable[[], str]) -> dict[str, Any] | None:
    """The item that an event shows; None for one that shows nothing, or is not known."""
    made = _made(event)
    if made is None:
        return None
    own = event.get("item_id") if str(event.get("type")).endswith("review_mode") else event.get("call_id")
    return {"type": made.pop("type"), "id": str(own) if own else next_id(), **made}


def command_item(call: Json, output: Any, cwd: str) -> dict[str, Any] | None:
    """The command that a call of the model was, from its arguments and its output; None for any other call."""
    if call.get("type") != "function_call" or call.get("name") not in _COMMANDS or call.get("namespace"):
        return None
    try:
        given = orjson.loads(str(call.get("arguments")))
    except orjson.JSONDecodeError:
        return None
    if not isinstance(given, Mapping):
        return None
    text = output if isinstance(output, str) else ""
    code = _EXIT.search(text)
    exit_code = int(code[1]) if code else None
    at = _OUTPUT.search(text)
    made = command_execution(
        {
            "command": given.get("cmd") or given.get("command"),
            "cwd": given.get("workdir") or cwd,
            "status": "failed" if exit_code else "completed",
            "aggregated_output": text[at.end() :] if at else text,
            "exit_code": exit_code,
        }
    )
    return {"type": made.pop("type"), "id": str(call.get("call_id")), **made}


def _made(event: Json) -> dict[str, Any] | None:
    match event.get("type"):
        case "user_message":
            return _user(event)
        case "agent_message":
            return agent_message(str(event.get("message") or ""), event.get("phase"))
        case "image_generation_end":
            return image_generation(event)
        case "mcp_tool_call_end":
            call = event.get("invocation")
            return mcp_call({**event, **(call if isinstance(call, Mapping) else {}), "status": None})
        case "patch_apply_end":
            status = event.get("status") or ("completed" if event.get("success") else "failed")
            return {"type": "fileChange", "changes": file_changes(event.get("changes")), "status": str(status)}
        case "web_search_end":
            return web_search(event)
        case "exec_command_end":
            return command_execution(event)
        case "view_image_tool_call":
            return {"type": "imageView", "path": str(event.get("path"))}
        case "entered_review_mode":
            return {"type": "enteredReviewMode", "review": str(event.get("user_facing_hint") or "")}
        case "exited_review_mode":
            return {"type": "exitedReviewMode", "review": review_text(event.get("review_output"))}
        case "context_compacted":
            return {"type": "contextCompaction"}
        case _:
            return None


def _user(event: Json) -> dict[str, Any]:
    text = str(event.get("message") or "")
    details, local_details = event.get("image_details") or [], event.get("local_image_details") or []
    content: list[dict[str, Any]] = []
    if text:
        content.append({"type": "text", "text": text, "text_elements": event.get("text_elements") or []})
    for place, url in enumerate(event.get("images") or []):
        content.append({"type": "image", "url": str(url), "detail": _at(details, place)})
    for place, path in enumerate(event.get("local_images") or []):
        content.append({"type": "localImage", "detail": _at(local_details, place), "path": str(path)})
    return {"type": "userMessage", "clientId": event.get("client_id"), "content": content}


def _at(details: Any, place: int) -> Any:
    return details[place] if isinstance(details, list) and place < len(details) else None
