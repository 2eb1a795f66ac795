"""The server as a soak starts it: the command itself, which also says on stderr how many tasks it has at each SIGUSR1.

Tasks are the one figure that the kernel does not know; the signal's handler runs between two steps of the event loop.
`process.py` starts it and reads its stderr.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType

from app_server.cli import main

TASKS = "soak: tasks "
"""What stands before the number, in a line of its own."""


def tell(_number: int, _frame: FrameType | None) -> None:
    """Runs in the thread of the event loop."""
    os.write(2, f"{TASKS}{len(asyncio.all_tasks())}\n".encode())


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, tell)
    sys.exit(main(sys.argv[1:]))
