"""A sender that can slow down waits for a reader that is behind, and never beyond the end of the connection."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from app_server.rpc.outbox import ROOM_BYTES, Outbox
from app_server.transport.base import StreamClosed

pytestmark = pytest.mark.anyio


class FakeStream:
    """A client that reads once `reading` is set."""

    transport = "memory"

    def __init__(self) -> None:
        self.reading = anyio.Event()
        self.gone = False

    async def receive(self) -> bytes:
        raise StreamClosed

    async def send(self, frames: Sequence[bytes]) -> None:
        await self.reading.wait()
        if self.gone:
            raise StreamClosed

    async def aclose(self) -> None:
        self.reading.set()


@pytest.mark.parametrize("end", ["read", "gone", "closed"])
async def test_every_sender_waits_until_there_is_room_or_no_client(end: str) -> None:
    stream = FakeStream()
    outbox = Outbox(stream)
    outbox.put(bytes(ROOM_BYTES + 1))
    passed: list[int] = []

    async def send(number: int) -> None:
        await outbox.room()
        passed.append(number)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(outbox.run)
            tasks.start_soon(send, 1)
            tasks.start_soon(send, 2)
            await anyio.wait_all_tasks_blocked()
            assert passed == []
            if end == "closed":
                outbox.close()
                await anyio.wait_all_tasks_blocked()
                assert sorted(passed) == [1, 2]
            stream.gone = end == "gone"
            stream.reading.set()
            await anyio.wait_all_tasks_blocked()
            outbox.close()
    assert sorted(passed) == [1, 2]


async def test_nobody_waits_while_there_is_room() -> None:
    outbox = Outbox(FakeStream())
    outbox.put(bytes(ROOM_BYTES))
    with anyio.fail_after(5):
        await outbox.room()
