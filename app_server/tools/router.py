"""From a call of the model to its output: finds the executor, runs it, turns any exception into text for the model.

PreToolUse hooks ─► executor ─► PostToolUse hooks (only of a call that succeeded) ─► output
    └─ blocked: the model is told, the executor never hears of the call
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app_server.errors import MissingCredentials, ToolFailure
from app_server.extension_api.tools import Content, TextContent, ToolCall, ToolExecutor, ToolName, ToolOutput
from app_server.hooks.tool_hooks import HookedCall, ToolHooks
from app_server.observability.logging import get_logger
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.scopes import TurnScope
    from app_server.extension_api.services import Items
    from app_server.tools.planning import ToolPlan

log = get_logger("tools")


@frozen
class Routed:
    """What came of a call: the output for the model. `failed` says whether it is an error text."""

    output: str | Sequence[Content]
    failed: bool


def called_name(item: Mapping[str, Any]) -> ToolName:
    """The name under which the model called."""
    return ToolName(item.get("namespace") or None, str(item.get("name", "")))


@frozen
class CallWork:
    """What a call gets beside its arguments."""

    scope: TurnScope
    history: Sequence[Mapping[str, Any]]
    items: Items
    next_handle: Callable[[], str]
    hooks: ToolHooks | None = None
    ready: Callable[[Routed], None] = lambda routed: None
    """Told the output before the hooks that come after it: an interrupt of theirs does not take it back."""


async def run_call(plan: ToolPlan, item: Mapping[str, Any], work: CallWork) -> Routed:
    """Run one `function_call` item. Cancellation passes through; everything else ends in an output."""
    name = called_name(item)
    executor = plan.routes.get(name)
    call_id = str(item.get("call_id"))
    if executor is None:
        log.info("tool_unknown", tool=str(name), call_id=call_id)
        return Routed(output=f"unsupported call: {name}; only the tools of this request can be called", failed=True)
    call = ToolCall(
        call_id=call_id,
        name=executor.name,
        arguments=str(item.get("arguments") or ""),
        scope=work.scope,
        history=tuple(work.history),
        items=work.items,
        next_handle=work.next_handle,
    )
    try:
        return await _hooked(executor, call, work)
    except (ToolFailure, MissingCredentials) as failure:
        log.info("tool_failed", tool=str(executor.name), call_id=call_id, error=failure.message)
        return Routed(output=failure.message, failed=True)
    except Exception:  # the tool task's last resort: the model gets a generic text, the log the traceback
        log.error("tool_crashed", tool=str(executor.name), call_id=call_id, exc_info=True)
        return Routed(
            output=f"{executor.name} failed inside the server; do not call it again in this turn.", failed=True
        )


async def _hooked(executor: ToolExecutor, call: ToolCall, work: CallWork) -> Routed:
    """The call between the hooks of the user."""
    hooks = work.hooks
    seen = HookedCall(tool=executor.name, call_id=call.call_id, arguments=call.arguments)
    if hooks is not None and (refusal := await hooks.before(seen)) is not None:
        log.info("tool_blocked", tool=str(executor.name), call_id=call.call_id)
        return Routed(output=refusal, failed=True)
    output = await executor.handle(call)
    log.info("tool_done", tool=str(executor.name), call_id=call.call_id, output=output.log)
    if hooks is not None and output.success:
        work.ready(Routed(output=_as_output(output), failed=False))
        words = [TextContent(text=text) for text in await hooks.after(seen, output.hook)]
        output = replace(output, content=[*output.content, *words]) if words else output
    return Routed(output=_as_output(output), failed=not output.success)


def _as_output(output: ToolOutput) -> str | Sequence[Content]:
    """A lone text goes as a plain string, the simplest form of the API."""
    if len(output.content) == 1 and isinstance(only := output.content[0], TextContent):
        return only.text
    return output.content
