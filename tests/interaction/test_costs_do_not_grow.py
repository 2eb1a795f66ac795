"""What must not grow: a turn with its thread's history, a page of threads with the store, memory with unread output.

Counted, never timed: bytecodes of our own code in the event loop's thread, steps of SQLite's machine, bytes, frames.
What C does with a history (joining what was encoded before) is not counted, and what is not there cannot grow.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, get_args

import anyio
import orjson
import pytest

from app_server.bootstrap import App
from app_server.rpc.delta import Delta
from app_server.rpc.outbox import DELTA_LIMIT_BYTES, MERGE_FROM_BYTES, Outbox
from app_server.storage.base import ThreadQuery, ThreadRow, ThreadSortKey
from app_server.storage.local.queries import INSERT_ROW, page_statement, row_values
from app_server.storage.local.schema import connect_reader, connect_writer
from app_server.transport.base import MessageStream, StreamClosed
from app_server.transport.memory import memory_pair
from tests.interaction.conversation import CLIENT_INFO, run_turn, start_thread
from tests.support.server import make_home, running, serving
from tests.support.upstream import ScriptedUpstream, text_turn

pytestmark = pytest.mark.anyio

OUR_CODE = tuple(str(Path(__file__).parents[2] / package) for package in ("app_server", "extensions", "features"))
EARLY, LATE = 10, 50
ITEMS_OF_A_TURN = 2
FEW, MANY = 100, 1000
QUESTION = orjson.dumps({"id": 1, "method": "model/list", "params": {}})


@contextmanager
def counted(work: Counter[str]) -> Iterator[None]:
    """Count the bytecodes that our own functions execute in this thread."""

    def enter(frame: FrameType, _event: str, _arg: Any) -> Any:
        if not frame.f_code.co_filename.startswith(OUR_CODE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        name = f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_qualname}"

        def step(_frame: FrameType, event: str, _arg: Any) -> Any:
            work[name] += event == "opcode"
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def grown(early: Counter[str], late: Counter[str], times: int) -> dict[str, int]:
    """Functions that did more, later: bytecodes for each of the things that were added, where there is at least one."""
    return {name: more // times for name, more in sorted((late - early).items()) if more >= times}


async def test_a_turn_costs_the_same_however_long_its_thread_is(tmp_path: Path) -> None:
    work: dict[int, Counter[str]] = {EARLY: Counter(), LATE: Counter()}
    async with ScriptedUpstream() as up, serving(make_home(tmp_path, up.base_url)) as (_, client):
        thread_id = await start_thread(client)
        for turn in range(1, LATE + 1):
            up.queue.append(text_turn(f"r{turn}", "Hello you."))
            with counted(work[turn]) if turn in work else nullcontext():
                await run_turn(client, thread_id)
                await anyio.wait_all_tasks_blocked()
        sizes = [len(request.body["input"]) for request in up.posts()]
    assert sizes[LATE - 1] - sizes[EARLY - 1] == (LATE - EARLY) * ITEMS_OF_A_TURN
    assert work[EARLY].total() > 1000  # something was counted
    assert grown(work[EARLY], work[LATE], (LATE - EARLY) * ITEMS_OF_A_TURN) == {}


async def test_a_turn_of_one_message_syncs_the_disk_four_times(tmp_path: Path) -> None:
    """Its begin with the user's words, the begin of the answer, the answer, the tokens with its end."""
    async with ScriptedUpstream() as up:
        home = make_home(tmp_path, up.base_url)
        async with serving(home) as (_, client):
            up.queue += [text_turn("r1", "Hello you."), text_turn("r2", "Hello again.")]
            thread_id = await start_thread(client)
            for _ in range(2):
                await run_turn(client, thread_id)
    copy = (home.home / "copies" / f"{thread_id}.jsonl").read_bytes()
    ends = [orjson.loads(line)["end"] for line in copy.splitlines() if line.startswith(b'{"end"')]
    assert ends == [1, 5, 6, 8, 10, 14, 15, 17, 19]


def thread_id_of(number: int) -> str:
    return f"019a0000-0000-7000-8000-{number:012d}"


def store_threads(path: Path, count: int) -> None:
    """So many listed threads, as they stand in the index."""
    connection = connect_writer(path)
    rows = [
        ThreadRow(
            thread_id=thread_id_of(number),
            created_at_ms=number,
            updated_at_ms=number,
            recency_at_ms=number,
            listed=True,
            preview="Hello",
            cwd="/work",
            source="vscode",
            model="gpt-5.5",
            model_provider="fake",
        )
        for number in range(count)
    ]
    connection.execute("BEGIN")
    connection.executemany(INSERT_ROW, [row_values(row) for row in rows])
    connection.execute("COMMIT")
    connection.close()


def machine_steps(path: Path, query: ThreadQuery) -> int:
    """Steps of SQLite's virtual machine for a page; a walk over the whole table takes some for every row."""
    connection = connect_reader(path)
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(step, 1)
    rows = connection.execute(*page_statement(query)).fetchall()
    connection.close()
    assert len(rows) == query.limit + 1
    return steps


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("in_the_middle", [False, True])
@pytest.mark.parametrize("sort_key", get_args(ThreadSortKey))
def test_the_database_takes_the_same_steps_for_a_page_of_any_store(
    tmp_path: Path, sort_key: ThreadSortKey, in_the_middle: bool, descending: bool
) -> None:
    steps = []
    for count in (FEW, MANY):
        after = (count // 2, thread_id_of(count // 2)) if in_the_middle else None
        store_threads(tmp_path / f"{count}.sqlite", count)
        query = ThreadQuery(limit=25, sort_key=sort_key, descending=descending, after=after)
        steps.append(machine_steps(tmp_path / f"{count}.sqlite", query))
    assert steps[0] == steps[1]


async def test_a_page_of_threads_costs_the_same_however_many_are_stored(tmp_path: Path) -> None:
    work = []
    for count in (FEW, MANY):
        async with ScriptedUpstream() as up:
            home = make_home(tmp_path / str(count), up.base_url)
            store_threads(home.home / "state.sqlite", count)
            async with serving(home) as (_, client):
                page = await client.request("thread/list", {"limit": 25})
                work.append(Counter[str]())
                with counted(work[-1]):
                    assert await client.request("thread/list", {"limit": 25}) == page
        assert len(page["data"]) == 25
    assert work[0].total() > 1000  # something was counted
    assert grown(work[0], work[1], MANY - FEW) == {}


class NobodyReads:
    """A client that takes nothing."""

    transport = "memory"

    async def receive(self) -> bytes:
        raise StreamClosed

    async def send(self, frames: Sequence[bytes]) -> None:
        raise AssertionError("nothing is sent: the outbox does not run")

    async def aclose(self) -> None:
        pass


def piece(text: str) -> Delta:
    return Delta("item/agentMessage/delta", {"threadId": "t", "turnId": "u", "itemId": "i", "delta": text}, lambda: 0)


@contextmanager
def traced_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def test_unread_text_takes_no_more_memory_from_a_limit_on() -> None:
    outbox = Outbox(NobodyReads())
    pieces = [piece("x" * 8000 + str(number)) for number in range(DELTA_LIMIT_BYTES // 8000 + 100)]
    for each in pieces:
        outbox.put_delta(each)
    assert outbox.dropped_deltas > 0
    queued_bytes = outbox.queued_bytes
    with traced_memory():
        for number in range(2000):
            outbox.put_delta(piece("y" * 8000 + str(number)))
        assert tracemalloc.get_traced_memory()[0] < 100_000
    assert outbox.queued_bytes == queued_bytes


def test_small_unread_pieces_take_the_memory_that_is_counted_for_them() -> None:
    outbox = Outbox(NobodyReads())
    while outbox.queued_bytes < MERGE_FROM_BYTES:
        outbox.put_delta(piece("word"))
    before_bytes = outbox.queued_bytes
    with traced_memory():
        for number in range(10_000):
            outbox.put_delta(piece(f"{number:04d}"))
        taken_bytes = tracemalloc.get_traced_memory()[0]
    assert taken_bytes < 2 * (outbox.queued_bytes - before_bytes)


class Counting:
    """The server's end of a stream, which counts the frames that the server took."""

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream
        self.taken = 0

    @property
    def transport(self) -> str:
        return self._stream.transport

    async def receive(self) -> bytes:
        frame = await self._stream.receive()
        self.taken += 1
        return frame

    async def send(self, frames: Sequence[bytes]) -> None:
        await self._stream.send(frames)

    async def aclose(self) -> None:
        await self._stream.aclose()


@asynccontextmanager
async def client_that_never_reads(app: App) -> AsyncIterator[tuple[MessageStream, Counting]]:
    ours, theirs = memory_pair()
    counting = Counting(theirs)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(app.serve, counting)
        hello = orjson.dumps({"id": 0, "method": "initialize", "params": {"clientInfo": CLIENT_INFO}})
        await ours.send([hello, QUESTION])
        while orjson.loads(await ours.receive()).get("id") != 1:  # whatever a fresh client is told beside
            pass
        yield ours, counting
        await ours.aclose()


async def test_a_client_that_reads_no_answers_is_asked_for_no_more_questions(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream() as up,
        running(make_home(tmp_path, up.base_url)) as app,
        client_that_never_reads(app) as (client, server),
    ):
        taken = []
        for _ in range(2):
            await client.send([QUESTION] * 2000)
            await anyio.wait_all_tasks_blocked()
            taken.append(server.taken)
    assert taken[0] == taken[1]
