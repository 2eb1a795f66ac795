"""Waiting without sleeping: a bell that is rung at every change, and a wait for a condition that looks again each time.

Owns nothing but the waiters. The scripted upstream rings it at every request, the test client at every frame.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio


class Bell:
    """Wakes every waiter at each ring; a waiter goes on when its condition holds."""

    def __init__(self) -> None:
        self._rung = anyio.Event()

    def ring(self) -> None:
        """Let every waiter look again."""
        rung, self._rung = self._rung, anyio.Event()
        rung.set()

    async def until(self, ready: Callable[[], bool], timeout_s: float, describe: Callable[[], str]) -> None:
        """Return when `ready()` holds. Raises AssertionError with `describe()` when it does not in time."""
        try:
            with anyio.fail_after(timeout_s):
                while not ready():
                    await self._rung.wait()
        except TimeoutError:
            raise AssertionError(f"Not within {timeout_s} s: {describe()}") from None
