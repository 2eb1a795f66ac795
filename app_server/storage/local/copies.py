"""The second copy of every thread: `<home>/copies/<thread>.jsonl`, from which a broken database is made again.

    {"seq": 1, "kind": "…", "at": ms, "data": {…}}      one line for each record
    {"row": {column: value, …}}                         the index row, the last one counts
    {"end": N}                                          after every write: all up to record N is here

The database is the truth and is written first; a copy follows in the writer's thread, is not synced, and is never read
while the database can be. A copy that does not end where the new records begin (cut off, missing, written by another
process) is made anew from the database. A copy that cannot be written is a line in the log and no failure.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from app_server.ids import parse_uuid, uuid7
from app_server.observability.logging import get_logger
from app_server.storage.base import LOCAL_TENANT
from app_server.storage.local.queries import COLUMN_NAMES, SELECT_ROW
from app_server.values import field, slotted

COPIES: Final = "copies"
Encoded = tuple[str, int, bytes]
"""kind, at_ms, data"""

_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_END: Final = re.compile(rb'\n\{"end":(\d+)\}\n\Z')
_END_BYTES: Final = 40
_SELECT_RECORDS: Final = "SELECT seq, kind, at_ms, data FROM records WHERE tenant = ? AND thread_id = ? ORDER BY seq"
log = get_logger("storage")


@slotted(kw_only=True)
class ThreadCopy:
    """What one file still tells. `bad_lines` could not be read."""

    thread_id: str
    row: tuple[Any, ...] | None = None
    """In the order of the columns, `meta` as bytes."""
    records: dict[int, Encoded] = field(default_factory=dict)
    bad_lines: int = 0


class ThreadCopies:
    """The copies of one home. Called in the writer's thread, after the commit; nothing here raises for a disk."""

    def __init__(self, home: Path) -> None:
        self._folder = home / COPIES
        self._told = False

    def wrote(
        self,
        connection: sqlite3.Connection,
        key: tuple[str, str],
        row: Sequence[Any] | None,
        first_seq: int,
        records: Sequence[Encoded],
    ) -> None:
        """Follow a commit that gave thread `key` (tenant, id) these records, from `first_seq` on, and this row."""
        if (path := self._path(key)) is None:
            return
        added = chain.from_iterable(_record_line(seq, *record) for seq, record in enumerate(records, first_seq))
        added = chain(added, _end_lines(row, first_seq + len(records) - 1))
        try:
            if first_seq == 1 and row is not None:
                _write_new(path, added)
            elif not _append(path, added, first_seq - 1) and (stored := _stored_lines(connection, key)) is not None:
                _write_whole(path, stored)
        except (OSError, sqlite3.Error) as error:
            self._tell(path, error)

    def removed(self, key: tuple[str, str]) -> None:
        """The thread was deleted."""
        if (path := self._path(key)) is not None:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                self._tell(path, error)

    def _path(self, key: tuple[str, str]) -> Path | None:
        """None for other tenants and names: a copy is for the threads of a home, whose ids are UUIDs."""
        tenant, thread_id = key
        known = parse_uuid(thread_id) == thread_id and tenant == LOCAL_TENANT
        return self._folder / f"{thread_id}.jsonl" if known else None

    def _tell(self, path: Path, error: Exception) -> None:
        if not self._told:  # once: a full disk would fill the log as well
            self._told = True
            log.warning("thread_copy_not_written", path=str(path), cause=str(error))


def copy_files(home: Path) -> list[Path]:
    """The copies of a home, by name."""
    return sorted(path for path in (home / COPIES).glob("*.jsonl") if parse_uuid(path.stem) == path.stem)


def has_copies(home: Path) -> bool:
    """Whether there is any copy; cheap."""
    return next((home / COPIES).glob("*.jsonl"), None) is not None


def read_copy(path: Path) -> ThreadCopy:
    """What can be read of a copy; lines that cannot are counted. Raises OSError."""
    found = ThreadCopy(thread_id=path.stem)
    with path.open("rb") as file:
        for line in file:
            if line.strip() and not _take(found, line):
                found.bad_lines += 1
    return found


def _take(found: ThreadCopy, line: bytes) -> bool:
    try:
        value = orjson.loads(line)
        if not isinstance(value, dict):
            return False
        if "row" in value:
            row = value["row"]
            found.row = tuple(orjson.dumps(row[column]) if column == "meta" else row[column] for column in COLUMN_NAMES)
        elif "seq" in value:
            entry = (str(value["kind"]), int(value["at"]), orjson.dumps(dict(value["data"])))
            found.records[int(value["seq"])] = entry
        return True
    except (ValueError, TypeError, KeyError):
        return False


def _record_line(seq: int, kind: str, at_ms: int, data: bytes) -> tuple[bytes, bytes, bytes]:
    """In pieces: the data may be large, and is not copied."""
    return b'{"seq":%d,"kind":%s,"at":%d,"data":' % (seq, orjson.dumps(kind), at_ms), data, b"}\n"


def _end_lines(row: Sequence[Any] | None, last_seq: int) -> Iterator[bytes]:
    if row is not None:
        columns = {
            name: orjson.Fragment(value) if name == "meta" else value
            for name, value in zip(COLUMN_NAMES, row, strict=True)
        }
        yield orjson.dumps({"row": columns}) + b"\n"
    yield b'{"end":%d}\n' % last_seq


def _append(path: Path, added: Iterable[bytes], last_seq: int) -> bool:
    """Append, if the copy ends with record `last_seq`; False when it does not, or there is none."""
    try:
        file = path.open("r+b")
    except FileNotFoundError:
        return False
    with file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _END_BYTES))
        end = _END.search(file.read())
        if end is None or int(end[1]) != last_seq:
            return False
        file.seek(0, os.SEEK_END)
        file.writelines(added)
    return True


def _stored_lines(connection: sqlite3.Connection, key: tuple[str, str]) -> Iterator[bytes] | None:
    """All of a copy, from the database; None when the thread is not there."""
    row = connection.execute(SELECT_ROW, key).fetchone()
    return None if row is None else _all_lines(connection, key, row)


def _all_lines(connection: sqlite3.Connection, key: tuple[str, str], row: Sequence[Any]) -> Iterator[bytes]:
    last_seq = 0
    for seq, kind, at_ms, data in connection.execute(_SELECT_RECORDS, key):
        yield from _record_line(seq, kind, at_ms, data)
        last_seq = seq
    yield from _end_lines(row, last_seq)


def _write_new(path: Path, lines: Iterable[bytes]) -> None:
    """The first copy of a thread. One that was cut off does not end as it should, and the next records make it anew."""
    try:
        file = _made(path)
    except FileExistsError:  # of a database that was lost
        _write_whole(path, lines)
        return
    with file:
        file.writelines(lines)


def _write_whole(path: Path, lines: Iterable[bytes]) -> None:
    """The copy anew; whole or not at all."""
    temporary = path.with_name(f".{uuid7()}.tmp")
    try:
        with _made(temporary) as file:
            file.writelines(lines)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _made(path: Path) -> BinaryIO:
    """A new file for its user only, and its folder where that is missing."""
    try:
        file = os.open(path, _NEW_FILE, 0o600)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, _NEW_FILE, 0o600)
    return open(file, "wb")
