"""What SQLite or the file system refused, as one sentence that says what to do. Called by all of `storage/local`."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from app_server.storage.base import StorageDamaged, StorageError

BUSY_TIMEOUT_S = 10.0
"""How long a writer waits for another process that writes the same database."""

DAMAGED = frozenset({sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT})
_SEE_DOCTOR = "`app-server doctor` tells what is wrong, and `app-server doctor --repair` saves what can be read"
_DATABASE_SENTENCES = {
    sqlite3.SQLITE_FULL: "The disk that holds {path} is full; free some space and try again.",
    sqlite3.SQLITE_READONLY: "{path} is read-only; make the file and its folder writable, or choose another home.",
    sqlite3.SQLITE_PERM: "{path} may not be opened; make the file and its folder readable and writable for this user.",
    sqlite3.SQLITE_CANTOPEN: (
        "{path} cannot be opened; make sure that it is a file this user may read and write, or choose another home."
    ),
    sqlite3.SQLITE_NOTADB: f"{{path}} is not a database; {_SEE_DOCTOR}.",
    sqlite3.SQLITE_CORRUPT: f"{{path}} is damaged; {_SEE_DOCTOR}.",
    sqlite3.SQLITE_BUSY: (
        f"Another process kept {{path}} locked for {BUSY_TIMEOUT_S:.0f} s; end that process or try again."
    ),
    sqlite3.SQLITE_IOERR: "The disk failed at {path}; check the disk and try again.",
}
_FILE_SENTENCES = {
    errno.ENOSPC: "The disk that holds {path} is full; free some space and try again.",
    errno.EDQUOT: "The disk quota for {path} is used up; free some space and try again.",
    errno.EROFS: "{path} is on a read-only file system; make it writable, or choose another home.",
    errno.EACCES: "{path} may not be accessed; give this user the right to read and write it, or choose another home.",
    errno.ENOTDIR: "{path} lies below a file instead of a folder; move that file away, or choose another home.",
    errno.EEXIST: "{path} is a file where a folder is needed; move that file away, or choose another home.",
}


def storage_error(path: Path, error: sqlite3.Error | OSError) -> StorageError:
    """The error to raise for `error` at `path`; the original one becomes its cause with `raise … from`."""
    kind = StorageError
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        sentence = _FILE_SENTENCES.get(error.errno or 0)
        unknown = "{path} cannot be read or written ({reason}); check the file and its folder."
    else:
        reason = str(error)
        extended_code: int = getattr(error, "sqlite_errorcode", 0)  # missing where Python itself refused
        sentence = _DATABASE_SENTENCES.get(extended_code & 0xFF)
        kind = StorageDamaged if extended_code & 0xFF in DAMAGED else kind
        unknown = "{path} refused an operation ({reason}); restart the server, and report it if that does not help."
    return kind((sentence or unknown).format(path=path, reason=reason))
