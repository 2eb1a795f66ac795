"""The reference's files: which rollouts a home has, which of them begins where, and their lines. Blocking; only reads.

    sessions/YYYY/MM/DD/rollout-<time>-<thread>.jsonl                 one thread
    sessions/YYYY/MM/DD/rollout-<time>-<thread>_<uuid>.jsonl          the same thread, from a revert on
    archived_sessions/rollout-….jsonl                                 archived
    session_index.jsonl                                               names that people gave to threads

A paginated fork, and a thread after a revert, hold only what came later: `history_base` names the thread whose lines
below an ordinal come first. A legacy fork has those lines copied into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson

from app_server.errors import AppServerError
from app_server.ids import parse_uuid
from app_server.values import field, frozen

_NAME = re.compile(r"rollout-.*?-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:_[0-9a-f-]{36})?\.jsonl")
_HEAD_LINES: Final = 16
FOLDERS: Final = ("sessions", "archived_sessions")


class RolloutsUnreadable(AppServerError):
    """The home of the reference, or one of its files, cannot be read."""


@frozen
class Line:
    """One line. `at_ms` is 0 where it bears no time, `ordinal` None in legacy mode."""

    type: str
    payload: Mapping[str, Any]
    at_ms: int = 0
    ordinal: int | None = None


@frozen
class Rollout:
    """One file. meta: the payload of its first line; empty where that line is gone."""

    path: Path
    thread_id: str
    archived: bool
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def begun_ms(self) -> int:
        return time_ms(self.meta.get("timestamp"))

    @property
    def is_sub_agent(self) -> bool:
        """A thread that the reference made for itself, inside of another one: a review, a helper."""
        return isinstance(source := self.meta.get("source"), Mapping) and "subagent" in source


Segment = tuple[Rollout, int | None]
"""A file, and the ordinal before which it is to be read; None: to its end."""


def find_rollouts(home: Path) -> list[Rollout]:
    """All rollouts, in the order of their names. Raises RolloutsUnreadable."""
    if not any((home / folder).is_dir() for folder in FOLDERS):
        raise RolloutsUnreadable(f"{home} has no folder sessions; name a home of codex, as CODEX_HOME does.")
    found = []
    for folder in FOLDERS:
        for path in sorted((home / folder).rglob("rollout-*.jsonl")):
            name = _NAME.fullmatch(path.name)
            meta = _meta(path)
            thread_id = parse_uuid(str(meta.get("id") or (name[1] if name else "")))
            if thread_id is not None:
                archived = folder == "archived_sessions"
                found.append(Rollout(path=path, thread_id=thread_id, archived=archived, meta=meta))
    return found


def newest(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Of each thread the file that goes on; those of sub-agents are left out."""
    last: dict[str, Rollout] = {}
    for rollout in rollouts:
        before = last.get(rollout.thread_id)
        if not rollout.is_sub_agent and (before is None or rollout.begun_ms >= before.begun_ms):
            last[rollout.thread_id] = rollout
    return list(last.values())


def segments(rollout: Rollout, rollouts: Sequence[Rollout]) -> tuple[list[Segment], str | None]:
    """What a thread consists of, oldest first; and the id of the thread whose lines are missing, if any."""
    chain: list[Segment] = [(rollout, None)]
    seen = {rollout.path}
    while isinstance(base := chain[0][0].meta.get("history_base"), Mapping):
        here = chain[0][0]
        base_id = str(base.get("thread_id"))
        older = [
            one
            for one in rollouts
            if one.thread_id == base_id and one.path not in seen and one.begun_ms <= here.begun_ms
        ]
        end = base.get("end_ordinal_exclusive")
        if not older or type(end) is not int:
            return chain, base_id
        chosen = max(older, key=lambda one: one.begun_ms)
        seen.add(chosen.path)
        chain.insert(0, (chosen, end))
    return _bounded(chain), None


def _bounded(chain: Sequence[Segment]) -> list[Segment]:
    """A bound holds for everything before it, too."""
    bounded: list[Segment] = []
    bound: int | None = None
    for rollout, end in reversed(chain):
        bound = end if bound is None else min(bound, end if end is not None else bound)
        bounded.insert(0, (rollout, bound))
    return bounded


def read_lines(path: Path) -> Iterator[Line | int]:
    """The lines of a file; in place of one that is damaged its number. Raises RolloutsUnreadable."""
    try:
        with path.open("rb") as file:
            for number, text in enumerate(file, 1):
                if text.strip():
                    yield _line(text) or number
    except OSError as error:
        raise RolloutsUnreadable(f"{path} cannot be read ({error.strerror}); check its rights and the disk.") from error


def thread_names(home: Path) -> dict[str, str]:
    """The names that people gave to threads; the last one counts."""
    names: dict[str, str] = {}
    path = home / "session_index.jsonl"
    if path.is_file():
        for text in path.read_bytes().splitlines():
            entry = _json(text)
            if isinstance(entry, dict) and isinstance(name := entry.get("thread_name"), str) and name.strip():
                names[str(entry.get("id"))] = name
    return names


def time_ms(text: Any) -> int:
    """Milliseconds since the epoch of an ISO time; 0 for anything else."""
    try:
        at = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return 0
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _meta(path: Path) -> Mapping[str, Any]:
    for count, line in enumerate(read_lines(path)):
        if isinstance(line, Line) and line.type == "session_meta":
            return line.payload
        if count >= _HEAD_LINES:
            break
    return {}


def _line(text: bytes) -> Line | None:
    value = _json(text)
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("payload"), dict)
        or not isinstance(value.get("type"), str)
    ):
        return None
    ordinal = value.get("ordinal")
    return Line(
        type=value["type"],
        payload=value["payload"],
        at_ms=time_ms(value.get("timestamp")),
        ordinal=ordinal if type(ordinal) is int else None,
    )


def _json(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
