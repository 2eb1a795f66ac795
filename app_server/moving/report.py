"""What an import did, thread by thread in numbers, and each thing that is missing by name. `commands` shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from app_server.values import frozen

Outcome = Literal["moved", "resumed", "present", "differs", "held"]
"""new in the target; gone on with where an earlier run or an older state ended; there already, whole; there with other
content, left alone; open in a server of the target, left alone."""

LEFT_ALONE: Final = frozenset({"differs", "held"})
MAX_SHOWN: Final = 20

Tell = Callable[["Report"], None]
"""Called after each thread, with the numbers so far."""


@frozen
class Problem:
    """Something of the source that is not in the target."""

    thread_id: str | None
    sentence: str


@dataclass(slots=True, kw_only=True)
class Report:
    """The numbers grow while the import runs."""

    source: str
    dry_run: bool = False
    total: int = 0
    """Threads of the source."""
    threads: Counter[str] = field(default_factory=Counter)
    """By outcome; in a dry run nothing is tried."""
    records: int = 0
    pictures: int = 0
    picture_bytes: int = 0
    verified_threads: int = 0
    verified_pictures: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    """What a person should know and what is nobody's fault: sentences, and how often."""

    def problem(self, thread_id: str | None, sentence: str) -> None:
        self.problems.append(Problem(thread_id=thread_id, sentence=sentence))

    def ended(self, thread_id: str, outcome: Outcome) -> None:
        """Count a thread; one that was left alone is a problem."""
        self.threads[outcome] += 1
        if outcome == "differs":
            self.problem(thread_id, f"Thread {thread_id} is in the target with other content and was left alone.")
        elif outcome == "held":
            self.problem(thread_id, f"Thread {thread_id} is open in a server of the target; close it and import again.")

    @property
    def done(self) -> int:
        """Threads that had their turn."""
        return sum(self.threads.values())

    @property
    def complete(self) -> bool:
        """Whether all of the source is in the target, and was found there again."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "dryRun": self.dry_run,
            "complete": self.complete,
            "threads": {"total": self.total, **self.threads},
            "records": self.records,
            "pictures": self.pictures,
            "pictureBytes": self.picture_bytes,
            "verified": {"threads": self.verified_threads, "pictures": self.verified_pictures},
            "problems": [{"threadId": one.thread_id, "sentence": one.sentence} for one in self.problems],
            "notes": [{"sentence": sentence, "count": count} for sentence, count in self.notes.items()],
        }

    def lines(self) -> list[str]:
        """For a person."""
        shown = [problem.sentence for problem in self.problems[:MAX_SHOWN]]
        more = len(self.problems) - len(shown)
        return [
            f"{self.source}: {self.total} threads, {self.records} records, {self.pictures} pictures "
            f"({self.picture_bytes} bytes)",
            *([] if self.dry_run else self._done_lines()),
            *(
                f"note: {sentence}" + (f" ({count} times)" if count > 1 else "")
                for sentence, count in self.notes.items()
            ),
            *(f"MISSING: {sentence}" for sentence in shown),
            *([f"MISSING: {more} more; --json names them all"] if more else []),
            self._verdict(),
        ]

    def _done_lines(self) -> list[str]:
        words: tuple[tuple[Outcome, str], ...] = (
            ("moved", "new in the target"),
            ("resumed", "gone on with"),
            ("present", "there already"),
            ("differs", "there with other content, left alone"),
            ("held", "open in a server, left alone"),
        )
        told = ", ".join(f"{self.threads[word]} {text}" for word, text in words if self.threads[word])
        return [
            f"threads: {told or 'none'}",
            f"verified by sha256: {self.verified_threads} threads, {self.verified_pictures} pictures",
        ]

    def _verdict(self) -> str:
        if self.dry_run:
            return "Nothing was written: this was a dry run."
        return "Everything is there." if self.complete else f"{len(self.problems)} things are missing."
