"""Items of a rollout in paginated mode, as the wire has them. Pure; `None` for an item that is not known.

| rollout | wire |
|---|---|
| UserMessage, AgentMessage, Reasoning, Plan | userMessage, agentMessage, reasoning, plan |
| CommandExecution, FileChange, McpToolCall, DynamicToolCall, WebSearch | the same in camelCase |
| ImageView, Extension `image_gen.generation`, ImageGeneration | imageView, imageGeneration |
| EnteredReviewMode, ExitedReviewMode, ContextCompaction | the same in camelCase |

Picture bytes still stand in what comes out, as base64: `pictures_inside` takes them out.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote, urlsplit

Json = Mapping[str, Any]


def wire_item(item: Json) -> dict[str, Any] | None:
    """The item, without its times."""
    make = _ITEMS.get(str(item.get("type")))
    made = make(item) if make is not None else None
    return None if made is None else {"type": made.pop("type"), "id": str(item.get("id")), **made}


def user_part(part: Json) -> dict[str, Any] | None:
    """One part of a user's message."""
    match part.get("type"):
        case "text":
            return {"type": "text", "text": str(part.get("text", "")), "text_elements": part.get("text_elements") or []}
        case "image" if part.get("image_url") is not None:
            return {"type": "image", "url": part["image_url"], "detail": part.get("detail")}
        case "image" if part.get("file_id") is not None:
            return {"type": "image", "fileId": part["file_id"], "detail": part.get("detail")}
        case "local_image":
            return {"type": "localImage", "detail": part.get("detail"), "path": str(part.get("path"))}
        case "skill" | "mention" as kind:
            return {"type": kind, "name": str(part.get("name")), "path": str(part.get("path"))}
        case _:
            return None


def file_changes(changes: Any) -> list[dict[str, Any]]:
    """What a patch did to each file, by path."""
    return [_change(path, change) for path, change in sorted(_object(changes).items()) if isinstance(change, Mapping)]


def review_text(output: Any) -> str:
    """A review as one text: what it says, and its findings as a list."""
    if not isinstance(output, Mapping):
        return "Reviewer failed to output a response."
    explanation = str(output.get("overall_explanation") or "").strip()
    findings = [_finding(one) for one in output.get("findings") or [] if isinstance(one, Mapping)]
    heading = "Full review comments:" if len(findings) > 1 else "Review comment:"
    return "\n\n".join(part for part in (explanation, *([heading, *findings] if findings else [])) if part)


def image_generation(item: Json) -> dict[str, Any]:
    """A picture; its bytes are in `result`, or in the file that it names."""
    return {
        "type": "imageGeneration",
        "status": str(item.get("status") or "completed"),
        "revisedPrompt": _either(item, "revisedPrompt", "revised_prompt"),
        "result": item.get("result") or "",
        "transparentBackground": _either(item, "transparentBackground", "transparent_background"),
        "failure": item.get("failure"),
        "savedPath": _either(item, "savedPath", "saved_path"),
        "generationId": _either(item, "generationId", "generation_id"),
    }


def tool_result(result: Any) -> dict[str, Any]:
    """`result` and `error` of an MCP call; older files say Ok and Err."""
    given = _object(result)
    if "Err" in given:
        return {"result": None, "error": {"message": str(given["Err"])}}
    given = _object(given["Ok"]) if "Ok" in given else given
    if not given:
        return {"result": None, "error": None}
    told = {
        "content": given.get("content") or [],
        "structuredContent": _either(given, "structuredContent", "structured_content"),
        "_meta": given.get("_meta"),
    }
    return {"result": told, "error": None}


def search_action(action: Any) -> dict[str, Any] | None:
    """What a web search did."""
    given = _object(action)
    return {**given, "type": camel(str(given.get("type")))} if given else None


def duration_ms(duration: Any) -> int | None:
    """Whole milliseconds of `{secs, nanos}`."""
    given = _object(duration)
    secs, nanos = given.get("secs"), given.get("nanos")
    return secs * 1000 + nanos // 1_000_000 if type(secs) is int and type(nanos) is int else None


def local_path(text: Any) -> str:
    """A path that may be written as a `file:` URL."""
    path = str(text)
    return unquote(urlsplit(path).path) if path.startswith("file:") else path


def camel(word: str) -> str:
    """`open_page` → `openPage`."""
    first, *rest = word.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def camel_keys(value: Any) -> Any:
    """Names of a sum type and its members in camelCase: an error's kind, for one."""
    if isinstance(value, str):
        return camel(value)
    if isinstance(value, Mapping):
        return {camel(key): camel_keys(one) if isinstance(one, Mapping) else one for key, one in value.items()}
    return value


def command_text(command: Any) -> str:
    return shlex.join(map(str, command)) if isinstance(command, list) else str(command or "")


def command_actions(parsed: Any) -> list[dict[str, Any]]:
    """What a command seems to do."""
    return [_action(one) for one in parsed or [] if isinstance(one, Mapping)] if isinstance(parsed, list) else []


def _user(item: Json) -> dict[str, Any]:
    parts = [user_part(part) for part in _objects(item.get("content"))]
    return {
        "type": "userMessage",
        "clientId": item.get("client_id"),
        "content": [part for part in parts if part is not None],
    }


def _agent(item: Json) -> dict[str, Any]:
    text = "".join(str(part.get("text", "")) for part in _objects(item.get("content")))
    return agent_message(text, item.get("phase"))


def agent_message(text: str, phase: Any) -> dict[str, Any]:
    return {
        "type": "agentMessage",
        "moderation": None,
        "text": text,
        "phase": phase if isinstance(phase, str) else None,
        "memoryCitation": None,
        "delivery": None,
        "questions": None,
    }


def _reasoning(item: Json) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "summary": list(map(str, item.get("summary_text") or [])),
        "content": list(map(str, item.get("raw_content") or [])),
    }


def command_execution(item: Json) -> dict[str, Any]:
    return {
        "type": "commandExecution",
        "pluginId": None,
        "scriptPath": None,
        "command": command_text(item.get("command")),
        "cwd": local_path(item.get("cwd") or ""),
        "processId": item.get("process_id"),
        "source": camel(str(item.get("source") or "agent")),
        "status": camel(str(item.get("status") or "completed")),
        "commandActions": command_actions(item.get("parsed_cmd")),
        "aggregatedOutput": item.get("aggregated_output"),
        "exitCode": item.get("exit_code"),
        "durationMs": duration_ms(item.get("duration")),
    }


def _files(item: Json) -> dict[str, Any]:
    return {
        "type": "fileChange",
        "changes": file_changes(item.get("changes")),
        "status": camel(str(item.get("status") or "completed")),
    }


def mcp_call(item: Json) -> dict[str, Any]:
    outcome = tool_result(item.get("result"))
    if isinstance(error := item.get("error"), Mapping):
        outcome["error"] = {"message": str(error.get("message", ""))}
    failed = outcome["error"] is not None
    return {
        "type": "mcpToolCall",
        "server": str(item.get("server")),
        "tool": str(item.get("tool")),
        "status": camel(str(item.get("status") or ("failed" if failed else "completed"))),
        "arguments": item.get("arguments"),
        "appContext": None,
        "mcpAppUi": None,
        "pluginId": None,
        "readOnlyHint": _either(item, "readOnlyHint", "read_only_hint"),
        **outcome,
        "durationMs": duration_ms(item.get("duration")),
    }


def _dynamic(item: Json) -> dict[str, Any]:
    return {
        "type": "dynamicToolCall",
        "namespace": item.get("namespace"),
        "tool": str(item.get("tool")),
        "arguments": item.get("arguments"),
        "status": camel(str(item.get("status") or "completed")),
        "contentItems": _either(item, "content_items", "contentItems"),
        "success": item.get("success"),
        "durationMs": duration_ms(item.get("duration")),
    }


def web_search(item: Json) -> dict[str, Any]:
    return {
        "type": "webSearch",
        "query": str(item.get("query") or ""),
        "action": search_action(item.get("action")),
        "results": item.get("results"),
    }


def _extension(item: Json) -> dict[str, Any] | None:
    return image_generation(item) if item.get("kind") == "image_gen.generation" else None


_ITEMS: Mapping[str, Callable[[Json], dict[str, Any] | None]] = MappingProxyType(
    {
        "UserMessage": _user,
        "AgentMessage": _agent,
        "Reasoning": _reasoning,
        "Plan": lambda item: {"type": "plan", "text": str(item.get("text", ""))},
        "CommandExecution": command_execution,
        "FileChange": _files,
        "McpToolCall": mcp_call,
        "DynamicToolCall": _dynamic,
        "WebSearch": web_search,
        "ImageView": lambda item: {"type": "imageView", "path": local_path(item.get("path"))},
        "ImageGeneration": image_generation,
        "Extension": _extension,
        "EnteredReviewMode": lambda item: {
            "type": "enteredReviewMode",
            "review": str(item.get("user_facing_hint") or item.get("review") or ""),
        },
        "ExitedReviewMode": lambda item: {
            "type": "exitedReviewMode",
            "review": review_text(item.get("review_output")),
        },
        "ContextCompaction": lambda item: {"type": "contextCompaction"},
    }
)


def _change(path: str, change: Json) -> dict[str, Any]:
    kind = str(change.get("type"))
    if kind != "update":
        return {"path": path, "kind": {"type": kind}, "diff": str(change.get("content") or "")}
    moved = change.get("move_path")
    tail = f"\n\nMoved to: {moved}" if moved else ""
    return {
        "path": path,
        "kind": {"type": "update", "move_path": moved},
        "diff": f"{change.get('unified_diff') or ''}{tail}",
    }


def _finding(finding: Json) -> str:
    place = _object(finding.get("code_location"))
    lines = _object(place.get("line_range"))
    where = f" — {place.get('absolute_file_path')}:{lines.get('start')}-{lines.get('end')}" if place else ""
    body = "\n".join(f"  {line}" for line in str(finding.get("body") or "").splitlines())
    return f"- {finding.get('title')}{where}\n{body}"


def _action(action: Json) -> dict[str, Any]:
    command = str(_either(action, "cmd", "command") or "")
    match action.get("type"):
        case "read":
            name, path = str(action.get("name") or ""), local_path(action.get("path") or "")
            return {"type": "read", "command": command, "name": name, "path": path}
        case "list_files":
            return {"type": "listFiles", "command": command, "path": action.get("path")}
        case "search":
            return {"type": "search", "command": command, "query": action.get("query"), "path": action.get("path")}
        case _:
            return {"type": "unknown", "command": command}


def _either(item: Json, one: str, other: str) -> Any:
    return item[one] if one in item else item.get(other)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _objects(value: Any) -> Sequence[Json]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
