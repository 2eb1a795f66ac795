"""Every thread of a home of the reference, made anew from its rollouts and brought into a storage.

A thread keeps its id, so that a second run finds it: what has come since is appended, and one that people went on with
here is left as it is. Lines that are damaged or mean nothing to us are counted, and the rest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from app_server.moving.pictures_inside import PicturesInside
from app_server.moving.report import LEFT_ALONE, Report, Tell
from app_server.moving.rollout_files import (
    Line,
    Rollout,
    Segment,
    find_rollouts,
    newest,
    read_lines,
    segments,
    thread_names,
)
from app_server.moving.rollout_thread import RolloutThread
from app_server.moving.target import Expected, compare, put_thread, seal, verify
from app_server.storage.base import Record, ThreadRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app_server.moving.report import Outcome
    from app_server.moving.target import Read
    from app_server.storage.base import Storage

_LINES_AT_ONCE: Final = 50
"""A line may hold a picture of many megabytes."""
_SOURCES: Final = {"cli": "cli", "vscode": "vscode", "exec": "exec", "mcp": "appServer"}
_SUB_AGENTS: Final = "A thread of a sub-agent or a review is no thread of its own here and was left out."
_DAMAGED: Final = "A damaged line was skipped."


async def move_codex(home: Path, target: Storage | None, tell: Tell, *, default_model: str) -> Report:
    """Move all threads; without a target they are only counted. Raises AppServerError; run again to go on."""
    move = _Move(home, target, default_model)
    await move.run(tell)
    return move.report


class _Move:
    def __init__(self, home: Path, target: Storage | None, default_model: str) -> None:
        self.report = Report(source=str(home), dry_run=target is None)
        self._home, self._target, self._default_model = home, target, default_model
        self._rollouts: Sequence[Rollout] = ()
        self._names: Mapping[str, str] = {}

    async def run(self, tell: Tell) -> None:
        self._rollouts = await anyio.to_thread.run_sync(find_rollouts, self._home)
        self._names = await anyio.to_thread.run_sync(thread_names, self._home)
        if sub_agents := sum(rollout.is_sub_agent for rollout in self._rollouts):
            self.report.notes[_SUB_AGENTS] = sub_agents
        threads = newest(self._rollouts)
        self.report.total = len(threads)
        moved: dict[str, Expected] = {}
        for rollout in threads:
            if (expected := await self._thread(rollout)) is not None:
                moved[rollout.thread_id] = expected
            tell(self.report)
        for thread_id, expected in moved.items():
            assert self._target is not None  # else nothing was moved
            await verify(self._target, thread_id, expected, self.report)
            tell(self.report)

    async def _thread(self, rollout: Rollout) -> Expected | None:
        target, thread_id = self._target, rollout.thread_id
        known = target is not None and await target.log.row(thread_id) is not None
        made, inside = await self._made(rollout, put_known=not known)
        outcome: Outcome | None = None
        if target is not None and known:
            found = await compare(target.log, thread_id, _reader(made.records))
            outcome = "differs" if not found.alike else "present" if found.source_ends else None
            if outcome is None:  # its new pictures become its own, too
                made, inside = await self._made(rollout, put_known=True)
        self._count(made, inside)
        if target is None:
            return None
        if outcome is None:
            outcome = await put_thread(target, self._row(rollout, made), _reader(made.records))
        self.report.ended(thread_id, outcome)
        if outcome in LEFT_ALONE:
            return None
        return Expected(seal=await seal(_reader(made.records)), pictures=[ref.sha256 for ref in inside.refs])

    async def _made(self, rollout: Rollout, *, put_known: bool) -> tuple[RolloutThread, PicturesInside]:
        """The thread of a rollout, its pictures in the target."""
        made = RolloutThread(rollout.thread_id, rollout.meta, default_model=self._default_model)
        inside = PicturesInside(rollout.thread_id, self._home, self._target, put_known=put_known)
        chain, missing = segments(rollout, self._rollouts)
        if missing is not None:
            inside.notes[f"Thread {made.thread_id} begins in thread {missing}, which is not there."] += 1
        lines = _lines(chain)
        clean = 0
        while batch := await anyio.to_thread.run_sync(lambda: list(islice(lines, _LINES_AT_ONCE))):
            for line in batch:
                if not _taken(made, line):
                    inside.notes[_DAMAGED] += 1
            for place in range(clean, len(made.records)):
                made.records[place] = await inside.cleaned(made.records[place])
            clean = len(made.records)
        made.finish()
        for place in range(clean + 1, len(made.records)):  # its first record now stands before those
            made.records[place] = await inside.cleaned(made.records[place])
        return made, inside

    def _count(self, made: RolloutThread, inside: PicturesInside) -> None:
        self.report.records += len(made.records)
        self.report.pictures += len(inside.refs)
        self.report.picture_bytes += sum(ref.size_bytes for ref in inside.refs)
        self.report.notes.update(inside.notes)
        for kind, count in made.unknown.items():
            self.report.notes[f"Lines of the kind {kind[:80]} mean nothing here and were skipped."] += count

    def _row(self, rollout: Rollout, made: RolloutThread) -> ThreadRow:
        meta, settings = rollout.meta, made.settings
        source = meta.get("source")
        return ThreadRow(
            thread_id=made.thread_id,
            created_at_ms=made.created_ms,
            updated_at_ms=made.updated_ms,
            recency_at_ms=made.recency_ms,
            listed=bool(made.turns),
            archived=rollout.archived,
            name=self._names.get(made.thread_id) or made.name,
            preview=made.preview,
            cwd=settings.cwd,
            source=_SOURCES.get(source, "unknown") if isinstance(source, str) else "unknown",
            model=settings.model or self._default_model,
            model_provider=settings.model_provider,
            meta=_row_meta(meta, settings.effort),
        )


def _row_meta(meta: Mapping[str, object], effort: str | None) -> dict[str, object]:
    git = meta.get("git")
    facts = {
        "originator": meta.get("originator") or "codex",
        "cliVersion": meta.get("cli_version"),
        "reasoningEffort": effort,
        "forkedFromId": meta.get("forked_from_id"),
        "threadSource": meta.get("thread_source"),
        "gitInfo": {
            "sha": git.get("commit_hash"),
            "branch": git.get("branch"),
            "originUrl": git.get("repository_url"),
        }
        if isinstance(git, dict)
        else None,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _reader(records: Sequence[Record]) -> Read:
    async def read(after_seq: int, limit: int) -> Sequence[Record]:
        return records[after_seq : after_seq + limit]

    return read


def _lines(chain: Sequence[Segment]) -> Iterator[Line | int]:
    for rollout, end in chain:
        for line in read_lines(rollout.path):
            if isinstance(line, int) or end is None or (line.ordinal is not None and line.ordinal < end):
                yield line


def _taken(made: RolloutThread, line: Line | int) -> bool:
    """Whether a line could be read, and had the shape that its kind has."""
    if isinstance(line, int):
        return False
    try:
        made.take(line)
    except (TypeError, ValueError, KeyError, AttributeError):
        return False
    return True
