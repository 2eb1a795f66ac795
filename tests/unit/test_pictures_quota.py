"""How much is kept and for how long: room before a picture is paid for, and pictures that go with their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app_server.errors import AppServerError, InvalidRequest
from app_server.extension_api import PictureRef
from app_server.pictures.listing import Gallery
from app_server.pictures.quota import DAY_S, MIB, PAGE, over_quota, sweep
from app_server.storage.base import PictureRow, Record
from app_server.storage.memory import MemoryStorageWorld

pytestmark = pytest.mark.anyio
NOW_MS = 1_700_000_000_000
DAY_MS = DAY_S * 1000


class StillClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_s(self) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("used_bytes", "quota_bytes", "full"),
    [(0, 0, False), (10**12, 0, False), (0, MIB, False), (MIB - 1, MIB, False), (MIB, MIB, True), (9 * MIB, MIB, True)],
)
def test_no_picture_is_asked_for_from_the_quota_on(used_bytes: int, quota_bytes: int, full: bool) -> None:
    assert (over_quota(used_bytes, quota_bytes) is not None) is full


def test_the_refusal_says_how_much_there_is_and_what_to_do() -> None:
    assert over_quota(5 * MIB // 2, 2 * MIB) == (
        "the saved pictures take 2.5 MiB of the 2 MiB that quota_mb under [image_generation] allows; delete some with "
        "image/delete or with their threads, or raise it"
    )


def row(item_id: str, age_ms: int) -> PictureRow:
    ref = PictureRef(sha256="a" * 64, mime="image/png", size_bytes=1, width=1, height=1)
    return PictureRow(thread_id="t", seq=1, at_ms=NOW_MS - age_ms, turn_id="u", item_id=item_id, ref=ref)


class FakeGallery(Gallery):
    """Rows, the newest first; some of them cannot be removed."""

    def __init__(self, rows: Sequence[PictureRow], stuck: frozenset[str] = frozenset()) -> None:
        self.rows, self.stuck = sorted(rows, key=lambda row: row.place, reverse=True), stuck
        self.removed: list[tuple[str, str]] = []

    async def page(
        self, *, limit: int, before: tuple[int, str, int] | None = None, thread_id: str | None = None
    ) -> list[PictureRow]:
        return [one for one in self.rows if before is None or one.place < before][:limit]

    async def remove(self, row: PictureRow, reason: str) -> Sequence[str]:
        if row.item_id in self.stuck:
            raise InvalidRequest("its thread is written elsewhere", data_code="threadHasWriter")
        self.removed.append((row.item_id, reason))
        return ()


async def test_pictures_go_with_their_time_and_younger_ones_stay() -> None:
    gallery = FakeGallery([row("young", 30 * DAY_MS), row("old", 30 * DAY_MS + 1), row("older", 99 * DAY_MS)])
    assert await sweep(gallery, StillClock(), 30) == 2
    assert gallery.removed == [("old", "expired"), ("older", "expired")]


async def test_one_that_cannot_go_does_not_keep_the_others() -> None:
    rows = [replace(row(f"c{number}", 2 * DAY_MS), seq=number) for number in range(PAGE + 5)]
    gallery = FakeGallery(rows, stuck=frozenset({"c3", "c104"}))
    assert await sweep(gallery, StillClock(), 1) == PAGE + 3
    assert len(set(gallery.removed)) == PAGE + 3


async def test_a_thread_that_somebody_else_writes_keeps_its_file() -> None:
    storage = MemoryStorageWorld().process()
    ref = PictureRef(
        sha256="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        mime="image/png", size_bytes=3, width=1, height=1,
    )  # fmt: skip
    await storage.blobs.put(b"abc", ref, owner="t")

    async def refuse(thread_id: str, record: Record) -> None:
        raise InvalidRequest(f"thread {thread_id} has another writer", data_code="threadHasWriter")

    gallery = Gallery(storage.log, storage.blobs, refuse, ephemeral=storage.log)
    with pytest.raises(AppServerError, match="has another writer"):
        await gallery.remove(replace(row("c", 0), ref=ref), "expired")
    assert await storage.blobs.read(ref.sha256) == b"abc"
