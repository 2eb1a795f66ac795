"""Data URLs on the way to a model: read once while they are kept, bounded by bytes, None where a picture is gone."""

from __future__ import annotations

import base64
import hashlib

import anyio
import pytest

from app_server.extension_api import PictureRef, PictureRejected
from app_server.pictures.prompt import PromptPictures
from app_server.pictures.store import PictureStore

pytestmark = pytest.mark.anyio


class CountingPictures(PictureStore):
    """A store that holds what it is given and counts what is read."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.reads: list[str] = []

    def hold(self, data: bytes, mime: str = "image/png") -> PictureRef:
        ref = PictureRef(sha256=hashlib.sha256(data).hexdigest(), mime=mime, size_bytes=len(data), width=1, height=1)
        self.kept[ref.sha256] = data
        return ref

    async def read(self, ref: PictureRef) -> bytes:
        self.reads.append(ref.sha256)
        await anyio.lowlevel.checkpoint()
        if ref.sha256 not in self.kept:
            raise PictureRejected("The picture is gone.")
        return self.kept[ref.sha256]


def url_of(data: bytes, mime: str = "image/png") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


async def test_a_picture_is_read_once_and_its_url_names_its_type() -> None:
    store = CountingPictures()
    prompt = PromptPictures(store)
    ref = store.hold(b"bytes", "image/webp")
    assert [await prompt.data_url(ref, "high") for _ in range(3)] == [url_of(b"bytes", "image/webp")] * 3
    assert store.reads == [ref.sha256]


async def test_a_picture_that_is_gone_is_none_and_looked_for_again() -> None:
    store = CountingPictures()
    prompt = PromptPictures(store)
    ref = store.hold(b"bytes")
    del store.kept[ref.sha256]
    assert await prompt.data_url(ref, "high") is None
    store.hold(b"bytes")
    assert await prompt.data_url(ref, "high") == url_of(b"bytes")


async def test_beyond_the_bound_the_picture_that_was_not_used_longest_is_read_again() -> None:
    store = CountingPictures()
    datas = [bytes([number]) * 30 for number in range(3)]
    first, second, third = (store.hold(data) for data in datas)
    prompt = PromptPictures(store, cache_bytes=2 * len(url_of(datas[0])) + 1)
    for ref in (first, second, first, third, first, second):
        await prompt.data_url(ref, "high")
    assert store.reads == [ref.sha256 for ref in (first, second, third, second)]


async def test_a_picture_of_more_than_half_the_bound_is_given_and_not_kept() -> None:
    store = CountingPictures()
    small, big = store.hold(b"s"), store.hold(b"b" * 100)
    prompt = PromptPictures(store, cache_bytes=150)
    for ref in (small, big, big, small):
        assert await prompt.data_url(ref, "high") == url_of(store.kept[ref.sha256])
    assert store.reads == [small.sha256, big.sha256, big.sha256]


async def test_details_that_send_the_same_picture_share_its_url() -> None:
    store = CountingPictures()
    prompt = PromptPictures(store)
    ref = store.hold(b"bytes")
    assert {await prompt.data_url(ref, detail) for detail in ("auto", "high", "original", None)} == {url_of(b"bytes")}
    assert store.reads == [ref.sha256]


async def test_two_requests_for_one_picture_at_the_same_time_count_it_once() -> None:
    store = CountingPictures()
    datas = [bytes([number]) * 30 for number in range(3)]
    first, second, third = (store.hold(data) for data in datas)
    prompt = PromptPictures(store, cache_bytes=2 * len(url_of(datas[0])) + 1)
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(prompt.data_url, first, "high")
    store.reads.clear()
    for ref in (first, second, first, third):
        await prompt.data_url(ref, "high")
    assert store.reads == [second.sha256, third.sha256]
