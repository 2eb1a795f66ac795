"""Every thread of a home, brought into a storage as it is: records with their seqs and times, index row, pictures.

Pictures go first, so that no record names one that is not there. The source is only read, and refused while a server
has it open.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread

from app_server.moving.places import Places, moved_record, places
from app_server.moving.report import LEFT_ALONE, Report, Tell
from app_server.moving.target import BATCH_RECORDS, Expected, compare, put_thread, seal, verify
from app_server.storage.base import Record, Storage
from app_server.storage.inspection import StoredHome, StoredPicture, open_home
from app_server.storage.picture_index import picture_row, removed_item
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.moving.report import Outcome

_NOBODY = "A picture belongs to no stored thread (it was made in an ephemeral one) and stays where it is."


async def move_home(home: Path, target: Storage | None, tell: Tell) -> Report:
    """Move all threads; without a target they are only counted. Raises StorageError; run again to go on."""
    with open_home(home) as stored:
        move = _Move(home, stored, target, tell)
        await move.run()
        return move.report


@frozen
class _Own:
    """What a thread has beside its records. shown: by sha256, the items that show a generated picture."""

    thread_id: str
    pictures: Sequence[StoredPicture]
    shown: Mapping[str, Sequence[str]]


class _Move:
    def __init__(self, home: Path, stored: StoredHome, target: Storage | None, tell: Tell) -> None:
        self.report = Report(source=str(home), dry_run=target is None)
        self._stored, self._target, self._tell = stored, target, tell

    async def run(self) -> None:
        thread_ids = await anyio.to_thread.run_sync(self._stored.thread_ids)
        self.report.total = len(thread_ids)
        if left_over := await anyio.to_thread.run_sync(self._stored.left_over):
            self.report.notes[_NOBODY] = left_over
        moved: dict[str, Expected] = {}
        for thread_id in thread_ids:
            own = await self._own(thread_id)
            if self._target is not None and (expected := await self._move(own, self._target)) is not None:
                moved[thread_id] = expected
            self._tell(self.report)
        for thread_id, expected in moved.items():
            assert self._target is not None  # else nothing was moved
            await verify(self._target, thread_id, expected, self.report)
            self._tell(self.report)

    async def _own(self, thread_id: str) -> _Own:
        """What the thread has, counted. Pictures that its records show and the source does not know are named."""
        shown, records = await anyio.to_thread.run_sync(_shown, self._stored, thread_id)
        pictures = await anyio.to_thread.run_sync(self._stored.pictures, thread_id)
        self.report.records += records
        self.report.pictures += len(pictures)
        self.report.picture_bytes += sum(picture.ref.size_bytes for picture in pictures)
        for sha256 in sorted(shown.keys() - {picture.ref.sha256 for picture in pictures}):
            self._lost(thread_id, sha256)
        return _Own(thread_id=thread_id, pictures=pictures, shown=shown)

    def _lost(self, thread_id: str, sha256: str) -> None:
        self.report.problem(thread_id, f"Picture {sha256} of thread {thread_id} is gone or changed in the source.")

    async def _move(self, own: _Own, target: Storage) -> Expected | None:
        thread_id = own.thread_id
        outcome, lost = await self._found(own, target), set[str]()
        if outcome is None:
            lost = await self._put_pictures(own, target)
            row = await anyio.to_thread.run_sync(self._stored.row, thread_id)
            outcome = await put_thread(target, row, await self._reader(own, target))
        self.report.ended(thread_id, outcome)
        if outcome in LEFT_ALONE:
            return None
        sent = await seal(await self._reader(own, target))
        return Expected(seal=sent, pictures=[p.ref.sha256 for p in own.pictures if p.ref.sha256 not in lost])

    async def _found(self, own: _Own, target: Storage) -> Outcome | None:
        """What is to be said of a thread that is there, with all its pictures; None when something is to be done."""
        if await target.log.row(own.thread_id) is None:
            return None
        for picture in own.pictures:
            if await target.blobs.ref(picture.ref.sha256) is None:
                return None
        found = await compare(target.log, own.thread_id, await self._reader(own, target))
        if not found.alike:
            return "differs"
        return "present" if found.source_ends else None

    async def _put_pictures(self, own: _Own, target: Storage) -> set[str]:
        """The thread's pictures become its own in the target, a generated one under the name of its item.

        Returns those that the source has lost."""
        lost = set[str]()
        for picture in own.pictures:
            data = await anyio.to_thread.run_sync(_whole, picture)
            if data is None:
                lost.add(picture.ref.sha256)
                self._lost(own.thread_id, picture.ref.sha256)
                continue
            names: Sequence[str | None] = own.shown.get(picture.ref.sha256) or (None,)
            for name in names:
                await target.blobs.put(data, picture.ref, owner=own.thread_id, name=name)
        return lost

    async def _reader(self, own: _Own, target: Storage) -> _Reader:
        keeps = target.blobs.keeps_files
        moved = [
            (picture.ref.sha256, picture.paths, await target.blobs.path(picture.ref.sha256) if keeps else None)
            for picture in own.pictures
        ]
        known = [one for one in moved if one[2] is not None or not keeps]
        return _Reader(self._stored, own.thread_id, places(known, keeps_files=keeps))


class _Reader:
    """The records of a thread as the target shall hold them: the `Read` of `target.py`."""

    def __init__(self, stored: StoredHome, thread_id: str, at: Places) -> None:
        self._stored, self._thread_id, self._at = stored, thread_id, at

    async def __call__(self, after_seq: int, limit: int) -> Sequence[Record]:
        records = await anyio.to_thread.run_sync(self._stored.records, self._thread_id, after_seq, limit)
        return [moved_record(record, self._at) for record in records]


def _shown(stored: StoredHome, thread_id: str) -> tuple[dict[str, list[str]], int]:
    """By sha256, the items that show a generated picture; and how many records the thread has."""
    items: dict[tuple[str, str], str] = {}
    seq = 0
    while records := stored.records(thread_id, seq, BATCH_RECORDS):
        for record in records:
            row = picture_row(thread_id, record, seq=record.seq, at_ms=record.at_ms)
            if row is not None:
                items[row.turn_id, row.item_id] = row.ref.sha256
            elif (removed := removed_item(record)) is not None:
                items.pop(removed, None)
        seq += len(records)
    by_sha256: dict[str, list[str]] = {}
    for (_, item_id), sha256 in items.items():
        by_sha256.setdefault(sha256, []).append(item_id)
    return by_sha256, seq


def _whole(picture: StoredPicture) -> bytes | None:
    """The bytes, from the first file that has them."""
    for path in picture.paths:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(data).hexdigest() == picture.ref.sha256:
            return data
    return None
