"""What a provider sends behind the last event of an answer: read to its end, so that the connection can be used again.

Mostly it is the end mark of the HTTP answer, which comes with that event or a moment later. Nobody waits for it: the
turn ends meanwhile. Where it takes too long, or is too much, the connection is closed. `responses_api.py` hands over
each answer of which nothing more is wanted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import anyio
import httpx

LEFTOVER_TIMEOUT_S: Final = 2.0
LEFTOVER_BYTES: Final = 64 * 1024
HANG_UP_TIMEOUT_S: Final = 2.0
"""Bound of the shielded clean-up of one HTTP stream."""


class Leftovers:
    """Owns the tasks that read on. They are few and short; those that run when the loop ends are cancelled with it."""

    def __init__(self, *, timeout_s: float = LEFTOVER_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, response: httpx.Response, rest: AsyncIterator[bytes]) -> None:
        """Read the rest of the answer within the bounds, and close it. Never waits."""
        task = asyncio.get_running_loop().create_task(_read_rest(response, rest, self._timeout_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _read_rest(response: httpx.Response, rest: AsyncIterator[bytes], timeout_s: float) -> None:
    room_bytes = LEFTOVER_BYTES
    try:
        with anyio.move_on_after(timeout_s):
            async for piece in rest:
                if (room_bytes := room_bytes - len(piece)) < 0:
                    break
    except (httpx.TransportError, httpx.DecodingError):
        pass  # the answer is whole; its connection is of no use any more
    finally:
        await hang_up(response)


async def hang_up(response: httpx.Response) -> None:
    """Close the HTTP stream, also while the task is being cancelled; an unfinished one loses its connection."""
    with anyio.move_on_after(HANG_UP_TIMEOUT_S, shield=True):
        await response.aclose()
