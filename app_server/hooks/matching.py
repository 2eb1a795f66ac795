"""Which hooks a tool call sets off. Pure.

A tool has four names: `image_gen.imagegen`, `imagegen`, and the two that programs made for other servers know,
`image_gen__imagegen` and `image_genimagegen`. A matcher fires when it fits one of them:

    none, "" or "*"               every tool
    letters, digits, "_", ".", "-"   the whole name, or the namespace for all its tools; "|" between several
    anything else                 a glob (the whole name) or a regular expression (any part of it)
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from app_server.extension_api.tools import ToolName
    from app_server.hooks.config import HookCommand, HookEvent

_PLAIN: Final = re.compile(r"[\w.|-]+")


def hook_names(tool: ToolName) -> tuple[str, ...]:
    """The names of a tool, the one that hooks are told first."""
    if tool.namespace is None:
        return (tool.name,)
    return (str(tool), tool.name, f"{tool.namespace}__{tool.name}", f"{tool.namespace}{tool.name}")


def matches(matcher: str | None, tool: ToolName) -> bool:
    """Whether a hook with this matcher runs for this tool."""
    if matcher in (None, "", "*"):
        return True
    assert matcher is not None  # the line above, for mypy
    names = hook_names(tool)
    if _PLAIN.fullmatch(matcher):
        return any(name in matcher.split("|") for name in (*names, tool.namespace))
    if any(fnmatchcase(name, matcher) for name in names):
        return True
    try:
        pattern = re.compile(matcher)
    except re.error:  # a glob that is no expression, such as *imagegen
        return False
    return any(pattern.search(name) for name in names)


def matching(commands: tuple[HookCommand, ...], event: HookEvent, tool: ToolName) -> tuple[HookCommand, ...]:
    """The hooks of an event that this tool sets off, in order."""
    return tuple(hook for hook in commands if hook.event is event and matches(hook.matcher, tool))
