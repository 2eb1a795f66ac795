"""One thread into a storage: as many runs as it takes, nothing twice, and found there again by its sha256.

What is there already must be how the source begins, record for record; then the rest is appended. A thread of more than
one batch is not listed before its last batch is in, which brings the index row as it shall be.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
import orjson

from app_server.storage.base import BlobAltered, BlobMissing, LeaseHeld, Record, ThreadLog, ThreadRow
from app_server.storage.cluster import LEASE_TTL_S
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.moving.report import Outcome, Report
    from app_server.storage.base import Lease, Storage

BATCH_RECORDS: Final = 500
BATCH_BYTES: Final = 8 * 1024 * 1024
"""Of one commit, unless a single record is larger."""
POLL_S: Final = 0.5
_SLACK_S: Final = 2.0
_RELEASE_BOUND_S: Final = 10.0

Read = Callable[[int, int], Awaitable[Sequence[Record]]]
"""(after seq, limit) → the source's records, as the target shall hold them; may be asked again."""


@frozen
class Comparison:
    """How far the target has the thread. `alike`: up to the end of the shorter one there is no difference."""

    there: int
    alike: bool
    source_ends: bool
    """The target has all that the source has."""


@frozen
class Seal:
    """What a thread's records come to."""

    records: int
    sha256: str


@frozen
class Expected:
    """What the target shall have of a thread."""

    seal: Seal
    pictures: Sequence[str]
    """By sha256."""


async def compare(log: ThreadLog, thread_id: str, read: Read) -> Comparison:
    """Read both from the start, as far as the target goes."""
    seq = 0
    while theirs := await log.read(thread_id, after_seq=seq, limit=BATCH_RECORDS):
        ours = await read(seq, len(theirs))
        for one, other in zip(ours, theirs, strict=False):
            if _content(one) != _content(other):
                return Comparison(there=seq, alike=False, source_ends=False)
        seq += len(theirs)
        if len(ours) < len(theirs):
            return Comparison(there=seq, alike=True, source_ends=True)
    return Comparison(there=seq, alike=True, source_ends=not await read(seq, 1))


async def put_thread(target: Storage, row: ThreadRow, read: Read) -> Outcome:
    """Bring the target to where the source is. Raises StorageError."""
    try:
        there = await target.log.row(row.thread_id)
        if there is None:
            await _create(target, row, read)
            return "moved"
        before = await compare(target.log, row.thread_id, read)
        if not before.alike:
            return "differs"
        if before.source_ends:
            return "present"
        wait_s = LEASE_TTL_S + _SLACK_S if row.listed and not there.listed else 0.0
        return await _go_on(target, row, read, before.there, wait_s)
    except LeaseHeld:
        return "held"


async def seal(read: Read, at_most: int | None = None) -> Seal:
    """Count the records, or the first of them, and hash them all."""
    digest, seq = hashlib.sha256(), 0
    while at_most is None or seq < at_most:
        records = await read(seq, BATCH_RECORDS if at_most is None else min(BATCH_RECORDS, at_most - seq))
        if not records:
            break
        for record in records:
            digest.update(_content(record))
        seq += len(records)
    return Seal(records=seq, sha256=digest.hexdigest())


async def verify(target: Storage, thread_id: str, expected: Expected, report: Report) -> None:
    """Read the thread and its pictures from the target; what is not there as it was sent is a problem."""

    async def theirs(after_seq: int, limit: int) -> Sequence[Record]:
        return await target.log.read(thread_id, after_seq=after_seq, limit=limit)

    found = await seal(theirs, expected.seal.records)
    if found == expected.seal and await target.log.row(thread_id) is not None:
        report.verified_threads += 1
    else:
        report.problem(thread_id, f"Thread {thread_id} is not in the target as it was sent; import again.")
    for sha256 in expected.pictures:
        try:
            await target.blobs.read(sha256)
        except (BlobMissing, BlobAltered):
            report.problem(thread_id, f"Picture {sha256} of thread {thread_id} is not in the target; import again.")
        else:
            report.verified_pictures += 1


def _content(record: Record) -> bytes:
    """A record in a form that does not depend on how a storage keeps its JSON."""
    return orjson.dumps([record.kind, record.at_ms, record.data], option=orjson.OPT_SORT_KEYS)


async def _create(target: Storage, row: ThreadRow, read: Read) -> None:
    first = _fitting(await read(0, BATCH_RECORDS))
    whole = not await read(len(first), 1)
    lease, last_seq = await target.log.create(row if whole else replace(row, listed=False), first)
    await _append_rest(target, lease, row, read, last_seq)


async def _go_on(target: Storage, row: ThreadRow, read: Read, there: int, wait_s: float) -> Outcome:
    """Append what is missing. wait_s: how long the lease of an import that was killed may still hold."""
    lease = await _lease(target, row.thread_id, wait_s)
    if await target.log.read(row.thread_id, after_seq=there, limit=1):  # somebody wrote since it was compared
        await target.leases.release(lease)
        return "held"
    await _append_rest(target, lease, row, read, there)
    return "resumed"


async def _lease(target: Storage, thread_id: str, wait_s: float) -> Lease:
    deadline_s = anyio.current_time() + wait_s
    while True:
        try:
            return await target.leases.acquire(thread_id)
        except LeaseHeld:
            if anyio.current_time() >= deadline_s:
                raise
        await anyio.sleep(POLL_S)


async def _append_rest(target: Storage, lease: Lease, row: ThreadRow, read: Read, seq: int) -> None:
    ours = replace(row, tenant=lease.tenant)
    try:
        while records := _fitting(await read(seq, BATCH_RECORDS)):
            last = not await read(seq + len(records), 1)
            seq = await target.log.append(lease, records, row=ours if last else None)
    finally:
        with anyio.move_on_after(_RELEASE_BOUND_S, shield=True):
            await target.leases.release(lease)


def _fitting(records: Sequence[Record]) -> Sequence[Record]:
    """The first of them that fit into one commit; one at least."""
    room = BATCH_BYTES
    for count, record in enumerate(records):
        room -= len(orjson.dumps(record.data))
        if room < 0 and count:
            return records[:count]
    return records
