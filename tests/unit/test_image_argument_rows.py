"""Every row of the reference's table of arguments (what it does with each input), and what happens here instead.

A row that ends in a refusal makes no item and no request. Where the reference answers with the message of its parser or
sends a wrong value on, the text here names the argument, the rule and the fix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app_server.extension_api import ImageSettings, ToolCall, ToolFailure
from tests.support.image_fakes import ImageHost, checked, image_host, message, refused
from tests.support.pictures import png

pytestmark = pytest.mark.anyio

SENT = [
    pytest.param({}, "generations", 0, id="both selectors absent"),
    pytest.param(
        {"referenced_image_paths": None, "num_last_images_to_include": None}, "generations", 0, id="both null"
    ),
    pytest.param({"referenced_image_paths": []}, "generations", 0, id="empty path list"),
    pytest.param({"referenced_image_paths": ["a.png"]}, "edits", 1, id="one path"),
    pytest.param(
        {"referenced_image_paths": ["a.png", "b.png"] * 2 + ["a.png"]}, "edits", 5, id="five, with duplicates"
    ),
    pytest.param({"referenced_image_paths": [], "num_last_images_to_include": 1}, "edits", 1, id="empty list and num"),
    pytest.param({"referenced_image_paths": ["./a.png"]}, "edits", 1, id="relative path: refused there"),
    pytest.param({"referenced_image_paths": ["x/../a.png"]}, "edits", 1, id="path with .. is normalised"),
    pytest.param({"referenced_image_paths": ["link.png"]}, "edits", 1, id="symlink is followed"),
    pytest.param({"transparent_background": None}, "generations", 0, id="transparent_background null: refused there"),
]
REFUSED = [
    pytest.param(
        {"referenced_image_paths": ["a.png"] * 6}, "`referenced_image_paths` must contain at most 5 paths", id="6 paths"
    ),
    pytest.param(
        {"referenced_image_paths": ["a.png"], "num_last_images_to_include": 1},
        "`referenced_image_paths` and `num_last_images_to_include` exclude each other; give only one of them",
        id="paths and num",
    ),
    pytest.param({"num_last_images_to_include": 0}, "must be between 1 and 5", id="num 0"),
    pytest.param({"num_last_images_to_include": 6}, "must be between 1 and 5", id="num 6"),
    pytest.param({"num_last_images_to_include": -1}, "must be between 1 and 5", id="num -1"),
    pytest.param({"num_last_images_to_include": "1"}, "must be a whole number, not a string", id='num "1"'),
    pytest.param(
        {"num_last_images_to_include": 2},
        "`num_last_images_to_include` is 2, but the conversation has only 1 picture",
        id="fewer images than num",
    ),
    pytest.param(
        {"referenced_image_paths": ["gone.png"]}, "gone.png`: there is no such file; check the path", id="missing"
    ),
    pytest.param({"referenced_image_paths": ["."]}, "it is a folder or a device", id="path is a folder"),
    pytest.param({"referenced_image_paths": ["words.png"]}, "the bytes are plain text", id="not an image"),
    pytest.param({"referenced_image_paths": ["broken.png"]}, "is damaged or cut off", id="corrupt png"),
    pytest.param({"referenced_image_paths": ["a.bmp"]}, "the bytes are a BMP picture", id="bmp"),
    pytest.param(
        {"referenced_image_paths": ["file:///a.png"]}, "takes paths, not URLs such as `file:///a.png`", id="file URL"
    ),
    pytest.param({"size": "1024x1024"}, "`size` is not an argument of this tool", id="unknown field"),
    pytest.param({"prompt": None}, "`prompt` must be a string, not null", id="prompt null"),
    pytest.param({"prompt": ""}, "`prompt` must not be empty", id="empty prompt: sent on there"),
    pytest.param({"transparent_background": "yes"}, "must be true or false, not a string", id="wrong type"),
    pytest.param({"gif": {}}, "`gif` is not an argument of this tool", id="gif where it is not offered"),
]
REFUSED_GIFS = [
    pytest.param({"gif": {"frame_count": 1}}, "`gif.frame_count` must be between 2 and 16", id="1 frame"),
    pytest.param({"gif": {"frame_count": 17}}, "`gif.frame_count` must be between 2 and 16", id="17 frames"),
    pytest.param({"gif": {"frame_duration_ms": 0}}, "must be between 20 and 2000", id="duration 0"),
    pytest.param({"gif": {"speed": 1}}, "`gif` has no member `speed`", id="unknown key"),
    pytest.param({"gif": True}, "`gif` must be an object, not a boolean", id="gif: true"),
]


async def prepared(folder: Path, **settings: Any) -> tuple[ImageHost, list[dict[str, Any]]]:
    """A host with picture files, and a history with one picture."""
    host = image_host(folder, settings=ImageSettings(**settings))
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(png())
    (folder / "link.png").symlink_to(folder / "a.png")
    (folder / "words.png").write_text("just words")
    (folder / "broken.png").write_bytes(png()[:40])
    (folder / "a.bmp").write_bytes(b"BM" + bytes(60))
    ref = await host.pictures.keep(checked(png()), thread_id="thread-1")
    return host, [message(ref)]


@pytest.mark.parametrize(("given", "route", "images"), SENT)
async def test_what_is_sent(tmp_path: Path, given: dict[str, Any], route: str, images: int) -> None:
    host, history = await prepared(tmp_path)
    await host.tool.handle(host.call({"prompt": "a fox", **given}, history))
    assert host.http.requests[0]["url"].endswith(f"/images/{route}")
    assert len(host.http.requests[0]["body"].get("images", ())) == images


async def test_a_path_from_the_home_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    host, _ = await prepared(tmp_path)
    await host.tool.handle(host.call({"prompt": "a fox", "referenced_image_paths": ["~/a.png"]}))
    assert len(host.http.requests[0]["body"]["images"]) == 1


@pytest.mark.parametrize(("given", "text"), REFUSED)
async def test_what_is_refused_without_item_and_request(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    host, history = await prepared(tmp_path)
    assert text in await refused(host, {"prompt": "a fox", **given}, history)
    assert (host.items.shown, host.items.paid, host.http.requests) == ([], [], [])


@pytest.mark.parametrize(("given", "text"), REFUSED_GIFS)
async def test_what_is_refused_of_an_animation(tmp_path: Path, given: dict[str, Any], text: str) -> None:
    host, history = await prepared(tmp_path, expose_parameters=True)
    assert text in await refused(host, {"prompt": "a fox", **given}, history)
    assert (host.items.shown, host.http.requests) == ([], [])


@pytest.mark.parametrize(
    ("text", "told"), [("{}", "`prompt` is missing"), ('{"prompt": ', "the arguments are not valid JSON")]
)
async def test_a_missing_prompt_and_bad_json_are_told(tmp_path: Path, text: str, told: str) -> None:
    host, _ = await prepared(tmp_path)
    call = host.call({"prompt": "a fox"})
    broken = ToolCall(**{name: getattr(call, name) for name in call.__slots__} | {"arguments": text})
    with pytest.raises(ToolFailure, match=told):
        await host.tool.handle(broken)
    assert (host.items.shown, host.http.requests) == ([], [])


async def test_a_path_without_permission_is_told(tmp_path: Path) -> None:
    host, _ = await prepared(tmp_path)
    (tmp_path / "a.png").chmod(0)
    try:
        (tmp_path / "a.png").read_bytes()
    except PermissionError:
        text = await refused(host, {"prompt": "a fox", "referenced_image_paths": ["a.png"]})
        assert "this server may not read it" in text
        assert host.items.shown == []
