"""A storage that dies at its n-th write, as a process that is killed does: nothing of that write is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from app_server.storage.base import Lease, Record, Storage, ThreadRow


class Killed(Exception):
    """Stands for the end of the process."""


class _Countdown:
    def __init__(self, writes: int) -> None:
        self.left = writes

    def write(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1


class _FailingLog:
    def __init__(self, log: Any, countdown: _Countdown) -> None:
        self._log, self._countdown = log, countdown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def create(self, row: ThreadRow, records: Sequence[Record]) -> tuple[Lease, int]:
        self._countdown.write()
        made: tuple[Lease, int] = await self._log.create(row, records)
        return made

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        self._countdown.write()
        last: int = await self._log.append(lease, records, row=row)
        return last


class _FailingBlobs:
    def __init__(self, blobs: Any, countdown: _Countdown) -> None:
        self._blobs, self._countdown = blobs, countdown

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def put(self, *given: Any, **named: Any) -> Any:
        self._countdown.write()
        return await self._blobs.put(*given, **named)


def failing_at(storage: Storage, writes: int) -> Storage:
    """The storage, which takes so many writes and raises Killed at the next one."""
    countdown = _Countdown(writes)
    log: Any = _FailingLog(storage.log, countdown)
    blobs: Any = _FailingBlobs(storage.blobs, countdown)
    return replace(storage, log=log, blobs=blobs)
