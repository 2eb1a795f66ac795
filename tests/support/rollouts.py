"""Homes of the reference for tests: rollouts written line by line, in the shapes that its release 0.169.0 has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

THREAD = "01a00000-0000-7000-8000-000000000001"
FORK = "01a00000-0000-7000-8000-000000000002"
TURN = "01a00000-0000-7000-8000-0000000000a{}"
DAY = "2026-11-22"

Line = dict[str, Any]


def stamp(second: int) -> str:
    return f"{DAY}T20:19:{second:02d}.500Z"


def line(kind: str, payload: Mapping[str, Any], second: int = 0) -> Line:
    return {"timestamp": stamp(second), "type": kind, "payload": dict(payload)}


def meta(thread_id: str = THREAD, *, mode: str = "paginated", second: int = 0, **more: Any) -> Line:
    facts = {
        "id": thread_id,
        "timestamp": stamp(second),
        "cwd": "/work",
        "originator": "tests",
        "cli_version": "0.169.0",
        "source": "cli",
        "model_provider": "fake",
        "base_instructions": {"text": "Be brief."},
        "history_mode": mode,
    }
    return line("session_meta", {**facts, **more}, second)


def event(kind: str, second: int = 0, **payload: Any) -> Line:
    return line("event_msg", {"type": kind, **payload}, second)


def item(turn: str, item: Mapping[str, Any], second: int = 0, **more: Any) -> Line:
    return event("item_completed", second, thread_id=THREAD, turn_id=turn, item=dict(item), **more)


def said(role: str, text: str, second: int = 0, **more: Any) -> Line:
    kind = "output_text" if role == "assistant" else "input_text"
    payload = {"type": "message", "id": f"msg_{text}", "role": role, "content": [{"type": kind, "text": text}], **more}
    return line("response_item", payload, second)


def context(second: int = 0, **more: Any) -> Line:
    facts = {"cwd": "/work", "approval_policy": "never", "model": "gpt-5.5", "sandbox_policy": {"type": "read-only"}}
    return line("turn_context", {**facts, **more}, second)


def paginated_turn(number: int, words: str, answer: str, second: int = 1) -> list[Line]:
    turn = TURN.format(number)
    user = {"type": "UserMessage", "id": f"user-{number}", "content": [{"type": "text", "text": words}]}
    agent = {"type": "AgentMessage", "id": f"agent-{number}", "content": [{"type": "Text", "text": answer}]}
    return [
        event("task_started", second, turn_id=turn, started_at=1795378740 + second),
        context(second),
        said("user", words, second),
        item(turn, user, second),
        item(turn, agent, second),
        said("assistant", answer, second),
        event("task_complete", second, turn_id=turn, started_at=1795378740 + second, duration_ms=250),
    ]


def legacy_turn(number: int, words: str, answer: str, second: int = 1) -> list[Line]:
    turn = TURN.format(number)
    return [
        event("task_started", second, turn_id=turn, started_at=1795378740 + second),
        context(second),
        said("user", words, second),
        event("user_message", second, message=words),
        event("agent_message", second, message=answer),
        said("assistant", answer, second),
        event("task_complete", second, turn_id=turn, started_at=1795378740 + second, duration_ms=250),
    ]


def numbered(lines: Sequence[Line], first: int = 0) -> list[Line]:
    """With the ordinals that paginated files have."""
    return [{**one, "ordinal": number} for number, one in enumerate(lines, first)]


def write_rollout(
    home: Path, lines: Sequence[Line | str], thread_id: str = THREAD, *, suffix: str = "", archived: bool = False
) -> Path:
    """The file of a thread; a line that is text is written as it stands."""
    folder = home / "archived_sessions" if archived else home / "sessions" / "2026" / "11" / "22"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rollout-{DAY}T20-19-00-{thread_id}{suffix}.jsonl"
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path
