"""What a cluster run must not show: records lost or doubled, turns run twice or left open, texts or pictures in part.

Pure: the database as it was left, what each client saw, what the provider was asked, and which replicas were taken
away. Every fault is one line that says what is needed to understand it. `latency.py` has the times.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from app_server.storage import records as kinds
from tests.cluster.client import Seen
from tests.cluster.stored import Provided, StoredThread
from tests.cluster.words import is_part, key_of, picture, whole_text

SHOWN_LIVE_ONLY: Final = frozenset({"result", "thumbnail"})
"""Members of an item that are made for a client and never stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPicture:
    """A picture that a finished item says was made."""

    thread_id: str
    item_id: str
    sha256: str
    key: str


def faults(threads: Mapping[str, StoredThread], seen: Sequence[Seen], provided: Provided) -> list[str]:
    """Everything that is wrong; empty for a good run."""
    found: list[str] = []
    for thread in threads.values():
        found += log_faults(thread)
    for one in seen:
        found += client_faults(one, threads.get(one.thread_id))
    return [*found, *provider_faults(threads, provided)]


# -- the log
def log_faults(thread: StoredThread) -> Iterator[str]:
    """Seq without gaps, turns and items with one end each and nothing behind it, texts as the provider said them."""
    name, seqs = f"thread {thread.thread_id}", [record.seq for record in thread.records]
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"{name}: its records are not numbered 1 to {len(seqs)}: {_first_gap(seqs)}"
    if thread.lease_last_seq != len(seqs):
        yield f"{name}: the lease says last_seq {thread.lease_last_seq}, and there are {len(seqs)} records"
    yield from _turn_faults(name, thread)
    yield from _item_faults(name, thread)


def _first_gap(seqs: Sequence[int]) -> str:
    return next((f"{seq} in place {place}" for place, seq in enumerate(seqs, 1) if seq != place), "")


def _turn_faults(name: str, thread: StoredThread) -> Iterator[str]:
    running: set[str] = set()
    ended: set[str] = set()
    for record in thread.records:
        turn_id = record.data.get("turnId")
        if turn_id is None:
            continue
        where = f"{name}: turn {turn_id}, record {record.seq} ({record.kind})"
        if record.kind == kinds.TURN_STARTED:
            if turn_id in running or turn_id in ended:
                yield f"{where}: it began before"
            if running:
                yield f"{where}: it began while {sorted(running)} ran"
            running.add(turn_id)
        elif turn_id in ended:
            yield f"{where}: the turn had ended"
        elif turn_id not in running:
            yield f"{where}: the turn had not begun"
        if record.kind == kinds.TURN_COMPLETED:
            running.discard(turn_id)
            ended.add(turn_id)
            if record.data["status"] == "failed":
                yield f"{where}: it failed: {record.data['error']}"
            elif record.data["status"] == "interrupted" and record.data.get("reason") != "ownerLost":
                yield f"{where}: it was interrupted, and nobody asked for that"
    for turn_id in sorted(running):
        yield f"{name}: turn {turn_id} was left open"


def _item_faults(name: str, thread: StoredThread) -> Iterator[str]:
    started = Counter(r.data["item"]["id"] for r in thread.records if r.kind == kinds.ITEM_STARTED)
    completed = Counter(r.data["item"]["id"] for r in thread.records if r.kind == kinds.ITEM_COMPLETED)
    for item_id in sorted(started.keys() | completed.keys()):
        if (started[item_id], completed[item_id]) != (1, 1):
            yield f"{name}: item {item_id} began {started[item_id]} times and ended {completed[item_id]} times"
    for record in thread.records:
        if record.kind == kinds.ITEM_COMPLETED and (fault := text_fault(record.data["item"])) is not None:
            yield f"{name}: record {record.seq}: {fault}"


def text_fault(item: Mapping[str, Any]) -> str | None:
    """What is wrong with the text of a message: it is whole, or a part where the item says that it was dropped."""
    if item["type"] != "agentMessage":
        return None
    text = str(item["text"])
    key = key_of_text(text)
    if item.get("status") == "dropped":
        return None if not text or is_part(text, of=key) else f"a dropped message is no part of one: {text[:200]!r}"
    return None if text == whole_text(key) else f"a message is not whole: {len(text)} characters: {text[:200]!r}"


def key_of_text(text: str) -> str:
    """The key of a message, by its first piece."""
    return text.split(" ", 1)[0].rpartition(".")[0]


# -- what clients saw
def client_faults(seen: Seen, thread: StoredThread | None) -> Iterator[str]:
    """All that has a record, once and in order; items as they are stored; every acknowledged turn."""
    name = f"client {seen.name} of thread {seen.thread_id}"
    if thread is None:
        yield f"{name}: its thread is not stored"
        return
    yield from (f"{name}: still waited for {what}" for what in seen.stuck)
    yield from (f"{name}: {method} with seq {seq} came again" for seq, method in seen.doubled)
    told = [row for row in thread.told() if seen.start_seq < row[0] <= seen.last_seq]
    if told != seen.rows:
        missing, more = sorted(set(told) - set(seen.rows)), sorted(set(seen.rows) - set(told))
        yield f"{name}: up to seq {seen.last_seq} it missed {missing[:10]} and saw {more[:10]} that is not in the log"
    stored = {r.seq: r.data["item"] for r in thread.records if r.kind == kinds.ITEM_COMPLETED}
    for seq, item in seen.items.items():
        if (kept := stored.get(seq)) is None or _plain(kept) != _plain(item):
            yield f"{name}: item {item['id']} at seq {seq} was shown as {_plain(item)}, and is stored as {kept}"
    for streamed, whole in seen.streamed:
        key = key_of_text(whole or streamed)
        if streamed and not is_part(streamed, of=key):
            yield f"{name}: the pieces of the message of {key} came twice or out of order: {streamed[:300]!r}"
    begun = {r.data["turnId"] for r in thread.records if r.kind == kinds.TURN_STARTED}
    for turn_id, key in seen.acknowledged.items():
        if turn_id not in begun:
            yield f"{name}: turn {turn_id} ({key}) was acknowledged, and is not in the log"


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in SHOWN_LIVE_ONLY}


# -- what the provider was asked
def provider_faults(threads: Mapping[str, StoredThread], provided: Provided) -> Iterator[str]:
    """No turn runs twice, nothing is paid twice, and what was paid for is told."""
    for what, counts in (("answer", provided.asked), ("go on", provided.went_on), ("draw", provided.drawn)):
        yield from (f"the provider was asked {n} times to {what} for {key}" for key, n in counts.items() if n > 1)
    yield from (f"the provider was asked for {path}" for path in provided.unscripted)
    items = {key_of(str(item.get("prompt"))): item for item in picture_items(threads.values())}
    for key in provided.drawn:
        if (item := items.get(key)) is None:
            yield f"a picture was asked for {key}, and no item says so"
        elif item["status"] != "completed" and (item.get("error") or {}).get("type") != "unknownOutcome":
            yield f"the picture of {key} may be paid for, and its item says {item['status']}, {item.get('error')}"


def picture_items(threads: Iterable[StoredThread]) -> Iterator[Mapping[str, Any]]:
    for thread in threads:
        for record in thread.records:
            if record.kind == kinds.ITEM_COMPLETED and record.data["item"]["type"] == "imageGeneration":
                yield record.data["item"]


def stored_pictures(threads: Mapping[str, StoredThread]) -> list[StoredPicture]:
    """The pictures that must be readable now."""
    return [
        StoredPicture(
            thread_id=thread.thread_id,
            item_id=item["id"],
            sha256=item["sha256"],
            key=key_of(item["prompt"]) or "",
        )
        for thread in threads.values()
        for item in picture_items([thread])
        if item["status"] == "completed"
    ]


def picture_fault(stored: StoredPicture, data: bytes) -> str | None:
    """What is wrong with the bytes that a replica gave for it."""
    found, made = hashlib.sha256(data).hexdigest(), hashlib.sha256(picture(stored.key)).hexdigest()
    if found == stored.sha256 == made:
        return None
    return (
        f"the picture of {stored.key} (thread {stored.thread_id}, item {stored.item_id}): its record says sha256 "
        f"{stored.sha256}, {len(data)} bytes with {found} were read, and {made} was made"
    )
