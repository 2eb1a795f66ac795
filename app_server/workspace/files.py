"""Owns what fs/* does to files and folders. Blocking functions, each to be run in a worker thread; `methods/fs` calls.

It never follows a client's path anywhere but where the system leads, and keeps nothing between calls. A fault of the
system becomes one sentence with -32603, a fault of the request one with -32600.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app_server.errors import InternalError, InvalidRequest, RpcError

if TYPE_CHECKING:
    from app_server.protocol.fs import FsGetMetadataResponse, FsReadDirectoryEntry

MAX_READ_BYTES = 64 * 1024 * 1024
"""A file beyond it is not read: it would have to be held in memory, three times over."""
MAX_ENTRIES = 100_000
"""A folder with more is not listed, for the same reason."""

_ADVICE = {
    errno.ENOENT: "check the path",
    errno.EEXIST: "choose another path",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
    errno.ENOTEMPTY: "empty it first, or leave `recursive` on",
    errno.EACCES: "give the user who runs the server the right to it",
    errno.EPERM: "give the user who runs the server the right to it",
    errno.EROFS: "choose a path that can be written",
    errno.ENOSPC: "free some space",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.ELOOP: "untie its symbolic links",
}


def read_file(path: Path) -> str:
    """The content as base64. Raises RpcError, also for a file beyond `MAX_READ_BYTES`."""
    with _faults("read", path):
        _require_regular(path)
        with path.open("rb") as file:
            data = file.read(MAX_READ_BYTES + 1)
    if len(data) > MAX_READ_BYTES:
        raise _refused(f"{path} is larger than the {MAX_READ_BYTES} bytes that are read; read it with a command.")
    return base64.b64encode(data).decode("ascii")


def write_file(path: Path, data_base64: str) -> None:
    """Make the file, or replace its content in place: links to it and its mode stay. Raises RpcError."""
    data = decode_base64(data_base64)
    if data is None:
        message = "fs/writeFile needs base64 in `dataBase64`, with its padding and without line breaks."
        raise InvalidRequest(message, data_code="invalidBase64")
    with _faults("written", path):
        if path.is_fifo():
            raise _refused(f"{path} is a pipe, which could wait for its reader for ever; name a file.")
        path.write_bytes(data)


def create_directory(path: Path, *, recursive: bool) -> None:
    """Make a folder. Raises RpcError."""
    with _faults("made", path):
        path.mkdir(parents=recursive, exist_ok=recursive)


def metadata(path: Path) -> FsGetMetadataResponse:
    """What the path leads to. Raises RpcError, also for a symbolic link that leads nowhere."""
    with _faults("looked at", path):
        itself, target = path.lstat(), path.stat()
    created_s: float = getattr(target, "st_birthtime", 0.0)  # Python does not know it on every system
    from app_server.protocol.fs import FsGetMetadataResponse  # models are loaded when they are needed

    return FsGetMetadataResponse(
        is_directory=stat.S_ISDIR(target.st_mode),
        is_file=stat.S_ISREG(target.st_mode),
        is_symlink=stat.S_ISLNK(itself.st_mode),
        created_at_ms=int(created_s * 1000),
        modified_at_ms=target.st_mtime_ns // 1_000_000,
    )


def read_directory(path: Path) -> tuple[FsReadDirectoryEntry, ...]:
    """The direct children by name. Raises RpcError, also for a folder with more than `MAX_ENTRIES`."""
    from app_server.protocol.fs import FsReadDirectoryEntry

    found: list[FsReadDirectoryEntry] = []
    with _faults("listed", path), os.scandir(path) as entries:
        for entry in entries:
            if len(found) == MAX_ENTRIES:
                raise _refused(f"{path} has more than the {MAX_ENTRIES} entries that are listed; list it by a command.")
            found.append(
                FsReadDirectoryEntry(
                    file_name=shown(entry.name), is_directory=_leads(entry.is_dir), is_file=_leads(entry.is_file)
                )
            )
    return tuple(sorted(found, key=lambda each: each.file_name))


def remove(path: Path, *, recursive: bool, force: bool) -> None:
    """Remove a file, a link, or a folder. Raises RpcError."""
    if path == path.parent:
        raise _refused(f"{path} is the root of the file system, which fs/remove leaves alone; name what is below it.")
    with _faults("removed", path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            if force:
                return
            raise
        if not stat.S_ISDIR(mode):
            path.unlink()
        elif recursive:
            shutil.rmtree(path)
        else:
            path.rmdir()


def copy(source: Path, destination: Path, *, recursive: bool) -> None:
    """Copy a file, a link as a link, or a folder into one that may be there. Raises RpcError."""
    with _faults("part of the copy", source):
        mode = source.lstat().st_mode
        if stat.S_ISDIR(mode):
            if not recursive:
                raise _refused(f"{source} is a directory; fs/copy needs `recursive: true` for it.")
            if destination.resolve().is_relative_to(source.resolve()):
                raise _refused(f"{source} cannot be copied into itself; choose a destination outside of it.")
            _copy_tree(source, destination)
        elif stat.S_ISLNK(mode) or stat.S_ISREG(mode):
            _copy_one(source, destination)
        else:
            raise _refused(f"{source} is neither a file, a directory nor a symbolic link; fs/copy copies those alone.")


def _copy_one(source: Path, destination: Path) -> None:
    try:
        shutil.copyfile(source, destination, follow_symlinks=False)
    except shutil.SameFileError:
        raise _refused(f"{source} and {destination} are the same file; choose another destination.") from None
    if not source.is_symlink():
        shutil.copymode(source, destination)


def _copy_tree(source: Path, destination: Path) -> None:
    """Pipes, sockets and devices in it are left out: what they are cannot be copied."""
    folders = [(source, destination)]
    while folders:
        folder, copied = folders.pop()
        copied.mkdir(parents=True, exist_ok=True)
        with os.scandir(folder) as entries:
            for child in entries:
                if child.is_dir(follow_symlinks=False):
                    folders.append((Path(child.path), copied / child.name))
                elif child.is_symlink() or child.is_file(follow_symlinks=False):
                    _copy_one(Path(child.path), copied / child.name)


def decode_base64(text: str) -> bytes | None:
    """The bytes; None where the text is no base64."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def shown(name: str) -> str:
    """A name as JSON can carry it: bytes that are no UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def fault_of_system(error: OSError, what: str, *, data_code: str = "fileSystem") -> InternalError:
    """The system's refusal as a sentence: `what` says what did not work."""
    cause = (error.strerror or str(error) or "an unknown fault").lower()
    advice = _ADVICE.get(error.errno or 0)
    sentence = f"{what}: {cause}; {advice}." if advice else f"{what}: {cause}."
    return InternalError(sentence, data_code=data_code)


@contextmanager
def _faults(done: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        named = shown(error.filename) if isinstance(error.filename, str) else shown(str(path))
        raise fault_of_system(error, f"{named} cannot be {done}") from None


def _require_regular(path: Path) -> None:
    """Raises InvalidRequest for a folder, a pipe, a device; OSError where there is nothing."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise _refused(f"{shown(str(path))} is not a file; name a regular file.")


def _leads(question: Callable[[], bool]) -> bool:
    """The answer of a directory entry, and no to a link that goes round in circles."""
    try:
        return question()
    except OSError:
        return False


def _refused(message: str) -> RpcError:
    return InvalidRequest(message, data_code="invalidPath")
