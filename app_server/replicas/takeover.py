"""Threads whose replica is gone: every replica looks for them and takes over those that no other was faster with.

The lease decides who does it; the log is closed by `threads/loading`, so nothing that a dead replica left is open for
longer than its lease and one look. A replica that is about to end takes nothing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import anyio

from app_server.errors import AppServerError, InvalidRequest
from app_server.observability.logging import get_logger
from app_server.observability.watch import WATCH
from app_server.storage.base import Draining, StorageError

if TYPE_CHECKING:
    from app_server.storage.cluster import Cluster
    from app_server.threads.manager import ThreadManager

log = get_logger("replicas")
LOOK_EVERY_S: Final = 0.3
AT_A_LOOK: Final = 32
AT_ONCE: Final = 8
AFTER_FAILURE_S: Final = 1.0
"""Between two looks while the storage refuses."""


async def take_over(cluster: Cluster, threads: ThreadManager) -> None:
    """Look for threads without an owner for ever."""
    failed = False
    while True:
        pause_s = AFTER_FAILURE_S if failed else LOOK_EVERY_S
        await anyio.sleep(pause_s * random.uniform(0.7, 1.3))  # replicas look at different times
        try:
            await look(cluster, threads)
        except Draining:
            return
        except StorageError as error:
            if not failed:  # said once, not at every look
                log.warning("takeover_look_failed", cause=error.message)
            failed = True
        else:
            failed = False


async def look(cluster: Cluster, threads: ThreadManager) -> None:
    """Take over what has no owner now, each thread by itself, a few at once: one that has to wait holds up no other."""
    found = await cluster.ownerless(AT_A_LOOK)
    random.shuffle(found)  # so that replicas do not race for each
    limiter = anyio.CapacityLimiter(AT_ONCE)
    async with anyio.create_task_group() as tasks:
        for thread_id in found:
            tasks.start_soon(_take, cluster, threads, thread_id, limiter)


async def _take(cluster: Cluster, threads: ThreadManager, thread_id: str, limiter: anyio.CapacityLimiter) -> None:
    async with limiter:
        try:
            if await cluster.owner(thread_id) is not None:
                return
            await threads.close_ownerless(thread_id)
        except (Draining, InvalidRequest):  # another replica was faster, or the thread is being deleted
            return
        except AppServerError as error:
            log.error("takeover_failed", thread_id=thread_id, cause=error.message)
        else:
            WATCH.lease("taken_over")
            log.info("thread_taken_over_from_the_dead", thread_id=thread_id)
