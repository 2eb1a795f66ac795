"""The tool `image_gen.imagegen` from the call to the output: requests, items, files, faces, and every way to fail."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import orjson
import pytest

from app_server.extension_api import (
    CheckedPicture,
    HttpAnswer,
    HttpFailure,
    ImageSettings,
    PictureContent,
    PictureRef,
    TextContent,
    ToolFailure,
    ToolName,
    ToolOutput,
    ToolSpec,
    Visible,
)
from app_server.pictures.check import PictureLimits, check_picture
from extensions import BUILTIN
from extensions.image_generation import EXTENSION
from extensions.image_generation.arguments import PARAMETERS
from extensions.image_generation.outcome import MAX_HINT_BYTES, hint
from features import FEATURES
from tests.support.image_fakes import (
    CALL_ID,
    ENDPOINT,
    NOW_MS,
    THREAD_ID,
    TURN_ID,
    FakeHttp,
    ImageHost,
    error_answer,
    image_host,
    image_scope,
    picture_answer,
)
from tests.support.pictures import as_base64, data_url, gif, jpeg, png

pytestmark = pytest.mark.anyio

STARTED = {
    "type": "imageGeneration",
    "id": CALL_ID,
    "status": "in_progress",
    "revisedPrompt": None,
    "result": "",
    "transparentBackground": None,
    "failure": None,
    "generationId": None,
    "startedAtMs": NOW_MS,
    "completedAtMs": None,
    "prompt": "a fox",
    "model": "gpt-image-2",
}


def checked(data: bytes) -> CheckedPicture:
    return check_picture(data, PictureLimits())


def shown(host: ImageHost) -> list[tuple[str, dict[str, Any]]]:
    return [(event, item.wire()) for event, item in host.items.shown]


def completed(path: Path | None, data: bytes, **changes: Any) -> dict[str, Any]:
    """The completed item of a picture of 8x8, saved at `path`."""
    picture = checked(data)
    return {
        **STARTED,
        "status": "completed",
        "completedAtMs": NOW_MS,
        "revisedPrompt": "a fox",
        "transparentBackground": False,
        **({} if path is None else {"savedPath": str(path)}),
        "mimeType": picture.ref.mime,
        "bytes": len(data),
        "width": 8,
        "height": 8,
        "hasAlpha": picture.has_alpha,
        "sha256": picture.ref.sha256,
        **changes,
    }


def part(ref: PictureRef) -> dict[str, Any]:
    return {"type": "input_image", "picture": ref.to_json(), "detail": "high"}


def message(*refs: PictureRef) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [part(ref) for ref in refs]}


def test_the_extension_is_built_in_behind_the_flag_of_its_row(tmp_path: Path) -> None:
    services = image_host(tmp_path).tool._services
    assert (EXTENSION.__class__ and "extensions.image_generation",) == BUILTIN
    assert (EXTENSION.key, EXTENSION.feature) == ("image_generation", "imagegenext")
    assert EXTENSION.feature in {spec.key for spec in FEATURES}
    assert [tool.name for tool in EXTENSION.build(services).tools] == [ToolName("image_gen", "imagegen")]


def test_the_spec_is_a_function_in_the_namespace_image_gen(tmp_path: Path) -> None:
    tool = image_host(tmp_path).tool
    description = tool.spec(image_scope()).description
    assert tool.exposure(image_scope()) == Visible()
    assert tool.spec(image_scope()) == ToolSpec(
        name=ToolName("image_gen", "imagegen"),
        description=description,
        parameters=PARAMETERS,
        namespace_description="Makes and edits pictures.",
        strict=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        "Set `action` to `generate`",
        "Set `action` to `edit`",
        "previously generated",
        "Start at once; do not ask the user to confirm",
        "Always use this tool to change a picture; do not use Python",
        "`referenced_image_paths`",
        "up to 5 paths",
        "`num_last_images_to_include`",
        "the smallest number from 1 to 5",
        "Give only one of the two selectors",
        "`transparent_background`",
        "ask the user to attach it again",
        "Never fall silent",
        "When the picture is all that was asked for, close with a short sentence",
        "When other parts of the request are still unfinished, go on with them",
        "A call takes up to a few minutes",
    ],
)
def test_the_description_tells_the_model(tmp_path: Path, words: str) -> None:
    assert words in image_host(tmp_path).tool.spec(image_scope()).description


async def test_a_new_picture_is_requested_saved_shown_and_given_to_the_model(tmp_path: Path) -> None:
    answer = picture_answer(png(), revised_prompt="a red fox", generation_id="gen-1")
    host = image_host(tmp_path, answer)
    output = await host.tool.handle(host.call({"prompt": "a fox"}))

    path = tmp_path / "generated_images" / THREAD_ID / f"{CALL_ID}.png"
    picture = checked(png())
    assert path.read_bytes() == png() == await host.pictures.read(picture.ref)
    assert host.http.requests[0]["url"] == "http://images.test/v1/images/generations"
    assert host.http.requests[0]["headers"] == {**ENDPOINT.headers, "x-codex-image-turn-id": TURN_ID}
    assert shown(host) == [
        ("started", STARTED),
        ("completed", completed(path, png(), revisedPrompt="a red fox", generationId="gen-1")),
    ]
    assert host.items.pictures == [picture.ref]
    assert output == ToolOutput(
        content=(PictureContent(picture=picture.ref, detail="high"), TextContent(text=hint(path) or "")),
        log="[generated image]",
        hook={
            "path": str(path),
            "type": "image/png",
            **{k: v for k, v in picture.ref.to_json().items() if k != "mime"},
        },
        success=True,
    )


async def test_the_hint_names_folder_and_file_and_how_to_treat_them(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert hint(path) == (
        f"Pictures of this conversation are saved in {tmp_path}; this one is {path}\n"
        "To use it elsewhere, copy it rather than move it; the original stays unless the user wants it gone.\n"
        "The picture is already displayed to the user, so there is no need to render it as Markdown or to link it."
    )


def test_a_long_path_shortens_the_hint_and_a_longer_one_leaves_it_out() -> None:
    short = hint(Path("/" + "ä" * 300) / "a.png")
    assert short is not None
    assert short.startswith("The picture is saved as /ää")
    assert len(short.encode()) <= MAX_HINT_BYTES
    assert hint(Path("/" + "ä" * 500) / "a.png") is None
    assert hint(None) is None


async def test_neither_the_log_nor_the_hook_face_carries_bytes(tmp_path: Path) -> None:
    data = png(300, 300, (1, 2, 3))
    host = image_host(tmp_path, picture_answer(data))
    output = await host.tool.handle(host.call({"prompt": "a fox"}))
    for face in (output.log, json.dumps(output.hook), repr(output), repr(host.log.events)):
        assert len(face) < 4096
        assert as_base64(data)[:40] not in face
    assert "a fox" not in repr(host.log.events)


@pytest.mark.parametrize(
    ("asked", "sent"), [({}, "auto"), ({"transparent_background": False}, "auto"), ({"transparent_background": True}, "transparent")]
)  # fmt: skip
@pytest.mark.parametrize(
    ("got", "told"), [("transparent", True), ("opaque", False), ("auto", None), ("odd", None), (None, None)]
)
async def test_the_background_is_automatic_unless_transparency_was_asked_for(
    tmp_path: Path, asked: dict[str, Any], sent: str, got: str | None, told: bool | None
) -> None:
    host = image_host(tmp_path, picture_answer(background=got))
    await host.tool.handle(host.call({"prompt": "a fox", **asked}))
    assert host.http.requests[0]["body"]["background"] == sent
    assert shown(host)[1][1]["transparentBackground"] is told


async def test_the_suffix_and_the_type_follow_the_content_of_the_answer(tmp_path: Path) -> None:
    host = image_host(tmp_path, picture_answer(jpeg()))
    output = await host.tool.handle(host.call({"prompt": "a fox"}))
    assert (Path(output.hook["path"]).suffix, output.hook["type"]) == (".jpg", "image/jpeg")


async def test_an_edit_by_paths_sends_the_files_in_order_and_names_them_on_the_item(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    (tmp_path / "b.png").write_bytes(png(colour=(1, 1, 1)))
    (tmp_path / "a.jpg").write_bytes(jpeg())
    absolute = str(tmp_path / "a.jpg")
    arguments = {"prompt": "a fox", "action": "generate", "referenced_image_paths": ["b.png", absolute, "x/../b.png"]}
    await host.tool.handle(host.call(arguments))
    urls = [data_url(png(colour=(1, 1, 1))), data_url(jpeg(), "image/jpeg"), data_url(png(colour=(1, 1, 1)))]
    assert host.http.requests[0]["url"].endswith("/images/edits")
    assert [image["image_url"] for image in host.http.requests[0]["body"]["images"]] == urls
    assert shown(host)[1][1]["inputImages"] == [
        {"path": str(tmp_path / name), "sha256": hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}
        for name in ("b.png", "a.jpg", "b.png")
    ]


async def test_a_gif_is_sent_as_a_png_of_its_first_frame_and_named_by_its_own_hash(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    (tmp_path / "a.gif").write_bytes(gif(5, 4))
    await host.tool.handle(host.call({"prompt": "a fox", "referenced_image_paths": ["a.gif"]}))
    assert host.http.requests[0]["body"]["images"][0]["image_url"].startswith("data:image/png;base64,iVBOR")
    assert shown(host)[1][1]["inputImages"][0]["sha256"] == hashlib.sha256(gif(5, 4)).hexdigest()


@pytest.mark.parametrize(
    ("selector", "colours"),
    [
        ({"num_last_images_to_include": 1}, [2]),
        ({"num_last_images_to_include": 2}, [1, 2]),
        ({"action": "edit"}, [1, 2]),
    ],
)
async def test_an_edit_from_the_conversation_sends_the_stored_originals(
    tmp_path: Path, selector: dict[str, Any], colours: list[int]
) -> None:
    host = image_host(tmp_path)
    datas = [png(colour=(n, n, n)) for n in range(3)]
    refs = [await host.pictures.keep(checked(data), thread_id=THREAD_ID) for data in datas]
    history = [message(refs[0]), message(refs[1], refs[2])]
    await host.tool.handle(host.call({"prompt": "a fox", **selector}, history))
    images = host.http.requests[0]["body"]["images"]
    assert [image["image_url"] for image in images] == [data_url(datas[n]) for n in colours]
    assert "inputImages" not in shown(host)[1][1]


async def refused(host: ImageHost, arguments: dict[str, Any], history: tuple[dict[str, Any], ...] = ()) -> str:
    with pytest.raises(ToolFailure) as failure:
        await host.tool.handle(host.call(arguments, history))
    return failure.value.message


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


async def test_an_edit_with_an_api_key_at_the_public_api_says_that_it_is_not_there_yet(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, base_url="https://api.openai.com/v1", chatgpt=False))
    (tmp_path / "a.png").write_bytes(png())
    assert await refused(host, {"prompt": "a fox", "referenced_image_paths": ["a.png"]}) == (
        "editing pictures with an API key is not available yet; log in with ChatGPT to edit, or make a new picture "
        "from a prompt that describes the result"
    )
    assert (host.items.shown, host.http.requests) == ([], [])


async def test_a_new_picture_with_an_api_key_goes_to_the_public_api(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, base_url="https://api.openai.com/v1", chatgpt=False))
    await host.tool.handle(host.call({"prompt": "a fox"}))
    assert host.http.requests[0]["url"] == "https://api.openai.com/v1/images/generations"
    assert host.http.requests[0]["headers"] == dict(ENDPOINT.headers)


async def test_a_login_that_went_away_is_told(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    host.provider.missing = "set OPENAI_API_KEY"
    assert await refused(host, {"prompt": "a fox"}) == "image generation is not possible: set OPENAI_API_KEY"
    assert host.items.shown == []


LIMIT = {"type": "usageLimitExceeded", "limitId": "image_gen", "resetsAt": 1_700_000_000}
USED_UP = {"error": {"message": "used up", "type": "usage_limit_reached", "resets_at": 1_700_000_000}}
FAILURES = [
    pytest.param(error_answer(500, {"error": {"message": "boom"}}), {"type": "network"}, None, id="500"),
    pytest.param(error_answer(401, {"error": {"message": "bad key"}}), {"type": "unauthorized"}, None, id="401"),
    pytest.param(error_answer(400, {"error": {"code": "moderation_blocked"}}), {"type": "moderationBlocked"}, None, id="moderation"),
    pytest.param(
        error_answer(429, {"error": {"message": "slow"}}, retry_after="3", x_request_id="req-9"),
        {"type": "rateLimited", "retryAfterMs": 3000, "requestId": "req-9"},
        None,
        id="429",
    ),
    pytest.param(error_answer(429, USED_UP, x_codex_active_limit="image_gen"), {"type": "usageLimitExceeded"}, LIMIT, id="limit"),
    pytest.param(error_answer(429, USED_UP), {"type": "usageLimitExceeded"}, None, id="limit without a name"),
    pytest.param(HttpFailure("It is down."), {"type": "network"}, None, id="down"),
    pytest.param(HttpFailure("It is slow.", timeout=True), {"type": "timeout"}, None, id="slow"),
    pytest.param(HttpAnswer(status=200, headers={}, body=b"{}"), {"type": "invalidResponse"}, None, id="no data"),
    pytest.param(picture_answer(b"just words"), {"type": "invalidResponse", "requestId": "req-1"}, None, id="words"),
    pytest.param(picture_answer(png()[:40]), {"type": "invalidResponse", "requestId": "req-1"}, None, id="cut off"),
]  # fmt: skip


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
    host, http = image_host(tmp_path, settings=ImageSettings(**settings)), HangingHttp()
    host.tool._services = replace(host.tool._services, http=http)
    return host, http


async def test_a_backend_that_does_not_answer_fails_at_the_total_deadline(tmp_path: Path) -> None:
    host, _ = hanging(tmp_path, timeout_s=0.01)
    with anyio.fail_after(5):
        assert await refused(host, {"prompt": "a fox"}) == (
            "image generation failed: no picture came within 0.01 s; try again, or raise timeout_s under [image_generation]"
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
    assert output.content == (PictureContent(picture=ref),)
    assert output.hook["path"] is None
    assert host.items.warnings == ["The generated picture is shown but was not saved as a file: File exists."]
    assert [event for _, event, _ in host.log.events] == ["image_request", "image_not_saved"]


class FullPictures:
    """Checks pictures, but has no room for them."""

    def __init__(self, host: ImageHost) -> None:
        self.check = host.pictures.check

    async def save_generated(self, picture: CheckedPicture, **_: Any) -> None:
        raise OSError(28, "No space left on device")

    async def keep(self, picture: CheckedPicture, **_: Any) -> None:
        raise OSError(28, "No space left on device")


async def test_a_picture_that_cannot_be_kept_at_all_is_a_failed_item(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    full: Any = FullPictures(host)
    host.tool._services = replace(host.tool._services, pictures=full)
    assert await refused(host, {"prompt": "a fox"}) == (
        "image generation failed: the picture was made but could not be stored (No space left on device); "
        "check the disk and its free space"
    )
    assert shown(host)[1][1]["error"]["type"] == "saveFailed"


async def test_the_offline_stand_in_goes_the_whole_way_without_a_request(tmp_path: Path) -> None:
    host = image_host(tmp_path, endpoint=replace(ENDPOINT, offline=True, chatgpt=False))
    first = await host.tool.handle(host.call({"prompt": "a red fox"}))
    history = message(PictureRef.from_json({**first.hook, "mime": first.hook["type"]}))
    second = await host.tool.handle(host.call({"prompt": "make it night", "action": "edit"}, (history,)))
    assert [Path(output.hook["path"]).name for output in (first, second)] == ["call_1.png", "call_1-2.png"]
    assert first.hook["sha256"] != second.hook["sha256"]
    assert (first.hook["width"], first.hook["height"], host.http.requests) == (768, 512, [])


async def test_items_are_json_that_the_wire_takes(tmp_path: Path) -> None:
    host = image_host(tmp_path)
    await host.tool.handle(host.call({"prompt": "a fox"}))
    assert all(orjson.loads(orjson.dumps(item)) == item for _, item in shown(host))
