"""What a hook's end means: go on, blocked, a word to the model, or a failure of the hook itself. Pure.

| end | PreToolUse | PostToolUse |
|---|---|---|
| exit 0 | the tool runs | nothing |
| exit 2 | blocked, stderr is the reason | stderr goes to the model |
| exit 0, JSON with `decision: "block"` | blocked, `reason` is the reason | `reason` goes to the model |
| exit 0, JSON with `permissionDecision: "deny"` | blocked with its reason | – |
| exit 0, JSON with `additionalContext` | – | goes to the model |
| any other, no start, no end in time | the tool runs; a warning | a warning |

The last two members stand in `hookSpecificOutput`. Other members of the JSON have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.hooks.config import HookCommand, HookEvent
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.hooks.process import Ran

MAX_REASON_CHARS: Final = 4000
_NO_REASON: Final = "the hook gave no reason"
_BLOCKS: Final = 2


@frozen
class Verdict:
    """The meaning of one run."""

    status: str
    """The protocol's HookRunStatus: completed, blocked or failed."""
    text: str = ""
    """blocked: the reason; failed: what happened, as the end of a sentence; completed: a word to the model, or ""."""

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The protocol's HookOutputEntry list."""
        kind = {"blocked": "feedback", "failed": "error"}.get(self.status, "context")
        return [{"kind": kind, "text": self.text}] if self.text else []


def judge(hook: HookCommand, ran: Ran) -> Verdict:
    """What this end of this hook means."""
    if ran.failure:
        return Verdict(status="failed", text=ran.failure)
    if ran.exit_status == _BLOCKS:
        return Verdict(status="blocked", text=_capped(ran.stderr) or _NO_REASON)
    if ran.exit_status != 0:
        said = f": {_capped(ran.stderr)}" if ran.stderr else ""
        return Verdict(status="failed", text=f"it ended with status {ran.exit_status}{said}")
    return _answer(hook.event, ran.stdout)


def _answer(event: HookEvent, stdout: str) -> Verdict:
    """The optional JSON on stdout; any other text there is for nobody."""
    try:
        answer = orjson.loads(stdout) if stdout.startswith("{") else {}
    except orjson.JSONDecodeError:
        return Verdict(status="failed", text="its output begins like JSON and is none")
    inner = answer.get("hookSpecificOutput")
    specific: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
    if answer.get("decision") == "block":
        return Verdict(status="blocked", text=_text(answer.get("reason")) or _NO_REASON)
    if event is HookEvent.PRE_TOOL_USE and specific.get("permissionDecision") == "deny":
        return Verdict(status="blocked", text=_text(specific.get("permissionDecisionReason")) or _NO_REASON)
    context = _text(specific.get("additionalContext")) if event is HookEvent.POST_TOOL_USE else ""
    return Verdict(status="completed", text=context)


def _text(value: object) -> str:
    return _capped(value.strip()) if isinstance(value, str) else ""


def _capped(text: str) -> str:
    return text if len(text) <= MAX_REASON_CHARS else text[: MAX_REASON_CHARS - 1] + "…"
