"""Owns what clients have open here: commands, watches, searches. Each counts on its connection, and ends with it.

`Workspace` is the process's, `Belongings` one connection's. `methods/fs`, `methods/command` and `methods/search` call.

    the client goes away   commands with a process id end at once, others may finish within `CLOSING_GRACE_S`: a script
                           that closes its end right after its requests still gets the answers;
                           watches and searches end, nothing more is told
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from app_server.errors import InvalidRequest
from app_server.workspace.process import Command, Emit, Finished
from app_server.workspace.search import Candidate, Stop, list_paths
from app_server.workspace.search import search as search_paths
from app_server.workspace.search_session import Files, Report, SearchSession
from app_server.workspace.watch import FileWatcher, Watch

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.workspace.command_plan import CommandPlan

T = TypeVar("T")
MAX_COMMANDS: Final = 32
MAX_WATCHES: Final = 64
MAX_SEARCHES: Final = 8
"""Each for one connection."""
CLOSING_GRACE_S: Final = 2.0
_FILE_WORKERS: Final = 8
_SEARCH_WORKERS: Final = 2


class Workspace:
    """What all connections share: the environment of commands, the workers, the watcher."""

    def __init__(self, *, env: Mapping[str, str], cwd: Path, tasks: TaskGroup) -> None:
        self.env, self.cwd, self.tasks = env, cwd, tasks
        self.watcher = FileWatcher(tasks)
        self.search_worker = anyio.CapacityLimiter(_SEARCH_WORKERS)
        self._file_worker = anyio.CapacityLimiter(_FILE_WORKERS)
        self._clients: dict[int, Belongings] = {}

    def of(self, connection_id: int, on_close: Callable[[Callable[[], None]], None]) -> Belongings:
        """The belongings of a connection; the first call has them closed with it."""
        if (known := self._clients.get(connection_id)) is not None:
            return known
        made = self._clients[connection_id] = Belongings(self)
        on_close(partial(self._close, connection_id))
        return made

    async def in_thread(self, job: Callable[[], T]) -> T:
        """Run blocking work on files."""
        return await anyio.to_thread.run_sync(job, limiter=self._file_worker)

    def listing(self, roots: Sequence[str]) -> Callable[[Stop], list[Candidate]]:
        """What lists the paths below these roots; a relative root lies below the server's folder."""
        named = [(root, os.path.join(self.cwd, root)) for root in roots]
        return lambda stop: list_paths(named, self.env, stop)

    def _close(self, connection_id: int) -> None:
        self._clients.pop(connection_id).close()


class Belongings:
    """One connection's commands, watches and searches."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._commands: dict[str | int, Command] = {}
        self._started = 0
        self._watches: dict[str, Watch] = {}
        self._sessions: dict[str, SearchSession] = {}
        self._searches: dict[str | int, Event] = {}
        self._closed = False

    def close(self) -> None:
        """The client is gone."""
        self._closed = True
        for command in self._commands.values():
            command.end(after_s=CLOSING_GRACE_S if command.plan.process_id is None else 0.0)
        for watch_id in list(self._watches):
            self.unwatch(watch_id)
        for session_id in list(self._sessions):
            self.stop_search(session_id)
        for search in self._searches.values():
            search.set()

    # -- commands
    async def run(self, plan: CommandPlan, emit: Emit) -> Finished:
        """Run a command to its end. Raises RpcError."""
        if plan.process_id in self._commands:
            raise InvalidRequest(
                f'duplicate active command/exec process id: "{plan.process_id}"; choose another one.',
                data_code="duplicateProcessId",
            )
        _require_room(len(self._commands), MAX_COMMANDS, "commands run; wait for one to end, or terminate one")
        self._started += 1
        key = self._started if plan.process_id is None else plan.process_id
        self._commands[key] = command = Command(plan, emit)
        if self._closed:
            command.end(after_s=CLOSING_GRACE_S if plan.process_id is None else 0.0)
        try:
            return await command.run()
        finally:
            del self._commands[key]

    def command(self, process_id: str) -> Command:
        """A command that runs. Raises InvalidRequest."""
        found = self._commands.get(process_id)
        if found is None:
            raise InvalidRequest(
                f'no active command/exec for process id "{process_id}": it has ended, or was not started on this '
                "connection.",
                data_code="unknownProcess",
            )
        return found

    # -- watches
    async def watch(self, watch_id: str, path: Path, changed: Callable[[tuple[str, ...]], None]) -> None:
        """Watch a path from now on. Raises InvalidRequest."""
        if watch_id in self._watches:
            message = f"watchId already exists: {watch_id}; choose another one, or fs/unwatch it first."
            raise InvalidRequest(message, data_code="duplicateWatchId")
        _require_room(len(self._watches), MAX_WATCHES, "paths are watched; fs/unwatch one")
        self._watches[watch_id] = watch = Watch(path=path, changed=changed)
        try:
            await self._workspace.watcher.add(watch)
        finally:
            if watch.seen is None or self._closed:
                self._watches.pop(watch_id, None)
            if self._watches.get(watch_id) is not watch:  # not begun, taken back, or the client is gone
                self._workspace.watcher.drop(watch)

    def unwatch(self, watch_id: str) -> None:
        """Tell no more of it; harmless when it is not watched."""
        if (watch := self._watches.pop(watch_id, None)) is not None:
            self._workspace.watcher.drop(watch)

    # -- searches
    async def search(self, query: str, roots: Sequence[str], token: str | None) -> Files:
        """Search once; a search that runs with the same token ends."""
        with self._stopper(token) as stop:
            listing = self._workspace.listing(roots) if query.strip() else lambda _: []
            return await anyio.to_thread.run_sync(
                lambda: search_paths(listing(stop), query, stop),
                limiter=self._workspace.search_worker,
                abandon_on_cancel=True,
            )

    @contextmanager
    def _stopper(self, token: str | None) -> Iterator[Stop]:
        self._started += 1
        key, stop = self._started if token is None else token, Event()
        if (earlier := self._searches.pop(key, None)) is not None:
            earlier.set()
        self._searches[key] = stop
        try:
            yield stop.is_set
        finally:
            stop.set()
            if self._searches.get(key) is stop:
                del self._searches[key]

    def start_search(self, session_id: str, roots: Sequence[str], report: Report) -> None:
        """Start a session, in place of one with the same id. Raises InvalidRequest."""
        if not session_id:
            raise InvalidRequest("sessionId must not be empty: choose one.", data_code="emptySessionId")
        self.stop_search(session_id)
        _require_room(len(self._sessions), MAX_SEARCHES, "search sessions are open; fuzzyFileSearch/sessionStop one")
        session = SearchSession(self._workspace.listing(roots), report, self._workspace.search_worker)
        self._sessions[session_id] = session
        if not self._closed:
            self._workspace.tasks.start_soon(session.run)

    def update_search(self, session_id: str, query: str) -> None:
        """Search a session's roots for this from now on. Raises InvalidRequest."""
        session = self._sessions.get(session_id)
        if session is None:
            raise InvalidRequest(
                f"fuzzy file search session not found: {session_id}; open it with fuzzyFileSearch/sessionStart.",
                data_code="unknownSearch",
            )
        session.update(query)

    def stop_search(self, session_id: str) -> None:
        """End a session; harmless when there is none."""
        if (session := self._sessions.pop(session_id, None)) is not None:
            session.stop()


def _require_room(count: int, limit: int, open_ones: str) -> None:
    if count >= limit:
        raise InvalidRequest(f"{limit} {open_ones} first.", data_code="tooManyOpen")
