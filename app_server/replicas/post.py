"""Letters and their answers: who posted one waits here until it is answered. Used by `commands` and `following`.

A hint wakes the waiter, and a look at the row now and then makes up for a lost hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

if TYPE_CHECKING:
    from app_server.storage.cluster import Cluster, Letter

LOOK_EVERY_S: Final = 1.0
_REMEMBERED: Final = 1000


class Post:
    """The letters of this replica that wait for an answer."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiting: dict[str, anyio.Event] = {}
        self._early: dict[str, None] = {}
        """Answers that were heard of before anybody waited for them, the newest last."""

    def awaits(self, letter_id: str) -> bool:
        return letter_id in self._waiting

    def answered(self, letter_id: str) -> None:
        """A hint says that there is an answer."""
        if (event := self._waiting.get(letter_id)) is not None:
            event.set()
            return
        self._early[letter_id] = None
        if len(self._early) > _REMEMBERED:
            del self._early[next(iter(self._early))]

    def again(self) -> None:
        """Hints may be lost: everybody looks."""
        for event in self._waiting.values():
            event.set()

    async def look(self, letter_id: str, within_s: float = LOOK_EVERY_S) -> Letter | None:
        """The letter once it is answered, or as it stands when the time is over; None when it is gone."""
        event = self._waiting.setdefault(letter_id, anyio.Event())
        if letter_id in self._early:
            del self._early[letter_id]
            event.set()
        try:
            with anyio.move_on_after(within_s):
                await event.wait()
        finally:
            self._waiting.pop(letter_id, None)
        return await self._cluster.look(letter_id)
