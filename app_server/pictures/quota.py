"""How much may be kept, and for how long. Nothing paid for is ever lost silently: the rules and the daily sweep.

    quota       asked before a picture is paid for: at or above it no new one is asked for, and the model is told why;
                a picture that was asked for is saved whatever it weighs, and nothing is removed to make room
    retention   at start-up and once a day: older generated pictures go, and their items say so

The sweep runs as a task of the server; `wiring` starts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from app_server.errors import AppServerError
from app_server.observability.logging import get_logger

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.pictures.listing import Gallery

MIB: Final = 1024 * 1024
DAY_S: Final = 24 * 60 * 60
PAGE: Final = 100
log = get_logger("pictures")


def over_quota(used_bytes: int, quota_bytes: int) -> str | None:
    """Why no new picture is asked for, or None while there is room; a quota of 0 is none."""
    if not quota_bytes or used_bytes < quota_bytes:
        return None
    return (
        f"the saved pictures take {used_bytes / MIB:.1f} MiB of the {quota_bytes / MIB:g} MiB that quota_mb under "
        "[image_generation] allows; delete some with image/delete or with their threads, or raise it"
    )


async def sweep(gallery: Gallery, clock: Clock, retention_days: int) -> int:
    """Remove older generated pictures; returns how many went. One that cannot go stays for the next time."""
    place = (clock.now_ms() - retention_days * DAY_S * 1000, "", 0)
    count = 0
    while rows := await gallery.page(limit=PAGE, before=place):
        place = rows[-1].place
        for row in rows:
            try:
                await gallery.remove(row, "expired")
            except AppServerError as error:  # its thread is written by another process, or the disk refuses
                log.warning("picture_not_removed", thread_id=row.thread_id, sha256=row.ref.sha256, cause=error.message)
            else:
                count += 1
    return count


async def sweep_daily(gallery: Gallery, clock: Clock, retention_days: int) -> None:
    """Sweep now and every day; ends only with its task group."""
    while True:
        try:
            if count := await sweep(gallery, clock, retention_days):
                log.info("pictures_expired", count=count, retention_days=retention_days)
        except AppServerError as error:
            log.warning("sweep_failed", cause=error.message)
        await anyio.sleep(DAY_S)
