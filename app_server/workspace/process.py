"""Owns the course of one command: its time limit, its input queue, the cap of its output, and its end.

    run ─► spawn ─► readers: cut at the cap, then stream or keep
                    feeder: the queue of `write`
         ─► it ends, or time is up, or `end` is called, or the request is cancelled
         ─► what still stands in the pipes ─► the rest of its group is killed ─► Finished

The request that started it owns it: when that is cancelled, so is the command. Nothing that it started in its process
group outlives it. `belongings` runs it.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from app_server.errors import InternalError, InvalidRequest
from app_server.values import frozen
from app_server.workspace.child import Child, Reader, spawn
from app_server.workspace.files import fault_of_system

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.protocol.command import CommandExecOutputStream, CommandExecTerminalSize
    from app_server.workspace.command_plan import CommandPlan

TIMED_OUT: Final = 124
"""The exit code of a command whose time was up, as of the program `timeout`."""
MAX_QUEUED_INPUT_BYTES: Final = 8 * 1024 * 1024
_DRAIN_S: Final = 0.5
"""How long output is awaited when the process has ended and something holds its pipes."""
_DRAIN_ROUNDS: Final = 10


class Emit(Protocol):
    """Takes a piece of output; waits while the client is behind."""

    async def __call__(self, stream: CommandExecOutputStream, data: bytes, cap_reached: bool) -> None: ...


@frozen
class Finished:
    """How a command ended; the outputs are empty where they were streamed."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Command:
    """One command. `run` once; the other methods work while it runs."""

    def __init__(self, plan: CommandPlan, emit: Emit) -> None:
        self.plan, self._emit = plan, emit
        self._until = anyio.CancelScope()
        self._asked_to_end = False
        self._child: Child | None = None
        self._wanted_size: CommandExecTerminalSize | None = None
        self._input: deque[bytes] = deque()
        self._queued_bytes = 0
        self._input_ends = not plan.takes_input
        self._input_broken = False
        self._input_changed = anyio.Event()
        self._kept: dict[CommandExecOutputStream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._open_streams = 0
        self._drained = anyio.Event()
        self._pieces = 0
        self._emitting = 0

    async def run(self) -> Finished:
        """From start to end. Raises InternalError when it cannot be started."""
        try:
            self._child = child = await spawn(self.plan)
        except OSError as error:
            raise _not_started(error, self.plan) from None
        try:
            if self._wanted_size is not None:
                self.resize(self._wanted_size)
            async with anyio.create_task_group() as tasks:
                timed_out = await self._accompany(child, tasks)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await child.end()
            child.kill_group()
            child.close()
            self._child = None
        return Finished(
            exit_code=TIMED_OUT if timed_out else child.exit_code,
            stdout=bytes(self._kept["stdout"]),
            stderr=bytes(self._kept["stderr"]),
        )

    async def _accompany(self, child: Child, tasks: TaskGroup) -> bool:
        """Until it has ended and its output is read; True when its time was up."""
        readers = child.outputs()
        self._open_streams = len(readers)
        for stream, read in readers.items():
            tasks.start_soon(self._collect, stream, read)
        tasks.start_soon(self._feed, child)
        limit_s = math.inf if self.plan.timeout_s is None else self.plan.timeout_s
        self._until.deadline = min(self._until.deadline, anyio.current_time() + limit_s)
        with self._until:
            await child.exited.wait()
        timed_out = not child.exited.is_set() and not self._asked_to_end
        await child.end()
        with anyio.move_on_after(_DRAIN_S):
            await self._drained.wait()
        child.kill_group()
        await self._drain()
        return timed_out

    async def _drain(self) -> None:
        """Read what is left, however slow the client is; something outside the group may hold the pipes for ever."""
        rounds = 0
        while not self._drained.is_set() and rounds < _DRAIN_ROUNDS:
            pieces = self._pieces
            with anyio.move_on_after(_DRAIN_S):
                await self._drained.wait()
            if not self._emitting:
                rounds += 1
                if pieces == self._pieces:
                    return

    async def _collect(self, stream: CommandExecOutputStream, read: Reader) -> None:
        cap, seen, over = self.plan.output_cap_bytes, 0, False
        while data := await read():
            self._pieces += 1
            if over:
                continue  # read and dropped, so that the command does not stand still
            part = data if cap is None else data[: cap - seen]
            seen, over = seen + len(part), len(part) < len(data)
            if self.plan.streams:
                self._emitting += 1
                await self._emit(stream, part, over)
                self._emitting -= 1
            else:
                self._kept[stream] += part
        self._open_streams -= 1
        if not self._open_streams:
            self._drained.set()

    # -- input
    def write(self, data: bytes, *, close: bool) -> None:
        """Queue input; it is fed in order. Raises InvalidRequest."""
        named = f"command/exec process {self.plan.process_id!r}"
        if not self.plan.takes_input:
            message = f"{named} takes no input; start it with `streamStdin: true`."
            raise InvalidRequest(message, data_code="noInput")
        if self._input_ends or self._input_broken:
            raise InvalidRequest(f"{named} takes no more input: its stdin is closed.", data_code="inputClosed")
        if self._queued_bytes + len(data) > MAX_QUEUED_INPUT_BYTES:
            raise InvalidRequest(
                f"{named} has not read the {self._queued_bytes} bytes that wait for it; write again when it has.",
                data_code="inputFull",
            )
        if data:
            self._input.append(data)
            self._queued_bytes += len(data)
        self._input_ends = close
        self._input_changed.set()

    async def _feed(self, child: Child) -> None:
        try:
            while True:
                while self._input:
                    await child.write(self._input[0])
                    self._queued_bytes -= len(self._input.popleft())
                if self._input_ends:
                    await child.close_input()
                    return
                self._input_changed = anyio.Event()
                await self._input_changed.wait()
        except OSError:
            self._input_broken = True  # it closed its stdin, or has ended
            self._input.clear()
            self._queued_bytes = 0

    # -- from outside
    def resize(self, size: CommandExecTerminalSize) -> None:
        """Change the size of its terminal. Raises InvalidRequest, InternalError."""
        terminal = self._child.terminal if self._child is not None else None
        if self.plan.size is None:
            message = f"command/exec process {self.plan.process_id!r} has no terminal; start it with `tty: true`."
            raise InvalidRequest(message, data_code="noTerminal")
        if terminal is None:
            self._wanted_size = size  # it is being started
            return
        try:
            terminal.resize(size)
        except OSError as error:
            raise fault_of_system(error, "The terminal cannot be resized", data_code="terminal") from None

    def end(self, *, after_s: float = 0.0) -> None:
        """End it now, or when it still runs after a while; `run` returns as if it had ended by itself."""
        self._asked_to_end = True
        if after_s:
            self._until.deadline = min(self._until.deadline, anyio.current_time() + after_s)
        else:
            self._until.cancel()


def _not_started(error: OSError, plan: CommandPlan) -> InternalError:
    """The system names the folder as the culprit where it is one; else it is the program."""
    if isinstance(error, FileNotFoundError) and str(error.filename) != str(plan.cwd):
        return InternalError(
            f"{plan.argv[0]} cannot be started in {plan.cwd}: there is no such program, or its interpreter is missing; "
            "check the name and PATH.",
            data_code="notStarted",
        )
    return fault_of_system(error, f"{plan.argv[0]} cannot be started in {plan.cwd}", data_code="notStarted")
