"""The richer forms of an item: made only for those who take them, and never larger than announced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from app_server.extension_api import PictureRef, PictureRejected
from app_server.pictures.store import PictureStore
from app_server.protocol.items import ImageGenerationItem
from app_server.protocol.jsonrpc import encode_notification
from app_server.turns.context import RicherForm
from app_server.turns.emitter_forms import (
    THUMBNAIL_BYTES,
    base64_bytes,
    completed_params,
    echo_forms,
    picture_forms,
    started_params,
)
from tests.support.pictures import as_base64

pytestmark = pytest.mark.anyio
IDS = {"threadId": "t" * 36, "turnId": "u" * 36}
PLAIN: Mapping[str, Any] = ImageGenerationItem(
    id="call_1", status="completed", result="", saved_path="/p/é/c.png", started_at_ms=1, completed_at_ms=2
).wire()


class FakeSink:
    """Some subscribers that take these forms; keeps the sizes that it was asked about."""

    def __init__(self, *wanted: str) -> None:
        self.wanted, self.sizes = frozenset(wanted), (0, 0)

    def wanted_forms(self, message_bytes: int, thumbnail_bytes: int) -> frozenset[str]:
        self.sizes = (message_bytes, thumbnail_bytes)
        return self.wanted


class FakePictures(PictureStore):
    """Has these bytes and counts what is done with them."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.work: list[str] = []

    async def read(self, ref: PictureRef) -> bytes:
        self.work.append("read")
        if self.data is None:
            raise PictureRejected("It is gone.")
        return self.data

    async def thumbnail(self, data: bytes, *, max_bytes: int = 0) -> str | None:
        self.work.append("thumbnail")
        return "data:" + "x" * (max_bytes - 5) if data != b"no picture" else None


async def forms_of(sink: FakeSink, pictures: FakePictures, size_bytes: int) -> dict[str, RicherForm]:
    ref = PictureRef(sha256="a" * 64, mime="image/png", size_bytes=size_bytes, width=1, height=1)
    forms = await picture_forms(PLAIN, ref, sink.wanted_forms, pictures, IDS)  # type: ignore[arg-type]  # the two members that it uses
    return {form.kind: form for form in forms}


@pytest.mark.parametrize(
    ("wanted", "work"),
    [
        ((), []),
        (("inline",), ["read"]),
        (("thumbnail",), ["read", "thumbnail"]),
        (("inline", "thumbnail"), ["read", "thumbnail"]),
    ],
)
async def test_nothing_is_done_that_nobody_takes(wanted: tuple[str, ...], work: list[str]) -> None:
    pictures = FakePictures(b"abc")
    forms = await forms_of(FakeSink(*wanted), pictures, 3)
    assert (tuple(forms), pictures.work) == (wanted, work)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1000, 100_000])
async def test_a_message_is_never_larger_than_it_was_said_to_be(size: int) -> None:
    data, sink = bytes(size), FakeSink("inline", "thumbnail")
    forms = await forms_of(sink, FakePictures(data), size)
    assert base64_bytes(size) == len(as_base64(data))
    assert sink.sizes == (forms["inline"].message_bytes, forms["thumbnail"].message_bytes)
    for form in forms.values():
        frame = encode_notification("item/completed", form.params(), 1_700_000_000_000)
        assert form.message_bytes - 1024 <= len(frame) <= form.message_bytes


async def test_each_form_has_its_own_member_and_all_else_is_the_same() -> None:
    forms = await forms_of(FakeSink("inline", "thumbnail"), FakePictures(b"abc"), 3)
    small = "data:" + "x" * (THUMBNAIL_BYTES - 5)
    assert {kind: form.params() for kind, form in forms.items()} == {
        "inline": completed_params({**PLAIN, "result": "YWJj"}, IDS),
        "thumbnail": completed_params({**PLAIN, "thumbnail": small}, IDS),
    }


async def test_a_picture_that_vanished_or_cannot_be_scaled_has_no_such_form() -> None:
    assert await forms_of(FakeSink("inline"), FakePictures(None), 3) == {}
    assert await forms_of(FakeSink("thumbnail"), FakePictures(b"no picture"), 3) == {}


def test_a_message_of_the_user_is_echoed_as_it_was_sent_where_that_differs_from_what_is_stored() -> None:
    stored = {"id": "m", "startedAtMs": 1, "content": [{"url": "file:///p.png"}]}
    shown = {**stored, "content": [{"url": "data:image/png;base64,AAAA"}]}
    assert echo_forms(stored, stored, started_params, IDS) == ()
    (form,) = echo_forms(shown, stored, started_params, IDS)
    assert (form.kind, form.params()) == ("inline", started_params(shown, IDS))
    assert form.message_bytes == len(orjson.dumps(shown)) + 1024
