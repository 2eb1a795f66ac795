"""The fuzz runs on a developer's machine: what writes, removes, searches or starts programs stays below one folder.

`placed` is the last thing that happens to params before they are sent, whatever the strategies made of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ON_FILES = ("fs/", "fuzzyFileSearch", "skills/", "plugin/", "hooks/", "command/")
"""Methods whose absolute paths are kept below the folder."""
HARMLESS_COMMANDS = ("true", "echo a", "echo \x00", "", "echo " + "x" * 9_000, "exit 3", "  ")
HARMLESS_ARGV = (["true"], ["echo", "a"], ["echo", "a\x00b"], ["echo", "x" * 9_000], ["/bin/echo", "☃"], [""])
MAX_DEPTH = 12
"""Deeper members are left as they are: no path stands there."""


def placed(method: str, params: Any, resolve: Callable[[str], str], work: Path) -> Any:
    """The params with real ids and paths for `@…`, made harmless."""
    value = _replaced(params, resolve, MAX_DEPTH)
    if method.startswith(ON_FILES):
        value = _replaced(value, lambda text: _below(text, work), MAX_DEPTH)
    if isinstance(value, dict):
        if method == "command/exec" and isinstance(value.get("command"), list):
            value = {**value, "command": _harmless_argv(value["command"])}
        if method == "thread/shellCommand" and isinstance(value.get("command"), str):
            value = {**value, "command": HARMLESS_COMMANDS[len(value["command"]) % len(HARMLESS_COMMANDS)]}
    return value


def _harmless_argv(argv: list[Any]) -> list[Any]:
    """A list that is no good argv stays; any other is one of ours."""
    if not argv or not all(isinstance(each, str) for each in argv):
        return argv
    return HARMLESS_ARGV[sum(map(len, argv)) % len(HARMLESS_ARGV)]


def _below(text: str, work: Path) -> str:
    """An absolute path outside the folder, or one that could lead out of it, becomes one inside."""
    if not text.startswith(("/", "~", "\\")) and not (len(text) > 1 and text[1] == ":"):
        return text if ".." not in text or not text.startswith(str(work)) else str(work)
    real = os.path.realpath(text.replace("\x00", ""))
    root = os.path.realpath(work)
    inside = real == root or real.startswith(root + os.sep)
    return text if inside and ".." not in text else str(work / "a.txt")


def _replaced(value: Any, change: Callable[[str], str], depth: int) -> Any:
    if isinstance(value, str):
        return change(value)
    if depth and isinstance(value, list):
        return [_replaced(each, change, depth - 1) for each in value]
    if depth and isinstance(value, dict):
        return {key: _replaced(each, change, depth - 1) for key, each in value.items()}
    return value
