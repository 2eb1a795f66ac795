"""What the server itself tells the model: who it is, and where it works. Pure text.

The base instructions are the first developer message of a thread (the API's `instructions` member stays unused, so the
prefix is one list); a thread may bring its own. The context stands before the user's text whenever it changed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app_server.turns.context import Settings

BASE_INSTRUCTIONS = """\
You are an assistant that works for a person through an app-server: what you write is shown in their editor or terminal.

- Answer in the language of the user, briefly and to the point; use Markdown where it helps.
- Use the tools that you are offered, and only those. Say what you do when something takes long.
- Finish what was asked. When a tool fails, say why and try another way before you give up.
- Pictures: when the user wants a picture made or changed, call the image tool if you have one. A finished picture is
  already shown to the user; name its path when they need the file, never print its data.
- Never invent a file, a path or a result."""


def base_instructions(settings: Settings) -> str:
    """The first developer message of the thread."""
    return settings.base_instructions or BASE_INSTRUCTIONS


def environment_context(settings: Settings, now: datetime) -> str:
    """Where the turn works. Begins with `<environment_context`, by which it is told from the user's text."""
    rows = {
        "cwd": settings.cwd,
        "shell": os.path.basename(os.environ.get("SHELL", "")) or "sh",
        "current_date": now.date().isoformat(),
        "timezone": now.tzname() or "UTC",
        "approval_policy": settings.approval_policy if isinstance(settings.approval_policy, str) else "granular",
        "sandbox": _sandbox(settings.sandbox),
    }
    body = "\n".join(f"  <{key}>{escape(str(value), quote=False)}</{key}>" for key, value in rows.items())
    return f"<environment_context>\n{body}\n</environment_context>"


def _sandbox(policy: Mapping[str, Any]) -> str:
    kind = str(policy.get("type"))
    return f"{kind}, network {'on' if policy.get('networkAccess') in (True, 'enabled') else 'off'}"
