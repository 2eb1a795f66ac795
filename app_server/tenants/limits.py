"""How much one tenant may have, as `[tenants]` in the host's settings says; told as `TenantLimit` to who asks for more.

    threads      stored and open ones (`limited_log`)      connections   open ones, over all replicas
    turns        running ones, over all replicas           pictures      asked for within 24 hours; MiB of stored ones

What is taken is counted by the storage's `Places`, so that it is right whichever replica is asked. A limit of 0 asks
nobody. The tenant of a server without logins has no limits, and nothing of this. `bootstrap` makes one for each tenant.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio

from app_server.errors import AppServerError, TenantLimit
from app_server.extension_api.services import PicturesUsedUp
from app_server.ids import uuid7
from app_server.observability.logging import get_logger

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.config.schema import TenantLimitsConfig, TenantsConfig
    from app_server.storage.base import Storage
    from app_server.storage.places import Full, PlaceKind, Places

log = get_logger("tenants")
RETRY_MS: Final = 2000
"""When to ask again for what ends at a time that nobody knows: a turn, a connection."""
GIVE_BACK_S: Final = 5.0
"""What cannot be given back in this time ends with the process, or with its day."""
MIB: Final = 1024 * 1024
ANY_NUMBER: Final = 2**31


def limits_for(config: TenantsConfig, principal: str) -> TenantLimitsConfig:
    """Those of one name, or of all."""
    return config.limits.get(principal, config)


class Held:
    """Places that were taken."""

    def __init__(self, places: Places, kind: PlaceKind, keys: Sequence[str]) -> None:
        self._places, self._kind, self._keys = places, kind, list(keys)
        self._order = anyio.Lock()

    async def free(self, count: int | None = None) -> None:
        """Give back all, or so many; when it returns they are, whoever did it. Whoever is cancelled still does it."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(GIVE_BACK_S):
            async with self._order:
                keys = self._keys[:count]
                del self._keys[: len(keys)]
                if not keys:
                    return
                try:
                    await self._places.give_back(self._kind, keys)
                except AppServerError as error:
                    log.warning("places_not_given_back", kind=self._kind, cause=error.message)

    async def leave(self, unspent: int) -> None:
        """`PictureRoom`: of the pictures that were asked for, so many count no more."""
        if unspent:
            await self.free(unspent)


class NothingHeld(Held):
    """Where there is no limit."""

    def __init__(self) -> None:
        """It has no places."""

    async def free(self, count: int | None = None) -> None:
        """Nothing was taken."""


_NOTHING: Final = NothingHeld()


class TenantLimits:
    """Asks before something is taken. `most` is looked at each time: settings may change."""

    def __init__(self, most: Callable[[], TenantLimitsConfig], storage: Storage, tasks: TaskGroup) -> None:
        self._most, self._storage, self._tasks = most, storage, tasks
        self._opened: Places | None = None
        self._turns: dict[Held, Callable[[], bool]] = {}

    @property
    def counts_pictures(self) -> bool:
        """Whether pictures are limited: then only such are made that can be counted before they are paid for."""
        most = self._most()
        return bool(most.max_pictures_per_day or most.max_picture_mb)

    async def connection(self) -> Held:
        """A connection. Raises TenantLimit."""
        return await self._take("connections", self._most().max_connections, [uuid7()])

    async def thread(self, thread_id: str) -> Held:
        """A new thread. Raises TenantLimit."""
        return await self._take("threads", self._most().max_threads, [thread_id])

    async def turn(self) -> Held:
        """A turn that is about to run. Raises TenantLimit."""
        limit = self._most().max_running_turns
        if limit:
            for held, is_over in list(self._turns.items()):  # one that has just told its end counts no more
                if is_over():
                    await held.free()
        return await self._take("turns", limit, [uuid7()])

    def until_over(self, held: Held, ended: Callable[[], Awaitable[None]], is_over: Callable[[], bool]) -> None:
        """The turn of this place runs now: give it back when `ended` returns."""
        if held is not _NOTHING:
            self._turns[held] = is_over
            self._tasks.start_soon(self._follow, held, ended)

    def went_on(self, ended: Callable[[], Awaitable[None]], is_over: Callable[[], bool]) -> None:
        """A turn goes on here that another replica began: it counts, and is not refused."""
        self._tasks.start_soon(self._count, ended, is_over)

    async def _count(self, ended: Callable[[], Awaitable[None]], is_over: Callable[[], bool]) -> None:
        try:
            held = await self._take("turns", ANY_NUMBER if self._most().max_running_turns else 0, [uuid7()])
        except AppServerError as error:
            log.warning("turn_not_counted", cause=error.message)
        else:
            self.until_over(held, ended, is_over)

    async def _follow(self, held: Held, ended: Callable[[], Awaitable[None]]) -> None:
        try:
            await ended()
        finally:
            await held.free()
            del self._turns[held]

    async def pictures(self, count: int) -> Held:
        """New pictures. Raises PicturesUsedUp."""
        await self.space()
        try:
            return await self._take("pictures", self._most().max_pictures_per_day, [uuid7() for _ in range(count)])
        except TenantLimit as limit:
            raise PicturesUsedUp(limit) from limit

    async def space(self) -> None:
        """Room for one more picture, generated or attached. Raises PicturesUsedUp."""
        if not (limit := self._most().max_picture_mb):
            return
        used_bytes = await self._storage.blobs.kept_bytes()
        if used_bytes >= limit * MIB:
            raise PicturesUsedUp(
                TenantLimit(
                    f"the stored pictures take {used_bytes / MIB:.1f} of the {limit} MiB that the host of this server "
                    "allows; delete some with image/delete or with their threads",
                    what="pictureMb",
                    limit=limit,
                    used=used_bytes // MIB,
                    retry_after_ms=None,
                )
            )

    async def _take(self, kind: PlaceKind, limit: int, keys: Sequence[str]) -> Held:
        if not limit:
            return _NOTHING
        if self._opened is None:
            assert self._storage.places is not None  # every engine has them
            self._opened = self._storage.places()
        if (full := await self._opened.take(kind, keys, limit)) is not None:
            raise refusal(kind, limit, len(keys), full)
        return Held(self._opened, kind, keys)


def refusal(kind: PlaceKind, limit: int, wanted: int, full: Full) -> TenantLimit:
    """What who asks for too much is told. Pure."""
    match kind:
        case "threads":
            what, retry_ms = "threads", None
            text = f"{full.used} threads are there, and the host of this server allows {limit}; delete one of them"
        case "turns":
            what, retry_ms = "runningTurns", RETRY_MS
            text = f"{full.used} turns are running, and the host of this server allows {limit}; wait for one to end"
        case "connections":
            what, retry_ms = "connections", RETRY_MS
            text = f"{full.used} connections are open, and the host of this server allows {limit}; close one"
        case "pictures":
            what, retry_ms = "picturesPerDay", full.free_in_ms
            when = "ask for fewer at once" if retry_ms is None else f"try again in {_span(retry_ms)}"
            more = "" if wanted == 1 else f", {wanted} more are asked for"
            told = f"{full.used} pictures were asked for within 24 hours{more}"
            text = f"{told}, and the host of this server allows {limit}; {when}"
    return TenantLimit(text, what=what, limit=limit, used=full.used, retry_after_ms=retry_ms)


def _span(ms: int) -> str:
    minutes = -(-ms // 60_000)
    hours, rest = divmod(minutes, 60)
    return f"{minutes} min" if not hours else f"{hours} h {rest} min" if rest else f"{hours} h"
