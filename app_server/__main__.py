"""`python -m app_server` and the command `app-server`: the first answer, then the command line.

A server that a client waits for collects no garbage while it is loaded; `commands/serve.py` begins with that later.
"""

from __future__ import annotations

import gc
import os
import sys

from app_server.first_answer import open_conversation, serves_stdio


def main() -> int:
    """Run the command line of this process; returns its exit status."""
    arguments = sys.argv[1:]
    if serves_stdio(arguments):
        gc.disable()
    opening = open_conversation(arguments, os.environ)
    from app_server.cli import main as run_command_line  # behind the first answer

    return run_command_line(opening=opening)


if __name__ == "__main__":
    sys.exit(main())
