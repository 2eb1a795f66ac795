"""Makes a new database of what can be read: of the broken one, page by page, and of the copies of the threads.

    state.sqlite (broken)  ─┐
                            ├─►  state.sqlite (new)      the broken one stays, as state.sqlite.broken-<time>
    copies/*.jsonl         ─┘

A record counts from the database where it is readable there, else from the copy. What is lost is counted, never left
out in silence. The caller makes sure that no other process has the home open.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.extension_api.tools import PictureRef
from app_server.storage import records as kinds
from app_server.storage.base import LOCAL_TENANT, Lease, Record, StorageError
from app_server.storage.local.copies import Encoded, ThreadCopy, copy_files, read_copy
from app_server.storage.local.failures import storage_error
from app_server.storage.local.pictures import index_pictures
from app_server.storage.local.queries import INSERT_ROW
from app_server.storage.local.schema import migrate, newest_version
from app_server.storage.local.tolerant import (
    Row,
    index_row,
    open_tolerant,
    schema_version,
    table,
    thread_keys,
    thread_records,
)
from app_server.storage.rules import is_sha256
from app_server.values import field, slotted

DATABASE: Final = "state.sqlite"
BROKEN: Final = ".broken-"
_BLOB_COLUMNS: Final = "sha256, path, mime, size_bytes, width, height"


@slotted(kw_only=True)
class SalvageReport:
    """What a salvage kept and what it could not."""

    threads_saved: int = 0
    threads_lost: list[str] = field(default_factory=list)
    """Ids of threads that something still names, but whose beginning nothing has."""
    threads_cut: dict[str, int] = field(default_factory=dict)
    """Id → records lost, of threads that were saved without some of their records."""
    records_saved: int = 0
    records_lost: int = 0
    """At least so many: where the end of a thread is lost, nobody knows how long it was."""
    from_copies: int = 0
    """Records that only a copy still had."""
    blobs_saved: int = 0
    database_readable: bool = False
    """False: there was none, or not even its table of contents could be read."""
    incomplete_lists: bool = False
    """A table could not be read to its end: there may have been threads that nothing names any more."""
    broken: str | None = None
    """Where the broken database is now."""

    @property
    def lossless(self) -> bool:
        return not (self.threads_lost or self.threads_cut or self.records_lost)

    def sentence(self) -> str:
        """For people."""
        lost = f"{len(self.threads_lost)} threads and at least {self.records_lost} records were lost"
        saved = f"{self.threads_saved} threads with {self.records_saved} records and {self.blobs_saved} pictures"
        kept = f"; the broken database is kept at {self.broken}" if self.broken else ""
        return f"Saved {saved} ({self.from_copies} records from copies); {lost}{kept}."


def salvage(home: Path, *, now_s: float | None = None) -> SalvageReport:
    """Put a new database in the place of the old one. Raises StorageError; the old one is in its place then."""
    path = home / DATABASE
    new = home / f"{DATABASE}.repair"
    report = SalvageReport()
    copies = {copy.thread_id: copy for copy in _copies(home, report)}
    try:
        _remove(new)
        with open_tolerant(path) as old, closing(_fresh(new)) as made:
            report.database_readable = old is not None
            _refuse_newer(old, path)
            made.execute("BEGIN")
            _Salvage(home, old, made, copies, report).run()
            made.execute("COMMIT")
        _swap(path, new, report, time.time() if now_s is None else now_s)
        _keep_report(report)
    except sqlite3.Error as error:
        raise storage_error(new, error) from error
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            _remove(new)
    return report


class _Salvage:
    """One run: from `old` and `copies` into `new`."""

    def __init__(
        self,
        home: Path,
        old: sqlite3.Connection | None,
        new: sqlite3.Connection,
        copies: Mapping[str, ThreadCopy],
        report: SalvageReport,
    ) -> None:
        self.home, self.old, self.new, self.copies, self.report = home, old, new, copies, report

    def run(self) -> None:
        keys = {(LOCAL_TENANT, thread_id) for thread_id in self.copies}
        if self.old is not None:
            found, self.report.incomplete_lists = thread_keys(self.old)
            keys |= found
            self._blob_tables(self.old)
            self._leases(self.old)
        for key in sorted(keys):
            self._thread(key)
        self.report.blobs_saved = self.new.execute("SELECT count(*) FROM blobs").fetchone()[0]

    def _thread(self, key: tuple[str, str]) -> None:
        stored: dict[int, Row] = {}
        row, broken = None, False
        if self.old is not None:
            row = index_row(self.old, key)
            stored, broken = thread_records(self.old, key)
        copy = self.copies.get(key[1]) if key[0] == LOCAL_TENANT else None
        records = {seq: record for seq, row_ in stored.items() if (record := _sound(row_)) is not None}
        self.report.from_copies += sum(seq not in records for seq in (copy.records if copy else ()))
        records = {**(copy.records if copy else {}), **records}
        known = max((*records, *stored), default=0)
        lost = known - len(records) + (broken and known == 0)
        row = row or (copy.row if copy else None)
        if 1 not in records:
            if known or row or broken:
                self.report.threads_lost.append(key[1])
                self.report.records_lost += max(known, 1)
            return
        self._keep(key, row or _made_row(key, records), records)
        if lost or (broken and not (copy and max(copy.records, default=0) >= known)):
            self.report.threads_cut[key[1]] = max(lost, 1)
            self.report.records_lost += max(lost, 1)

    def _keep(self, key: tuple[str, str], row: Row, found: Mapping[int, Encoded]) -> None:
        """A log has no gaps, and clients remember numbers: a lost record leaves a mark in its place."""
        last, records = found[1], list[Encoded]()
        for seq in range(1, max(found) + 1):
            last = found.get(seq) or (kinds.LOST, last[1], b"{}")
            records.append(last)
        self.new.execute(INSERT_ROW, row)
        self.new.executemany(
            "INSERT INTO records (tenant, thread_id, seq, kind, at_ms, data) VALUES (?, ?, ?, ?, ?, ?)",
            [(*key, seq, *record) for seq, record in enumerate(records, 1)],
        )
        facts = [Record(kind=kind, data=orjson.loads(data), at_ms=at_ms) for kind, at_ms, data in records]
        lease = Lease(tenant=key[0], thread_id=key[1], owner="", epoch=0)
        with suppress(KeyError, TypeError):  # a damaged fact of a picture: its record is kept all the same
            index_pictures(self.new, lease, 0, facts, [fact.at_ms for fact in facts])
        for fact in facts:
            self._own_blobs(key[1], fact)
        self.report.threads_saved += 1
        self.report.records_saved += len(found)

    def _own_blobs(self, thread_id: str, fact: Record) -> None:
        """Pictures that a record mentions belong to its thread, where their files are."""
        saved = fact.data.get("item", {}).get("savedPath") if isinstance(fact.data.get("item"), dict) else None
        for ref in _pictures_in(fact.data):
            attached = [
                path for path in (self.home / "blobs" / ref.sha256[:2]).glob(f"{ref.sha256}*") if path.is_file()
            ]
            adopted = [Path(saved)] if isinstance(saved, str) and fact.kind == kinds.ITEM_COMPLETED else []
            for path, ours in (*((path, 0) for path in attached), *((path, 1) for path in adopted)):
                with suppress(OSError, ValueError):
                    if path.stat().st_size == ref.size_bytes:
                        self._own(thread_id, ref, path, ours)

    def _own(self, thread_id: str, ref: PictureRef, path: Path, ours: int) -> None:
        stored = path.relative_to(self.home).as_posix() if path.is_relative_to(self.home) else str(path)
        blob = (ref.sha256, stored, ref.mime, ref.size_bytes, ref.width, ref.height, ours)
        self.new.execute(f"INSERT OR IGNORE INTO blobs ({_BLOB_COLUMNS}, ours) VALUES (?, ?, ?, ?, ?, ?, ?)", blob)
        self.new.execute("INSERT OR IGNORE INTO blob_owners VALUES (?, ?, ?)", (thread_id, ref.sha256, stored))

    def _blob_tables(self, old: sqlite3.Connection) -> None:
        blobs, broken = table(old, f"{_BLOB_COLUMNS}, ours", "blobs")
        owners, also_broken = table(old, "owner, sha256, path", "blob_owners")
        self.new.executemany(f"INSERT OR IGNORE INTO blobs ({_BLOB_COLUMNS}, ours) VALUES (?, ?, ?, ?, ?, ?, ?)", blobs)
        self.new.executemany("INSERT OR IGNORE INTO blob_owners (owner, sha256, path) VALUES (?, ?, ?)", owners)
        self.report.incomplete_lists |= broken or also_broken

    def _leases(self, old: sqlite3.Connection) -> None:
        """Epochs go on from where they were; nobody holds a thread now."""
        leases, _ = table(old, "tenant, thread_id, epoch", "leases")
        self.new.executemany("INSERT OR IGNORE INTO leases (tenant, thread_id, epoch) VALUES (?, ?, ?)", leases)


def _copies(home: Path, report: SalvageReport) -> Iterator[ThreadCopy]:
    for path in copy_files(home):
        try:
            yield read_copy(path)
        except OSError:
            report.incomplete_lists = True


def _sound(record: Row) -> Encoded | None:
    """The record if its parts still are what they were."""
    kind, at_ms, data = record
    if not (isinstance(kind, str) and isinstance(at_ms, int) and isinstance(data, bytes)):
        return None
    try:
        return (kind, at_ms, data) if isinstance(orjson.loads(data), dict) else None
    except ValueError:
        return None


def _made_row(key: tuple[str, str], records: Mapping[int, Encoded]) -> Row:
    """An index row of a thread whose own is lost, from what its records say."""
    first, last = records[min(records)], records[max(records)]
    settings = orjson.loads(first[2]).get("settings")
    facts: dict[str, Any] = settings if isinstance(settings, dict) else {}
    listed = any(kind == kinds.TURN_STARTED for kind, _, _ in records.values())
    archived = 0
    name: str | None = None
    for seq in sorted(records):
        kind, _, data = records[seq]
        if kind == kinds.NAME_SET:
            name = str(orjson.loads(data).get("name"))
        elif kind == kinds.ARCHIVED_SET:
            archived = int(bool(orjson.loads(data).get("archived")))
    texts = (str(facts.get("cwd", "/")), "vscode", str(facts.get("model", "")), str(facts.get("model_provider", "")))
    return (*key, first[1], last[1], last[1], int(listed), archived, name, "", *texts, b"{}")


def _pictures_in(value: Any) -> Iterator[PictureRef]:
    """Every reference to a stored picture inside a record."""
    if isinstance(value, list):
        for part in value:
            yield from _pictures_in(part)
    elif isinstance(value, dict):
        if isinstance(value.get("sha256"), str) and is_sha256(value["sha256"]):
            with suppress(KeyError, TypeError):
                yield PictureRef.from_json(value)
        for part in value.values():
            yield from _pictures_in(part)


def _fresh(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    migrate(connection, path)
    return connection


def _swap(path: Path, new: Path, report: SalvageReport, now_s: float) -> None:
    """The broken database gets its new name first, then the new one takes its place at once."""
    with new.open("rb+") as file:
        os.fsync(file.fileno())
    if path.exists():
        broken = path.with_name(f"{path.name}{BROKEN}{time.strftime('%Y%m%d-%H%M%S', time.gmtime(now_s))}")
        number = 1
        while broken.exists():
            number += 1
            broken = broken.with_name(f"{broken.name.split('_')[0]}_{number}")
        try:
            os.link(path, broken)
        except OSError:  # a file system without links
            path.replace(broken)
        report.broken = str(broken)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(path.name + suffix).replace(broken.with_name(broken.name + suffix))
    new.replace(path)


def _refuse_newer(old: sqlite3.Connection | None, path: Path) -> None:
    version = schema_version(old) if old is not None else None
    if version is not None and version > newest_version():
        raise StorageError(f"{path} was written by a newer server; use that one to repair it.")


def _remove(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-journal"), path.with_name(path.name + "-wal")):
        name.unlink(missing_ok=True)


def _keep_report(report: SalvageReport) -> None:
    if report.broken is not None:
        with suppress(OSError):  # it is told all the same
            Path(f"{report.broken}.json").write_bytes(orjson.dumps(report_json(report), option=orjson.OPT_INDENT_2))


def report_json(report: SalvageReport) -> dict[str, Any]:
    """For `--json`."""
    found: dict[str, Any] = json.loads(orjson.dumps(report))
    return {**found, "sentence": report.sentence()}
