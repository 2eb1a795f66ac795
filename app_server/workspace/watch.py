"""Owns the watches of fs/watch: looks at paths again and again, and tells what changed. `belongings` adds and drops.

A look compares kind, times, size and inode: of the path itself and, for a folder, of its direct children, as the
reference does; what lies deeper is not seen. Polling needs no library, and works on network and container mounts where
the events of the system do not come. One worker thread looks at all paths, every quarter of a second or less often when
a look takes long; several changes between two looks are told once. Nothing is polled while nothing is watched.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from app_server.values import slotted
from app_server.workspace.files import shown

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

POLL_S: Final = 0.25
BUSY_SHARE: Final = 0.1
"""Of the time, looking may take this share; a look that takes longer is followed by a longer pause."""
MAX_CHILDREN: Final = 10_000
"""Children of a folder that are looked at; a change of another one shows where the folder's own times change."""

Signature = tuple[int, int, int, int, int]
Snapshot = Mapping[str, Signature]
"""Path → how it stands; a path that is not there is not in it."""


def snapshot(path: Path) -> Snapshot:
    """How the path and its direct children stand. What cannot be looked at counts as not there."""
    seen: dict[str, Signature] = {}
    with suppress(OSError):
        seen[str(path)] = _signature(path.stat())
    with suppress(OSError), os.scandir(path) as entries:  # a file has no children
        for entry in entries:
            if len(seen) > MAX_CHILDREN:
                break
            with suppress(OSError):  # it went away in between
                seen[entry.path] = _child_signature(entry.stat(follow_symlinks=False))
    return seen


def changed_paths(path: Path, before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """What differs, sorted. A folder itself counts only when it came, went or nothing else says why it differs."""
    here = str(path)
    differing = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    children = [name for name in differing if name != here]
    stayed = here in before and here in after
    return tuple(shown(name) for name in (children if children and stayed else differing))


def _child_signature(found: os.stat_result) -> Signature:
    """The times of a folder below tell of its children, which are not watched."""
    return (found.st_mode, 0, 0, 0, found.st_ino) if stat.S_ISDIR(found.st_mode) else _signature(found)


def _signature(found: os.stat_result) -> Signature:
    return found.st_mode, found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


@slotted(eq=False, kw_only=True)
class Watch:
    """One path under watch."""

    path: Path
    changed: Callable[[tuple[str, ...]], None]
    """Called with what changed; must not wait."""
    seen: Snapshot | None = None
    """How it stood at the last look; None before the first one."""


class FileWatcher:
    """All watches of the process. Its task lives in `tasks` while there are any."""

    def __init__(self, tasks: TaskGroup, *, poll_s: float = POLL_S) -> None:
        self._tasks, self._poll_s = tasks, poll_s
        self._watches: dict[int, Watch] = {}
        self._polling = False
        self._worker: anyio.CapacityLimiter | None = None

    @property
    def count(self) -> int:
        """How many paths are watched."""
        return len(self._watches)

    async def add(self, watch: Watch) -> None:
        """Watch from this moment on: a change after the return is told."""
        watch.seen = (await self._look([watch.path]))[0]
        self._watches[id(watch)] = watch
        if not self._polling:
            self._polling = True
            self._tasks.start_soon(self._poll)

    def drop(self, watch: Watch) -> None:
        """Tell no more of it; harmless when it was dropped before."""
        self._watches.pop(id(watch), None)

    async def _poll(self) -> None:
        pause_s = self._poll_s
        while self._watches:
            await anyio.sleep(pause_s)
            watches = list(self._watches.values())
            began = anyio.current_time()
            looks = await self._look([watch.path for watch in watches])
            pause_s = max(self._poll_s, (anyio.current_time() - began) / BUSY_SHARE)
            for watch, after in zip(watches, looks, strict=True):
                changed = changed_paths(watch.path, watch.seen or {}, after)
                watch.seen = after
                if changed and id(watch) in self._watches:
                    watch.changed(changed)
        self._polling = False

    async def _look(self, paths: list[Path]) -> list[Snapshot]:
        self._worker = self._worker or anyio.CapacityLimiter(1)
        return await anyio.to_thread.run_sync(
            lambda: [snapshot(path) for path in paths], limiter=self._worker, abandon_on_cancel=True
        )
