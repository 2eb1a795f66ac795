"""Every way in which a call of `image_gen.imagegen` can fail: what is shown, told, logged, and left on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from app_server.extension_api import (
    CheckedPicture,
    Form,
    HttpAnswer,
    HttpFailure,
    ImageSettings,
    PictureContent,
    PictureRef,
    SavedPicture,
)
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from tests.support.image_fakes import (
    ENDPOINT,
    NOW_MS,
    STARTED,
    FakeHttp,
    ImageHost,
    checked,
    completed,
    error_answer,
    image_host,
    message,
    picture_answer,
    refused,
    shown,
)
from tests.support.pictures import png

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "`prompt` is missing"),
        ({"prompt": "a fox", "size": "1x1"}, "`size` is not an argument of this tool"),
        ({"prompt": "a fox", "referenced_image_paths": ["gone.png"]}, "there is no such file"),
        ({"prompt": "a fox", "referenced_image_paths": ["."]}, "it is a folder or a device"),
        ({"prompt": "a fox", "referenced_image_paths": ["words.png"]}, "the bytes are plain text"),
        ({"prompt": "a fox", "num_last_images_to_include": 1}, "the conversation has no picture"),
        ({"prompt": "a fox", "action": "edit"}, "there is no picture in this conversation to edit"),
    ],
)
async def test_a_wrong_argument_makes_no_item_and_no_request(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    host = image_host(tmp_path)
    (tmp_path / "words.png").write_text("just words")
    assert message in await refused(host, arguments)
    assert (host.items.shown, host.http.requests) == ([], [])


async def test_a_stored_picture_that_is_gone_is_told_before_anything_is_shown(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    gone = message(checked(png()).ref)
    text = await refused(host, {"prompt": "a fox", "num_last_images_to_include": 1}, (gone,))
    assert text.startswith("a stored picture can no longer be used: ")
    assert host.items.shown == []


async def test_an_edit_with_an_api_key_goes_to_the_public_api_as_a_form(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, base_url="https://api.openai.com/v1", chatgpt=False))
    (tmp_path / "a.png").write_bytes(png())
    await host.tool.handle(host.call({"prompt": "a fox", "referenced_image_paths": ["a.png"]}))
    assert host.http.requests[0]["url"] == "https://api.openai.com/v1/images/edits"
    assert isinstance(host.http.requests[0]["body"], Form)


async def test_a_new_picture_with_an_api_key_goes_to_the_public_api(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, base_url="https://api.openai.com/v1", chatgpt=False))
    await host.tool.handle(host.call({"prompt": "a fox"}))
    assert host.http.requests[0]["url"] == "https://api.openai.com/v1/images/generations"
    headers = {**host.http.requests[0]["headers"]}
    assert headers.pop("idempotency-key") == host.items.paid[0][1]
    assert headers == dict(ENDPOINT.headers)


async def test_a_login_that_went_away_is_told(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    host.provider.missing = "set OPENAI_API_KEY"
    assert await refused(host, {"prompt": "a fox"}) == "image generation is not possible: set OPENAI_API_KEY"
    assert host.items.shown == []


LIMIT = {"type": "usageLimitExceeded", "limitId": "image_gen", "resetsAt": 1_700_000_000}
USED_UP = {"error": {"message": "used up", "type": "usage_limit_reached", "resets_at": 1_700_000_000}}
BLOCKED = {"error": {"message": "not this", "code": "moderation_blocked"}}
FAILURES = [
    pytest.param(error_answer(500, {"error": {"message": "boom"}}), {"type": "network"}, None, id="500"),
    pytest.param(error_answer(401, {"error": {"message": "bad key"}}), {"type": "unauthorized"}, None, id="401"),
    pytest.param(error_answer(400, BLOCKED), {"type": "moderationBlocked"}, None, id="moderation"),
    pytest.param(
        error_answer(429, {"error": {"message": "slow"}}, retry_after="3", x_request_id="req-9"),
        {"type": "rateLimited", "retryAfterMs": 3000, "requestId": "req-9"},
        None,
        id="429",
    ),
    pytest.param(
        error_answer(429, USED_UP, x_codex_active_limit="image_gen"), {"type": "usageLimitExceeded"}, LIMIT, id="limit"
    ),
    pytest.param(error_answer(429, USED_UP), {"type": "usageLimitExceeded"}, None, id="limit without a name"),
    pytest.param(HttpFailure("It is down."), {"type": "network"}, None, id="down"),
    pytest.param(HttpFailure("It is slow.", timeout=True), {"type": "timeout"}, None, id="slow"),
    pytest.param(HttpAnswer(status=200, headers={}, body=b"{}"), {"type": "invalidResponse"}, None, id="no data"),
    pytest.param(picture_answer(b"just words"), {"type": "invalidResponse", "requestId": "req-1"}, None, id="words"),
    pytest.param(picture_answer(png()[:40]), {"type": "invalidResponse", "requestId": "req-1"}, None, id="cut off"),
]


@pytest.mark.parametrize(("answer", "error", "failure"), FAILURES)
async def test_a_failure_is_an_item_with_its_cause_and_the_same_text_for_model_and_log(
    tmp_path: Path, answer: HttpAnswer | HttpFailure, error: dict[str, Any], failure: dict[str, Any] | None
) -> None:
    host = image_host(tmp_path, answer)
    told = await refused(host, {"prompt": "a fox"})
    text = told.removeprefix("image generation failed: ")
    failed = {"status": "failed", "completedAtMs": NOW_MS, "revisedPrompt": "a fox", "failure": failure}
    assert text != told
    assert shown(host) == [
        ("started", STARTED),
        ("completed", {**STARTED, **failed, "error": {"message": text, **error}}),
    ]
    assert host.items.pictures == [None]
    assert [(level, event, fields["kind"], fields["message"]) for level, event, fields in host.log.events[1:]] == [
        ("warning", "image_generation_failed", error["type"], text)
    ]
    assert not (tmp_path / "generated_images").exists()


async def test_undecodable_bytes_say_what_they_are(tmp_path: Path) -> None:
    host = image_host(tmp_path, picture_answer(b"just words"))
    assert await refused(host, {"prompt": "a fox"}) == (
        "image generation failed: what came back is not a usable picture: the bytes are plain text; "
        "PNG, JPEG, WebP and GIF pictures are taken"
    )


class HangingHttp(FakeHttp):
    """Never answers; says when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = anyio.Event()

    async def post_json(self, url: str, body: Any, **_: Any) -> HttpAnswer:
        self.asked.set()
        await anyio.sleep_forever()
        raise AssertionError("it sleeps for ever")


def hanging(tmp_path: Path, **settings: Any) -> tuple[ImageHost, HangingHttp]:
    http = HangingHttp()
    return image_host(tmp_path, settings=ImageSettings(**settings), http=http), http


async def test_a_backend_that_does_not_answer_fails_at_the_total_deadline(tmp_path: Path) -> None:
    host, _ = hanging(tmp_path, timeout_s=0.01)
    with anyio.fail_after(5):
        assert await refused(host, {"prompt": "a fox"}) == (
            "image generation failed: no picture came within 0.01 s; "
            "try again, or raise timeout_s under [image_generation]"
        )
    assert shown(host)[1][1]["error"]["type"] == "timeout"


async def test_a_cancelled_call_leaves_the_open_item_to_the_host(tmp_path: Path) -> None:
    host, http = hanging(tmp_path)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(host.tool.handle, host.call({"prompt": "a fox"}))
            await http.asked.wait()
            group.cancel_scope.cancel()
    assert shown(host) == [("started", STARTED)]


async def test_a_picture_that_cannot_be_saved_is_kept_shown_and_warned_of(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    (tmp_path / "generated_images").write_text("a file where the folder should be")
    output = await host.tool.handle(host.call({"prompt": "a fox"}))
    ref = checked(png()).ref
    assert shown(host) == [("started", STARTED), ("completed", completed(None, png()))]
    assert host.items.pictures == [ref]
    assert await host.pictures.read(ref) == png()
    assert output.content[0] == PictureContent(picture=ref, handle="img_1")
    assert output.hook["path"] is None
    assert host.items.warnings == ["The generated picture is shown but was not saved as a file: File exists."]
    assert [event for _, event, _ in host.log.events] == ["image_request", "image_not_saved"]


class FullPictures(PictureStore):
    """Checks pictures, but has no room for them."""

    async def save_generated(
        self, picture: CheckedPicture, *, thread_id: str, call_id: str, prompt: str = ""
    ) -> SavedPicture:
        raise OSError(28, "No space left on device")

    async def keep(self, picture: CheckedPicture, *, thread_id: str, paid: bool = False) -> PictureRef:
        raise OSError(28, "No space left on device")


async def test_a_picture_that_cannot_be_kept_at_all_is_a_failed_item(tmp_path: Path) -> None:
    blobs = MemoryStorageWorld(home=tmp_path).process().blobs
    host = image_host(tmp_path, pictures=FullPictures(tmp_path, blobs))
    assert await refused(host, {"prompt": "a fox"}) == (
        "image generation failed: the picture was made but could not be stored (No space left on device); "
        "check the disk and its free space"
    )
    assert shown(host)[1][1]["error"]["type"] == "saveFailed"
