"""The hooks around the tool calls of one turn: runs those that match side by side, tells clients, gives the outcome.

`turns/sampling` makes one for a turn, `tools/router` asks it before and after each call. A hook that fails by itself
never stops a tool: clients are warned, and the call goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anyio
import orjson

from app_server.hooks.config import HookCommand, HookEvent, HookSetup
from app_server.hooks.decision import Verdict, judge
from app_server.hooks.matching import matching
from app_server.hooks.payload import HookTurn, post_payload, pre_payload
from app_server.hooks.process import run_command
from app_server.ids import uuid7
from app_server.observability.logging import get_logger
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.extension_api.tools import ToolName

log = get_logger("hooks")
_WIRE_EVENT: Mapping[HookEvent, str] = {
    HookEvent.PRE_TOOL_USE: "preToolUse",
    HookEvent.POST_TOOL_USE: "postToolUse",
}


@frozen
class HookedCall:
    """The call that hooks are told of. `arguments`: the model's JSON text."""

    tool: ToolName
    call_id: str
    arguments: str


class ToolHooks:
    """The hooks of one turn. `show` tells the thread's clients and does not wait."""

    def __init__(
        self, setup: HookSetup, turn: HookTurn, clock: Clock, show: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self._setup, self._turn, self._clock, self._show = setup, turn, clock, show

    async def before(self, call: HookedCall) -> str | None:
        """Run the PreToolUse hooks; the text for the model when one of them blocks the call."""
        hooks = matching(self._setup.hooks.commands, HookEvent.PRE_TOOL_USE, call.tool)
        if not hooks:
            return None
        payload = pre_payload(self._turn, call.tool, call.call_id, call.arguments)
        verdicts = await self._run(hooks, payload, call)
        reasons = [verdict.text for verdict in verdicts if verdict.status == "blocked"]
        if not reasons:
            return None
        message = f"Tool call blocked by PreToolUse hook: {'; '.join(reasons)}. Tool: {call.tool}"
        self._warn(message)
        return message

    async def after(self, call: HookedCall, response: Mapping[str, Any]) -> tuple[str, ...]:
        """Run the PostToolUse hooks of a call that succeeded; texts for the model, beside the tool's own output."""
        hooks = matching(self._setup.hooks.commands, HookEvent.POST_TOOL_USE, call.tool)
        if not hooks:
            return ()
        payload = post_payload(self._turn, call.tool, call.call_id, call.arguments, response)
        verdicts = await self._run(hooks, payload, call)
        return tuple(
            f"PostToolUse hook: {verdict.text}" for verdict in verdicts if verdict.status != "failed" and verdict.text
        )

    async def _run(self, hooks: tuple[HookCommand, ...], payload: Mapping[str, Any], call: HookedCall) -> list[Verdict]:
        """All of them at the same time; verdicts in the order of the hooks."""
        stdin = orjson.dumps(payload, default=str)
        verdicts: dict[int, Verdict] = {}

        async def run_one(hook: HookCommand) -> None:
            verdicts[hook.order] = await self._run_one(hook, stdin, call)

        async with anyio.create_task_group() as tasks:
            for hook in hooks:
                tasks.start_soon(run_one, hook)
        return [verdicts[hook.order] for hook in hooks]

    async def _run_one(self, hook: HookCommand, stdin: bytes, call: HookedCall) -> Verdict:
        begun_ms, begun_s, run_id = self._clock.now_ms(), self._clock.monotonic_s(), uuid7()
        self._tell("hook/started", hook, run_id, begun_ms)
        status, verdict = "failed", Verdict(status="failed", text="it was stopped, because the turn was interrupted")
        try:
            cwd = self._setup.cwd or self._turn.cwd
            ran = await run_command(hook.command, stdin, cwd=cwd, env=self._setup.env, timeout_s=hook.timeout_s)
            verdict = judge(hook, ran)
            status = verdict.status
        finally:
            duration_ms = round((self._clock.monotonic_s() - begun_s) * 1000)
            self._tell("hook/completed", hook, run_id, begun_ms, verdict=verdict, duration_ms=duration_ms)
        facts = {"tool": str(call.tool), "call_id": call.call_id, "status": status}
        log.info("hook_ran", hook_event=hook.event.value, source=hook.source_path, duration_ms=duration_ms, **facts)
        if status == "failed":
            about = f"The {hook.event.value} hook of {hook.source_path} failed, so it decided nothing: {verdict.text}."
            log.warning("hook_failed", hook_event=hook.event.value, source=hook.source_path, cause=verdict.text)
            self._warn(about)
        return verdict

    def _warn(self, message: str) -> None:
        self._show("warning", {"threadId": self._turn.thread_id, "message": message})

    def _tell(
        self,
        method: str,
        hook: HookCommand,
        run_id: str,
        begun_ms: int,
        *,
        verdict: Verdict | None = None,
        duration_ms: int | None = None,
    ) -> None:
        run = {
            "id": run_id,
            "eventName": _WIRE_EVENT[hook.event],
            "handlerType": "command",
            "executionMode": "sync",
            "scope": "turn",
            "source": hook.source,
            "sourcePath": hook.source_path,
            "displayOrder": hook.order,
            "status": verdict.status if verdict is not None else "running",
            "statusMessage": hook.status_message,
            "startedAt": begun_ms // 1000,
            "completedAt": None if verdict is None else self._clock.now_ms() // 1000,
            "durationMs": duration_ms,
            "entries": verdict.entries if verdict is not None else [],
        }
        self._show(method, {"threadId": self._turn.thread_id, "turnId": self._turn.turn_id, "run": run})
