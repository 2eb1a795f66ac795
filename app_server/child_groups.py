"""The process groups of the commands that run right now, for the one moment when nobody can wait for them to end.

Whoever starts a command as the leader of its own group notes it here while it runs. An orderly end goes another way:
each owner ends its own. `commands/serve.py` calls `kill_all` when a second signal ends the server at once.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

_leaders: set[int] = set()


def note(pid: int) -> None:
    """A command was started that leads a group."""
    _leaders.add(pid)


def forget(pid: int) -> None:
    """It has ended, with its group."""
    _leaders.discard(pid)


def kill_all() -> None:
    """Kill every group that is noted."""
    for pid in list(_leaders):
        with suppress(ProcessLookupError, PermissionError):
            if sys.platform == "win32":
                os.kill(pid, signal.SIGTERM)  # ends it at once there
            else:
                os.killpg(pid, signal.SIGKILL)
