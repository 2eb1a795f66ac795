"""Owns one search that follows a person's typing: the paths are listed once, the latest query is answered.

The first answer, to an empty query where none came yet, says that the paths are listed.

A query that comes while an earlier one is searched takes its place; the earlier one is not reported any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import anyio
import anyio.to_thread

from app_server.workspace.search import Candidate, Stop, search

if TYPE_CHECKING:
    from app_server.protocol.search import FuzzyFileSearchResult

T = TypeVar("T")
Files: TypeAlias = "tuple[FuzzyFileSearchResult, ...]"
Listing = Callable[[Stop], list[Candidate]]
"""Blocking: the paths of the roots."""


class Report(Protocol):
    """Takes what a query found; must not wait."""

    def __call__(self, query: str, files: Files) -> None: ...


class SearchSession:
    """`run` is its task; it ends with `stop`."""

    def __init__(self, listing: Listing, report: Report, worker: anyio.CapacityLimiter) -> None:
        self._listing, self._report, self._worker = listing, report, worker
        self._scope = anyio.CancelScope()
        self._stopped, self._superseded = Event(), Event()
        self._query = ""
        self._asked = anyio.Event()
        self._asked.set()

    def update(self, query: str) -> None:
        """Search for this from now on."""
        self._query = query
        self._superseded.set()
        self._asked.set()

    def stop(self) -> None:
        """Report nothing any more and end."""
        self._stopped.set()
        self._superseded.set()
        self._scope.cancel()

    async def run(self) -> None:
        """List the paths, then answer one query after another."""
        with self._scope:
            candidates = await self._in_thread(partial(self._listing, self._stopped.is_set))
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                await self._answer(candidates)

    async def _answer(self, candidates: Sequence[Candidate]) -> None:
        query = self._query
        self._superseded = superseded = Event()
        files = await self._in_thread(partial(search, candidates, query, superseded.is_set))
        if not superseded.is_set():
            self._report(query, files)

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(job, limiter=self._worker, abandon_on_cancel=True)
