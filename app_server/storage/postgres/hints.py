"""Hints as the payloads of NOTIFY: how they are written, parted and read. Pure.

A payload has a head, which names the sender, the round and the part, so that no two payloads are equal (PostgreSQL
delivers equal ones of a transaction once); then a line of JSON for each hint:

    ["tenant", "thread", seq]                        the thread's log has grown to seq
    ["tenant", "thread", seq, "kind", "key", {…}]    any other hint; the tenant is null when it is for all

Called by the writer's side (`appends`, `rounds`) and by `hearing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, get_args

import orjson

from app_server.storage.cluster import Hint, HintKind
from app_server.values import frozen

CHANNEL: Final = "app_server"
_KINDS: Final = frozenset(get_args(HintKind))
"""A newer replica may know more."""
MAX_HINT_BYTES: Final = 7000
"""NOTIFY takes 7,999 bytes; the head needs some."""


def hint_line(tenant: str | None, hint: Hint) -> str | None:
    """The line of a hint; None where it is too large or no JSON, so it is left out."""
    try:
        line = orjson.dumps((tenant, hint.thread_id, hint.seq, hint.kind, hint.key, dict(hint.data)))
    except orjson.JSONEncodeError:
        return None
    return line.decode() if len(line) <= MAX_HINT_BYTES else None


def records_line(tenant: str, thread_id: str) -> str:
    """The line of a grown log up to where its seq stands; `]` follows that."""
    return orjson.dumps((tenant, thread_id)).decode()[:-1] + ","


def head(replica: str, number: int) -> str:
    """The head up to where the number of the part stands; a line break follows that."""
    return f"{replica} {number} "


def parts(sizes: Sequence[int]) -> list[int]:
    """Which part each line goes into, 0, 1, 2 …, by the bytes of the lines."""
    part, used = 0, 0
    placed: list[int] = []
    for size in sizes:
        if used and used + size + 1 > MAX_HINT_BYTES:
            part, used = part + 1, 0
        used += size + 1
        placed.append(part)
    return placed


def payloads(replica: str, number: int, lines: Sequence[str]) -> list[str]:
    """The lines as payloads, in order."""
    placed = parts([len(line.encode()) for line in lines])
    return [
        "\n".join(
            [f"{head(replica, number)}{part}", *(line for line, at in zip(lines, placed, strict=True) if at == part)]
        )
        for part in range(placed[-1] + 1 if placed else 0)
    ]


@frozen
class Heard:
    """A hint and whom it is for: None is everybody."""

    tenant: str | None
    hint: Hint


def read_payload(payload: str, *, ours: str) -> Iterator[Heard]:
    """The hints of a payload, unless `ours` is who sent it. What else is in the channel is passed over."""
    first, *lines = payload.split("\n")
    if first.partition(" ")[0] == ours:
        return
    for line in lines:
        try:
            match orjson.loads(line):
                case [str(tenant), str(thread_id), int(seq)]:
                    yield Heard(tenant=tenant, hint=Hint(kind="records", thread_id=thread_id, seq=seq))
                case [str() | None as told, str(thread_id), int(seq), kind, str(key), dict(data)] if kind in _KINDS:
                    yield Heard(tenant=told, hint=Hint(kind=kind, thread_id=thread_id, seq=seq, key=key, data=data))
        except orjson.JSONDecodeError:
            continue
