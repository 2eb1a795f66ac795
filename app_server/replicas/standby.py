"""A replica stands by for all tenants, also those without a client here: one of us takes over from whoever dies.

A tenant's own parts of this process are made with its first client, or here when it has threads without an owner; from
then on they look after its threads themselves (`takeover`). Run by a server that listens, for as long as it does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio

from app_server.errors import AppServerError
from app_server.observability.logging import get_logger

if TYPE_CHECKING:
    from app_server.storage.base import StorageSource

log = get_logger("replicas")
LOOK_EVERY_S: Final = 0.4


async def stand_by(source: StorageSource, ours: str, build: Callable[[str], Awaitable[object]]) -> None:
    """Look for tenants that need this replica, for ever. `build` makes the parts of one, or has them already; those of
    `ours` are made at once, because hints are heard from then on."""
    failed = False
    while True:
        try:
            for tenant in (ours, *await source.abandoned()):
                await build(tenant)
        except AppServerError as error:
            if not failed:  # said once, not at every look
                log.warning("abandoned_threads_not_looked_for", cause=error.message)
            failed = True
        else:
            failed = False
        await anyio.sleep(LOOK_EVERY_S)
