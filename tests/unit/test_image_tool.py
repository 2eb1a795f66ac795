"""The tool `image_gen.imagegen` from the call to the output: spec, requests, items, files, faces."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.extension_api import (
    ImageSettings,
    PictureContent,
    PictureRef,
    TextContent,
    ToolName,
    ToolOutput,
    ToolSpec,
    Visible,
)
from extensions import BUILTIN, image_generation
from extensions.image_generation import EXTENSION
from extensions.image_generation.argument_table import parameters, rules_for
from extensions.image_generation.backends.base import ResultPicture
from extensions.image_generation.outcome import MAX_HINT_BYTES, Made, hint, hook_facts
from features import FEATURES
from tests.support.image_fakes import (
    CALL_ID,
    ENDPOINT,
    STARTED,
    THREAD_ID,
    TURN_ID,
    checked,
    completed,
    image_host,
    image_scope,
    message,
    part,
    picture_answer,
    shown,
)
from tests.support.pictures import as_base64, data_url, gif, jpeg, png

pytestmark = pytest.mark.anyio


def test_the_extension_is_built_in_behind_the_flag_of_its_row(tmp_path: Path) -> None:
    services = image_host(tmp_path).services
    assert image_generation.__name__ in BUILTIN
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
        parameters=parameters(rules_for(ImageSettings())),
        namespace_description="Makes and edits pictures.",
        strict=False,
        max_parallel=4,
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
        "`referenced_images`",
        "a handle such as `img_1`",
        "Give only one of these selectors",
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


def test_the_spec_follows_the_settings(tmp_path: Path) -> None:
    settings = ImageSettings(expose_parameters=True, max_references=16, max_parallel=2)
    spec = image_host(tmp_path, settings=settings).tool.spec(image_scope())
    assert "up to 16 paths" in spec.description
    assert "`n` makes variants of one prompt" in spec.description
    assert spec.max_parallel == 2
    assert "size" in spec.parameters["properties"]
    assert "`n` makes variants" not in image_host(tmp_path).tool.spec(image_scope()).description


async def test_a_new_picture_is_requested_saved_shown_and_given_to_the_model(tmp_path: Path) -> None:
    answer = picture_answer(png(), revised_prompt="a red fox", generation_id="gen-1")
    host = image_host(tmp_path, answer)
    output = await host.tool.handle(host.call({"prompt": "a fox"}))

    path = tmp_path / "generated_images" / THREAD_ID / f"{CALL_ID}.png"
    picture = checked(png())
    assert path.read_bytes() == png() == await host.pictures.read(picture.ref)
    assert host.http.requests[0]["url"] == "http://images.test/v1/images/generations"
    ((item_id, key),) = host.items.paid
    assert (item_id, len(key)) == (CALL_ID, 36)
    assert host.http.requests[0]["headers"] == {
        **ENDPOINT.headers,
        "x-codex-image-turn-id": TURN_ID,
        "idempotency-key": key,
    }
    assert shown(host) == [
        ("started", STARTED),
        ("completed", completed(path, png(), revisedPrompt="a red fox", generationId="gen-1")),
    ]
    assert host.items.pictures == [picture.ref]
    assert output == ToolOutput(
        content=(PictureContent(picture=picture.ref, detail="high", handle="img_1"), TextContent(text=told(path))),
        log="[generated image]",
        hook={
            "path": str(path),
            "type": "image/png",
            "bytes": len(png()),
            "sha256": picture.ref.sha256,
            "width": 8,
            "height": 8,
            "handle": "img_1",
        },
        success=True,
    )


def made(path: Path | None) -> Made:
    """A picture that was made and stored there."""
    picture = checked(png())
    return Made(source=ResultPicture(data=png()), picture=picture, ref=picture.ref, path=path, handle="img_1")


def told(path: Path | None) -> str:
    return hint([made(path)])


def test_the_hint_names_handle_folder_and_file_and_how_to_treat_them(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert told(path) == (
        f"This picture is img_1. Pictures of this conversation are saved in {tmp_path}; this one is {path}\n"
        "To use it elsewhere, copy it rather than move it; the original stays unless the user wants it gone.\n"
        "The picture is already displayed to the user, so there is no need to render it as Markdown or to link it."
    )


def test_a_long_path_shortens_the_hint_and_the_handle_always_stays() -> None:
    short = told(Path("/" + "ä" * 300) / "a.png")
    assert short.startswith("This picture is img_1, saved as /ää")
    assert len(short.encode()) <= MAX_HINT_BYTES
    too_long = told(Path("/" + "ä" * 500) / "a.png")
    assert too_long.startswith("This picture is img_1; its path is too long to be told here.")
    assert told(None).startswith("This picture is img_1; it is kept without a file, so use that name for it.")


def test_the_face_for_hooks_stays_small_however_long_the_paths(tmp_path: Path) -> None:
    deep = made(Path("/" + "ä" * 2000) / "a.png")
    assert hook_facts([deep])["path"] is None
    for count in (1, 2, 10):
        assert len(orjson.dumps(hook_facts([deep] * count))) < 4096
        assert len(orjson.dumps(hook_facts([made(tmp_path / "a.png")] * count))) < 4096
    assert hook_facts([made(tmp_path / "a.png")] * 3)["count"] == 3


async def test_neither_the_log_nor_the_hook_face_carries_bytes(tmp_path: Path) -> None:
    data = png(300, 300, (1, 2, 3))
    host = image_host(tmp_path, picture_answer(data))
    output = await host.tool.handle(host.call({"prompt": "a fox"}))
    for face in (output.log, json.dumps(output.hook), repr(output), repr(host.log.events)):
        assert len(face) < 4096
        assert as_base64(data)[:40] not in face
    assert "a fox" not in repr(host.log.events)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({}, "auto"),
        ({"transparent_background": None}, "auto"),
        ({"transparent_background": False}, "auto"),
        ({"transparent_background": True}, "transparent"),
    ],
)
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
        ({"referenced_images": ["img_0"]}, [0]),
        ({"referenced_images": ["img_2", "img_0"]}, [2, 0]),
    ],
)
async def test_an_edit_from_the_conversation_sends_the_stored_originals(
    tmp_path: Path, selector: dict[str, Any], colours: list[int]
) -> None:
    host = image_host(tmp_path)
    datas = [png(colour=(n, n, n)) for n in range(3)]
    refs = [await host.pictures.keep(checked(data), thread_id=THREAD_ID) for data in datas]
    first, second = message(refs[0]), message(refs[1], refs[2])
    first["content"] = [part(refs[0], "img_0")]
    second["content"] = [part(refs[1], "img_1"), part(refs[2], "img_2")]
    history = [first, second]
    await host.tool.handle(host.call({"prompt": "a fox", **selector}, history))
    images = host.http.requests[0]["body"]["images"]
    assert [image["image_url"] for image in images] == [data_url(datas[n]) for n in colours]
    assert "inputImages" not in shown(host)[1][1]


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
