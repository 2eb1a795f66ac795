"""When a loaded thread leaves the memory by itself, and the watch for it. The thread manager owns it and unloads.

    somebody follows it, or a turn runs         never
    ephemeral, and its last client said         at once, or at the end of its turn: nobody looks for it again, and
    goodbye with thread/unsubscribe             terminal clients read each loaded thread when they start
    any other, or its last client was lost      after half an hour without a follower and without a record: who was
                                                lost may come back

A lost client comes back with thread/resume, also to an ephemeral thread.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Final

import anyio

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.clock import Clock
    from app_server.threads.live_thread import LiveThread

IDLE_S: Final = 1800.0
LOOK_EVERY_S: Final = 60.0


def unused(live: LiveThread) -> bool:
    """Whether nobody follows the thread and nothing runs in it."""
    return not live.followers and live.active is None


def leaves_at_once(live: LiveThread) -> bool:
    """Whether its last client said goodbye to a thread that nobody else can find."""
    return live.left and unused(live) and bool(live.row.meta.get("ephemeral"))


class Unloader:
    """The watch over the threads of one manager. `close` unloads a thread, unless it is in use again."""

    def __init__(
        self,
        threads: Callable[[], Iterable[LiveThread]],
        close: Callable[[LiveThread], Coroutine[Any, Any, None]],
        tasks: TaskGroup,
        clock: Clock,
    ) -> None:
        self._threads, self._close, self._tasks, self._clock = threads, close, tasks, clock
        self._since: dict[str, tuple[int, float]] = {}
        tasks.start_soon(self._watch)

    def let_leave(self, live: LiveThread) -> None:
        """Unload the thread soon, if it has no business here any more."""
        if leaves_at_once(live):
            self._tasks.start_soon(self._close, live)

    async def look(self) -> None:
        """Unload what has been unused, and without a new record, for IDLE_S in all looks since."""
        now_s, before, self._since = self._clock.monotonic_s(), self._since, {}
        due: list[LiveThread] = []
        for live in filter(unused, self._threads()):
            last_seq, since_s = before.get(live.thread_id, (live.last_seq, now_s))
            since_s = since_s if last_seq == live.last_seq else now_s
            self._since[live.thread_id] = (live.last_seq, since_s)
            if now_s - since_s >= IDLE_S:
                due.append(live)
        for live in due:
            await self._close(live)

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            await self.look()
