"""What the HTTP client sends and reads beyond plain JSON: forms with files, and answers that are event streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import httpx
import pytest

from app_server.net import HttpAnswer, HttpFailure, Net
from app_server.net_answers import Form, FormFile

pytestmark = pytest.mark.anyio
FORM = Form(
    fields={"prompt": "a fox – ünïcode", "model": "m"},
    files=(
        FormFile(name="image[]", filename="image-1.png", mime="image/png", data=b"\x89PNG one"),
        FormFile(name="image[]", filename="image-2.jpg", mime="image/jpeg", data=b"two\r\n--x"),
    ),
)


class Pieces(httpx.AsyncByteStream):
    """A body in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def scripted(answer: httpx.Response, seen: list[httpx.Request] | None = None) -> Net:
    async def handle(request: httpx.Request) -> httpx.Response:
        await request.aread()
        if seen is not None:
            seen.append(request)
        return answer

    return Net(transport=httpx.MockTransport(handle))


def parts(request: httpx.Request) -> list[tuple[str, str | None, str, Any]]:
    """Name, file name, type and bytes of each part of a form."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.content)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_content_type() if part.get_filename() else "",
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_a_form_is_sent_with_its_fields_and_then_its_files_in_order() -> None:
    seen: list[httpx.Request] = []
    made = scripted(httpx.Response(200, content=b"ok"), seen)
    answer = await made.post_multipart(
        "http://api.test/edits", FORM, headers={"api-key": "k"}, params={"v": "1"}, timeout_s=5, max_bytes=10
    )
    (request,) = seen
    assert (answer.status, answer.body) == (200, b"ok")
    assert (str(request.url), request.headers["api-key"]) == ("http://api.test/edits?v=1", "k")
    assert parts(request) == [
        ("prompt", None, "", "a fox – ünïcode".encode()),
        ("model", None, "", b"m"),
        ("image[]", "image-1.png", "image/png", b"\x89PNG one"),
        ("image[]", "image-2.jpg", "image/jpeg", b"two\r\n--x"),
    ]
    await made.aclose()


async def events(
    answer: httpx.Response, body: Form | None = None, max_bytes: int = 100
) -> tuple[HttpAnswer, list[bytes]]:
    found: list[bytes] = []

    async def take(payload: bytes) -> bool:
        found.append(payload)
        return payload != b"enough"

    made = scripted(answer)
    try:
        got = await made.post_events(
            "http://api.test/", body or {}, headers={}, params={}, timeout_s=5, max_bytes=max_bytes, on_event=take
        )
    finally:
        await made.aclose()
    return got, found


STREAM = {"content-type": "text/event-stream; charset=utf-8"}


@pytest.mark.parametrize("body", [None, FORM])
async def test_events_are_handed_over_as_they_come_and_the_answer_has_no_body(body: Form | None) -> None:
    pieces = Pieces(b"event: a\nda", b"ta: one\n\n: remark\n\ndata: t", b"wo\r\n\r\ndata: lost")
    got, found = await events(httpx.Response(200, headers=STREAM, stream=pieces), body)
    assert found == [b"one", b"two"]
    assert (got.status, got.body, got.headers["content-type"]) == (200, b"", STREAM["content-type"])


@pytest.mark.parametrize(
    ("status", "headers"), [(200, {"content-type": "application/json"}), (500, STREAM), (200, {"content-type": ""})]
)
async def test_what_is_no_good_event_stream_comes_whole(status: int, headers: dict[str, str]) -> None:
    got, found = await events(httpx.Response(status, headers=headers, stream=Pieces(b"data: ", b"x\n\n")))
    assert (got.status, got.body, found) == (status, b"data: x\n\n", [])


@pytest.mark.parametrize("pieces", [(b"data: " + b"x" * 100,), (b"data: x\n\n",) * 20])
async def test_a_stream_is_read_under_the_cap(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(HttpFailure, match="larger than the limit of 100 bytes") as failure:
        await events(httpx.Response(200, headers=STREAM, stream=Pieces(*pieces)))
    assert failure.value.too_large


async def test_a_stream_is_left_when_its_taker_has_enough() -> None:
    got, found = await events(httpx.Response(200, headers=STREAM, stream=Pieces(b"data: enough\n\ndata: x\n\n")))
    assert (got.status, got.body, found) == (200, b"", [b"enough"])


async def test_a_failure_of_the_taker_ends_the_stream_and_is_its_own() -> None:
    async def take(_payload: bytes) -> bool:
        raise KeyError("mine")

    made = scripted(httpx.Response(200, headers=STREAM, stream=Pieces(b"data: x\n\n")))
    with pytest.raises(KeyError):
        await made.post_events("http://api.test/", {}, headers={}, params={}, timeout_s=5, max_bytes=100, on_event=take)
    await made.aclose()
