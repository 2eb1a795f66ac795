"""What all storage implementations share: the encoding of a record, what a search matches, and the wording of refusals.

Pure; called by the implementations in `storage/` only. It never touches a disk and knows no database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.storage.base import (
    BlobAltered,
    BlobMissing,
    Draining,
    Lease,
    LeaseHeld,
    LeaseLost,
    Record,
    StorageDamaged,
    StorageError,
    ThreadRow,
)

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

MAX_RECORD_BYTES: Final = 256 * 1024 * 1024
"""A record is facts and text, and a text may be as long as a provider's largest event; no single one is longer."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def encode_record(thread_id: str, record: Record, max_bytes: int = MAX_RECORD_BYTES) -> bytes:
    """The stored form of `record.data`.

    Raises:
        StorageError: the data is no JSON, or larger than `max_bytes`.
    """
    try:
        encoded = orjson.dumps(record.data)
    except orjson.JSONEncodeError as error:
        raise _no_json(f"A {record.kind} record of thread {thread_id}", error) from error
    if len(encoded) > max_bytes:
        raise StorageError(
            f"A {record.kind} record of thread {thread_id} has {len(encoded)} bytes, more than the "
            f"{max_bytes} that the log takes; shorten what is stored."
        )
    return encoded


def decode_record(thread_id: str, seq: int, data: bytes) -> dict[str, Any]:
    """What `encode_record` was given. Raises StorageDamaged."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _damaged(f"Record {seq} of thread {thread_id}") from error
    if type(value) is dict:
        return value
    raise _damaged(f"Record {seq} of thread {thread_id}")


def decode_records(thread_id: str, stored: Sequence[tuple[int, bytes]]) -> list[dict[str, Any]]:
    """What `encode_record` was given, of records by their seq; quick for thousands. Raises StorageDamaged."""
    try:
        values = list(map(orjson.loads, [data for _, data in stored]))
    except orjson.JSONDecodeError:
        values = []
    if len(values) == len(stored) and set(map(type, values)) <= {dict}:
        return values
    return [decode_record(thread_id, seq, data) for seq, data in stored]


def encode_json(what: str, value: dict[str, Any]) -> bytes:
    """JSON bytes of `value`; `what` is the subject of the sentence when it has none."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise _no_json(what, error) from error


def decode_json(what: str, data: bytes) -> dict[str, Any]:
    """The object in `data`; `what` is the subject of the sentence when there is none."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _damaged(what) from error
    if not isinstance(value, dict):
        raise _damaged(what)
    return value


def _no_json(what: str, error: Exception) -> StorageError:
    return StorageError(f"{what} cannot be written as JSON ({error}); give it plain JSON values only.")


def _damaged(what: str) -> StorageDamaged:
    return StorageDamaged(
        f"{what} is damaged in the store; `app-server doctor` tells what is wrong, and `app-server doctor --repair` "
        "saves what can be read."
    )


def search_matches(preview: str, name: str | None, search: str) -> bool:
    """Whether a thread is found: `search` is part of its preview or name, in any case of any alphabet."""
    needle = search.casefold()
    return needle in preview.casefold() or (name is not None and needle in name.casefold())


def is_sha256(text: str) -> bool:
    """Whether `text` is the only form of a sha256 that names a blob: 64 lowercase hexadecimal digits."""
    return _SHA256.fullmatch(text) is not None


def has_sha256(data: bytes, sha256: str) -> bool:
    import hashlib  # slow to load; here and elsewhere it comes with the first picture

    return hashlib.sha256(data).hexdigest() == sha256


def check_bytes(data: bytes, ref: PictureRef) -> None:
    """Refuse to store bytes under a reference that does not describe them."""
    if len(data) != ref.size_bytes or not has_sha256(data, ref.sha256):
        raise StorageError(
            f"The bytes of picture {ref.sha256} do not match their reference; make the reference from the bytes again."
        )


def check_row(row: ThreadRow, lease: Lease) -> None:
    """Refuse an index row of another thread than the lease's."""
    if (row.tenant, row.thread_id) != (lease.tenant, lease.thread_id):
        raise StorageError(
            f"The index row of thread {row.thread_id} came with the lease of thread {lease.thread_id}; "
            "use the lease of its own thread."
        )


def lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"Thread {lease.thread_id} was taken over by another writer, so nothing was written; "
        "load the thread again to go on."
    )


def lease_held(thread_id: str) -> LeaseHeld:
    return LeaseHeld(
        f"Thread {thread_id} already has an active writer; continue it there, or end that process and try again."
    )


def draining() -> Draining:
    return Draining(
        "This replica is about to end and takes no more threads; connect again, and another one serves you."
    )


def thread_unknown(thread_id: str) -> StorageError:
    return StorageError(f"Thread {thread_id} is not in the log; create it before appending to it.")


def thread_exists(thread_id: str) -> StorageError:
    return StorageError(f"Thread {thread_id} is in the log already; append to it, or take a new id.")


def storage_closed() -> StorageError:
    return StorageError("The storage was closed; start the server again to read or write threads.")


def blob_missing(sha256: str) -> BlobMissing:
    return BlobMissing(f"Picture {sha256} is not there any more; attach or generate it again.")


def blob_altered(sha256: str, path: str) -> BlobAltered:
    return BlobAltered(
        f"Picture {sha256} at {path} was changed after it was stored; attach the changed file as a new picture."
    )
