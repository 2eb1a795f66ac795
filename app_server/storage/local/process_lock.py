"""Whether a process lives, told by the OS: each owner holds a lock on `<home>/locks/<owner>.lock` that dies with it.

A live owner's file exists and is locked exclusively; a file that is missing or can be locked belongs to a dead owner.
Probing takes a shared lock, so that two probers do not take each other for the owner. Called by `database` and
`leases`; it never touches the database.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from app_server.ids import parse_uuid
from app_server.storage.base import StorageError
from app_server.storage.local.failures import storage_error

_ATTEMPTS = 50
_PAUSE_S = 0.01

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        # Windows has no shared lock here: two probers at once may see a dead owner as alive, until the next try
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class ProcessLock:
    """The sign of life of one owner. A child process does not keep it up: the descriptor is closed on exec."""

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder = folder
        self.owner = owner
        self._path = folder / f"{owner}.lock"
        self._descriptor: int | None = None

    def hold(self) -> None:
        """Show that this owner lives, until `release` or the end of the process. Idempotent."""
        if self._descriptor is not None:
            return
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = self._create()
            _remove_dead(self.folder)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def release(self) -> None:
        """This owner gives up all it holds. Idempotent."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if sys.platform != "win32":  # there an open file cannot be removed
            self._path.unlink(missing_ok=True)
        os.close(descriptor)
        if sys.platform == "win32":
            with suppress(OSError):  # a prober has it open and removes it
                self._path.unlink(missing_ok=True)

    def _create(self) -> int:
        """A locked descriptor of the file at our path; again when a prober locked or removed it in the meantime."""
        for _ in range(_ATTEMPTS):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            held = False
            try:
                held = _try_lock(descriptor, shared=False) and _is_file_at(descriptor, self._path)
            finally:
                if not held:
                    os.close(descriptor)
            if held:
                return descriptor
            time.sleep(_PAUSE_S)
        raise StorageError(
            f"{self._path} cannot be locked; make sure that the home is on a disk that supports file locks."
        )


def owner_lives(folder: Path, owner: str) -> bool:
    """Whether the process of `owner` runs. The file of a dead owner is removed. In doubt it lives."""
    path = folder / f"{owner}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        if not _try_lock(descriptor, shared=True):
            return True
        if sys.platform != "win32":
            path.unlink(missing_ok=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    if sys.platform == "win32":
        with suppress(OSError):  # another prober has it open and removes it
            path.unlink(missing_ok=True)
    return False


def is_locked(folder: Path, owner: str) -> bool:
    """Whether the process of `owner` runs, for who only looks: no file is removed."""
    try:
        descriptor = os.open(folder / f"{owner}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        return not _try_lock(descriptor, shared=True)
    except OSError:
        return True
    finally:
        os.close(descriptor)


def others_live(folder: Path, owner: str = "") -> bool:
    """Whether any other process has the home of this folder open."""
    owners = (path.stem for path in folder.glob("*.lock") if parse_uuid(path.stem) and path.stem != owner)
    return any(owner_lives(folder, each) for each in owners)


def _is_file_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _remove_dead(folder: Path) -> None:
    for path in folder.glob("*.lock"):
        if parse_uuid(path.stem):
            owner_lives(folder, path.stem)
