"""One call with several pictures, previews, an interrupt, a broken disk: every item ends, and nothing paid is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest

from app_server.extension_api import (
    CheckedPicture,
    HttpAnswer,
    ImageSettings,
    PictureContent,
    SavedPicture,
    TextContent,
    ToolOutput,
)
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from tests.support.image_fakes import (
    CALL_ID,
    ENDPOINT,
    FakeHttp,
    ImageHost,
    checked,
    error_answer,
    image_host,
    message,
    picture_answer,
    refused,
    shown,
)
from tests.support.pictures import as_base64, png, transparent_png

pytestmark = pytest.mark.anyio
EXPOSED = ImageSettings(expose_parameters=True)
DATAS = [png(colour=(n, n, n)) for n in range(3)]


def several(*found: bytes | None, **said: Any) -> HttpAnswer:
    """An answer with these pictures; None is one that cannot be read."""
    data = [{"b64_json": "!" if one is None else as_base64(one)} for one in found]
    return HttpAnswer(status=200, headers={}, body=orjson.dumps({"created": 1, "data": data, **said}))


def ended(host: ImageHost) -> list[tuple[str, str]]:
    return [(item["id"], item["status"]) for event, item in shown(host) if event == "completed"]


async def test_several_pictures_are_an_item_and_a_file_each_in_the_order_of_the_answer(tmp_path: Path) -> None:
    host = image_host(tmp_path, several(*DATAS), settings=EXPOSED)
    output = await host.tool.handle(host.call({"prompt": "a fox", "n": 3}))
    ids = [f"{CALL_ID}-{number}" for number in (1, 2, 3)]
    folder = tmp_path / "generated_images" / "thread-1"
    assert [(event, item["id"]) for event, item in shown(host)] == [
        *(("started", item_id) for item_id in ids),
        *(("completed", item_id) for item_id in ids),
    ]
    assert [(folder / f"{item_id}.png").read_bytes() for item_id in ids] == DATAS
    assert [item_id for item_id, _ in host.items.paid] == [CALL_ID, *ids]
    assert len({key for _, key in host.items.paid}) == 1
    assert host.http.requests[0]["body"]["n"] == 3
    pictures = [PictureContent(picture=checked(data).ref, handle=f"img_{n}") for n, data in enumerate(DATAS, 1)]
    assert list(output.content[:3]) == pictures
    (hint,) = output.content[3:]
    assert isinstance(hint, TextContent)
    for number, item_id in enumerate(ids, 1):
        assert f"img_{number}: {folder / item_id}.png" in hint.text
    assert (output.log, output.hook["count"]) == ("[generated 3 images]", 3)
    assert [one["path"] for one in output.hook["pictures"]] == [str(folder / f"{item_id}.png") for item_id in ids]


async def test_a_picture_that_fails_leaves_the_others(tmp_path: Path) -> None:
    host = image_host(tmp_path, several(DATAS[0], None, DATAS[2]), settings=EXPOSED)
    output = await host.tool.handle(host.call({"prompt": "a fox", "n": 3}))
    assert ended(host) == [
        (f"{CALL_ID}-1", "completed"),
        (f"{CALL_ID}-2", "failed"),
        (f"{CALL_ID}-3", "completed"),
    ]
    text = output.content[-1]
    assert isinstance(text, TextContent)
    assert "Only 2 of 3 pictures were made: the images API returned a picture that is not valid base64" in text.text


async def test_fewer_pictures_than_asked_for_are_told(tmp_path: Path) -> None:
    host = image_host(tmp_path, several(DATAS[0]), settings=EXPOSED)
    output = await host.tool.handle(host.call({"prompt": "a fox", "n": 3}))
    assert [status for _, status in ended(host)] == ["completed", "failed", "failed"]
    assert "the images API returned 1 of 3 pictures; ask for the rest again" in repr(output.content[-1])


async def test_more_pictures_than_asked_for_are_logged(tmp_path: Path) -> None:
    host = image_host(tmp_path, several(*DATAS))
    await host.tool.handle(host.call({"prompt": "a fox"}))
    assert ended(host) == [(CALL_ID, "completed")]
    assert ("warning", "image_extra_pictures", {"call_id": CALL_ID, "left_out": 2}) in host.log.events


async def test_all_failed_pictures_fail_the_call(tmp_path: Path) -> None:
    host = image_host(tmp_path, error_answer(400, {"error": {"message": "no"}}), settings=EXPOSED)
    text = await refused(host, {"prompt": "a fox", "n": 2})
    assert text == "image generation failed: the images API refused the request (HTTP 400): no"
    assert [status for _, status in ended(host)] == ["failed", "failed"]


async def test_effective_parameters_are_those_of_the_answer_else_those_asked_for(tmp_path: Path) -> None:
    answer = several(png(), quality="low", size="8x8", background="opaque")
    host = image_host(tmp_path, answer, settings=EXPOSED)
    await host.tool.handle(host.call({"prompt": "a fox", "quality": "high", "output_format": "png"}))
    item = shown(host)[-1][1]
    assert item["effectiveParameters"] == {
        "size": "8x8",
        "quality": "low",
        "background": "opaque",
        "outputFormat": "png",
    }


async def test_a_picture_other_than_asked_is_told_to_the_clients_and_the_model(tmp_path: Path) -> None:
    host = image_host(tmp_path, picture_answer(), settings=EXPOSED)
    output = await host.tool.handle(host.call({"prompt": "a fox", "size": "1024x1024", "transparent_background": True}))
    told = [
        "The picture has 8x8 pixels, not the 1024x1024 that were asked for.",
        "A transparent background was asked for, but no pixel of the picture is transparent.",
    ]
    assert host.items.warnings == told
    text = output.content[-1]
    assert isinstance(text, TextContent)
    assert text.text.splitlines()[-2:] == told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"size": "100x100"}, "`size` 100x100 is not possible with gpt-image-2"),
        ({"mask_path": "mask.png"}, "`mask_path` needs a picture to edit"),
        ({"mask_path": "gone.png"}, "there is no such file"),
        ({"mask_path": "words.txt"}, "the bytes are plain text"),
        ({"model": "dall-e-3", "n": 2}, "dall-e-3 makes at most 1 picture at a time"),
    ],
)
async def test_what_cannot_be_done_makes_no_item_and_no_request(
    tmp_path: Path, arguments: dict[str, Any], text: str
) -> None:
    settings = ImageSettings(expose_parameters=True, models=("dall-e-3",))
    host = image_host(tmp_path, settings=settings)
    (tmp_path / "mask.png").write_bytes(transparent_png())
    (tmp_path / "words.txt").write_text("words")
    assert text in await refused(host, {"prompt": "a fox", **arguments})
    assert (host.items.shown, host.http.requests) == ([], [])


async def test_a_mask_is_sent_with_the_edit(tmp_path: Path) -> None:
    host = image_host(tmp_path, settings=EXPOSED)
    (tmp_path / "mask.png").write_bytes(transparent_png())
    ref = await host.pictures.keep(checked(png()), thread_id="thread-1")
    arguments = {"prompt": "a fox", "num_last_images_to_include": 1, "mask_path": "mask.png"}
    await host.tool.handle(host.call(arguments, [message(ref)]))
    assert host.http.requests[0]["body"]["mask"]["image_url"].startswith("data:image/png;base64,")


async def test_a_model_of_the_list_is_asked_and_named_on_the_item(tmp_path: Path) -> None:
    settings = ImageSettings(expose_parameters=True, models=("gpt-image-1",))
    host = image_host(tmp_path, settings=settings)
    await host.tool.handle(host.call({"prompt": "a fox", "model": "gpt-image-1"}))
    assert host.http.requests[0]["body"]["model"] == "gpt-image-1"
    assert shown(host)[0][1]["model"] == "gpt-image-1"


class WaitingHttp(FakeHttp):
    """Answers when it is told to; says when it was asked."""

    def __init__(self, *answers: HttpAnswer) -> None:
        super().__init__(*answers)
        self.asked, self.go_on = anyio.Event(), anyio.Event()

    async def post_json(self, url: str, body: Any, **options: Any) -> HttpAnswer:
        self.asked.set()
        await self.go_on.wait()
        return await super().post_json(url, body, **options)


class SlowPictures(PictureStore):
    """Says when it was asked to save, and waits to be told to go on."""

    def __init__(self, home: Path) -> None:
        super().__init__(home, MemoryStorageWorld(home=home).process().blobs)
        self.saving, self.go_on = anyio.Event(), anyio.Event()

    async def save_generated(
        self, picture: CheckedPicture, *, thread_id: str, call_id: str, prompt: str = ""
    ) -> SavedPicture:
        self.saving.set()
        await self.go_on.wait()
        return await super().save_generated(picture, thread_id=thread_id, call_id=call_id, prompt=prompt)


async def test_an_interrupt_after_the_answer_does_not_lose_the_picture(tmp_path: Path) -> None:
    pictures = SlowPictures(tmp_path)
    host = image_host(tmp_path, pictures=pictures)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(host.tool.handle, host.call({"prompt": "a fox"}))
            await pictures.saving.wait()
            group.cancel_scope.cancel()
            pictures.go_on.set()
    assert ended(host) == [(CALL_ID, "completed")]
    assert (tmp_path / "generated_images" / "thread-1" / f"{CALL_ID}.png").read_bytes() == png()


async def test_the_deadline_does_not_cut_what_is_already_here(tmp_path: Path) -> None:
    pictures = SlowPictures(tmp_path)
    host = image_host(tmp_path, pictures=pictures, settings=ImageSettings(timeout_s=0.05))
    outputs: list[ToolOutput] = []

    async def call() -> None:
        outputs.append(await host.tool.handle(host.call({"prompt": "a fox"})))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await pictures.saving.wait()
            with anyio.move_on_after(0.1):
                await anyio.Event().wait()
            pictures.go_on.set()
    assert len(outputs) == 1
    assert ended(host) == [(CALL_ID, "completed")]


async def test_signs_of_life_come_while_the_backend_works(tmp_path: Path) -> None:
    http = WaitingHttp(picture_answer())
    host = image_host(tmp_path, http=http, settings=ImageSettings(heartbeat_s=0.001))
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(host.tool.handle, host.call({"prompt": "a fox"}))
            await http.asked.wait()
            while len(host.items.beats) < 2:
                await anyio.lowlevel.checkpoint()
            http.go_on.set()
    assert set(host.items.beats) == {(CALL_ID, None, None)}


async def test_unfinished_pictures_are_shown_as_small_previews(tmp_path: Path) -> None:
    def event(kind: str, data: bytes, **members: Any) -> bytes:
        return orjson.dumps({"type": f"image_generation.{kind}", "b64_json": as_base64(data), **members})

    payloads = [
        event("partial_image", png(), partial_image_index=0),
        event("partial_image", b"no picture", partial_image_index=1),
        event("completed", png()),
    ]
    http = FakeHttp((payloads, HttpAnswer(status=200, headers={}, body=b"")))
    host = image_host(tmp_path, http=http, settings=ImageSettings(partial_images=3))
    await host.tool.handle(host.call({"prompt": "a fox"}))
    ((item_id, index, preview),) = host.items.beats
    assert (item_id, index) == (CALL_ID, 0)
    assert (preview or "").startswith("data:image/webp;base64,")
    assert (http.requests[0]["body"]["stream"], http.requests[0]["body"]["partial_images"]) == (True, 3)
    assert ended(host) == [(CALL_ID, "completed")]


async def test_the_offline_stand_in_is_not_marked_as_paid(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, offline=True), settings=EXPOSED)
    await host.tool.handle(host.call({"prompt": "a fox", "n": 2, "quality": "high"}))
    assert host.items.paid == []
    assert host.items.warnings == [
        "`quality` high has no effect with the backend at hand (offline sketch, not AI), so it was left out."
    ]


async def test_the_login_is_refreshed_once_after_a_401(tmp_path: Path) -> None:
    host = image_host(tmp_path, error_answer(401, {"error": {"message": "expired"}}), picture_answer())
    host.provider.fresh = host.provider.endpoint
    await host.tool.handle(host.call({"prompt": "a fox"}))
    assert (host.provider.refreshed, len(host.http.requests), len(host.items.paid)) == (1, 2, 1)
    assert len({sent["headers"]["idempotency-key"] for sent in host.http.requests}) == 1
