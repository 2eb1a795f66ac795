"""A loaded thread as the sink of its turns: what joins an append, and what of it is known and shown when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
import pytest

from app_server.clock import SystemClock
from app_server.pictures.store import PictureStore
from app_server.storage import records as kinds
from app_server.storage.base import Lease, Record, StorageError, ThreadLog, ThreadRow
from app_server.storage.memory import MemoryStorageWorld
from app_server.threads.live_thread import LiveThread, ThreadDeps
from app_server.threads.replay import ThreadState
from app_server.turns.context import PictureUrls, RicherForm, Settings
from features.resolution import FeatureSet

pytestmark = pytest.mark.anyio
THREAD = "019a0000-0000-7000-8000-000000000001"
SETTINGS = Settings(model="m", model_provider="p", cwd="/w")


@dataclass
class FakeAudience:
    """Keeps what it is told."""

    told: list[tuple[str, Any]] = field(default_factory=list)

    def broadcast(self, method: str, params: Any) -> None:
        self.told.append((method, params))

    def notify_thread(self, thread_id: str, method: str, params: Any, *, forms: Sequence[RicherForm] = ()) -> None:
        self.told.append((method, params))

    def delta(self, thread_id: str, method: str, params: Any) -> None: ...

    def wanted_forms(self, thread_id: str, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        return frozenset()

    def forget_thread(self, thread_id: str) -> None: ...

    def settle(self, thread_id: str) -> None: ...


class CountingLog:
    """The log in memory, which counts the appends that it takes, and refuses them while `full`."""

    def __init__(self, log: ThreadLog) -> None:
        self._log, self.full, self.appends = log, False, 0

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        if self.full:
            raise StorageError("The disk is full.")
        self.appends += 1
        return await self._log.append(lease, records, row=row)

    async def kinds(self) -> list[str]:
        return [record.kind for record in await self._log.read(THREAD)]


@dataclass
class Stage:
    live: LiveThread
    log: CountingLog
    audience: FakeAudience

    def later(self, name: str) -> None:
        """A record that joins the next append, and tells its number."""
        self.live.later(Record(kind=name, data={}), lambda seq: self.live.show(name, {}, seq=seq))


@pytest.fixture
async def stage() -> Stage:
    storage = MemoryStorageWorld().process()
    row = ThreadRow(
        thread_id=THREAD,
        created_at_ms=1,
        updated_at_ms=1,
        recency_at_ms=1,
        cwd="/w",
        source="x",
        model="m",
        model_provider="p",
    )
    lease, last_seq = await storage.log.create(row, [Record(kind=kinds.THREAD_STARTED, data={})])
    log, audience = CountingLog(storage.log), FakeAudience()
    deps = ThreadDeps(
        audience=audience,
        clock=SystemClock(),
        pictures=PictureStore.__new__(PictureStore),  # never asked here
        urls=cast("PictureUrls", None),  # the same
        moment=lambda *facts: pytest.fail("no turn runs here"),
        installation_id="i",
        features=lambda settings: cast("FeatureSet", None),  # the same
    )
    state = ThreadState(settings=SETTINGS)
    live = LiveThread(row=row, lease=lease, log=cast("ThreadLog", log), state=state, deps=deps, last_seq=last_seq)
    return Stage(live=live, log=log, audience=audience)


async def test_what_comes_later_joins_the_next_append_before_its_records_and_is_shown_first(stage: Stage) -> None:
    stage.later("a")
    stage.later("b")
    assert (stage.log.appends, stage.audience.told) == (0, [])
    assert await stage.live.append(Record(kind="c", data={}), Record(kind="d", data={})) == 5
    assert await stage.log.kinds() == [kinds.THREAD_STARTED, "a", "b", "c", "d"]
    assert (stage.log.appends, stage.audience.told) == (1, [("a", {"seq": 2}), ("b", {"seq": 3})])
    assert await stage.live.append(Record(kind="e", data={})) == 6
    assert len(stage.audience.told) == 2


async def test_what_the_disk_refused_joins_the_append_after_it(stage: Stage) -> None:
    stage.later("a")
    stage.log.full = True
    with pytest.raises(StorageError):
        await stage.live.append(Record(kind="b", data={}))
    assert (stage.audience.told, stage.live.last_seq) == ([], 1)
    stage.log.full = False
    stage.later("c")
    await stage.live.append(Record(kind="d", data={}))
    assert await stage.log.kinds() == [kinds.THREAD_STARTED, "a", "c", "d"]
    assert stage.audience.told == [("a", {"seq": 2}), ("c", {"seq": 3})]


async def test_an_append_that_is_cancelled_keeps_and_shows_nothing_and_later_still_comes(stage: Stage) -> None:
    stage.later("a")
    with anyio.CancelScope() as scope:
        scope.cancel()
        await stage.live.append(Record(kind=kinds.HISTORY, data={"items": [{"type": "message"}]}))
    assert scope.cancelled_caught
    assert (list(stage.live.history), stage.live.last_seq, stage.audience.told) == ([], 1, [])
    await stage.live.append(Record(kind="b", data={}))
    assert await stage.log.kinds() == [kinds.THREAD_STARTED, "a", "b"]
