"""`python -m app_server` and the command `app-server`: the first answer, then the command line.

Importing while nobody waits for garbage: until the server is warm (`commands/serve.py`), none is collected.
"""

from __future__ import annotations

import gc
import os
import sys

from app_server.first_answer import open_conversation


def main() -> int:
    """Run the command line of this process; returns its exit status."""
    gc.disable()
    opening = open_conversation(sys.argv[1:], os.environ)
    from app_server.cli import main as run_command_line  # behind the first answer

    return run_command_line(opening=opening)


if __name__ == "__main__":
    sys.exit(main())
