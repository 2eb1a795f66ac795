"""The tool `view_image` by itself: its arguments, when it is offered, what it shows, and what it refuses in words."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest

from app_server.extension_api import (
    AuthSnapshot,
    CheckedPicture,
    ExtensionItem,
    Hidden,
    ImageViewItem,
    ModelFacts,
    PictureContent,
    PictureRef,
    ProviderFacts,
    TextContent,
    ToolCall,
    ToolFailure,
    ToolName,
    ToolOutput,
    TurnScope,
    Visible,
)
from app_server.pictures.check import PictureLimits, check_picture
from app_server.pictures.store import PictureStore
from app_server.storage.memory import MemoryStorageWorld
from extensions.view_image import EXTENSION
from extensions.view_image.arguments import PARAMETERS, Detail, ViewArguments, parse_arguments
from extensions.view_image.tool import ViewImageTool, known_handle
from features import FEATURES, Stage, resolve_features
from tests.support.pictures import BLUE, RED, gif, jpeg, oversized_png, png, webp

Item = Mapping[str, Any]


class ShownItems:
    """Keeps what was shown, in order."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, ExtensionItem]] = []

    async def started(self, item: ExtensionItem) -> None:
        self.shown.append(("started", item))

    async def completed(self, item: ExtensionItem, *, picture: PictureRef | None = None) -> None:
        self.shown.append(("completed", item))

    async def warning(self, message: str) -> None:
        raise AssertionError(message)

    def rate_limits(self, headers: Mapping[str, str]) -> None:
        raise AssertionError("nothing was asked of a provider")

    async def paid_call(self, item_id: str, idempotency_key: str) -> None:
        raise AssertionError("looking at a file costs nothing")

    def progress(
        self, item_id: str, *, elapsed_ms: int, partial_index: int | None = None, preview: str | None = None
    ) -> None:
        raise AssertionError("looking at a file takes no time")


@pytest.fixture
def shown() -> ShownItems:
    return ShownItems()


def checked(data: bytes) -> CheckedPicture:
    return check_picture(data, PictureLimits())


def scope(cwd: Path = Path("/"), **changes: Any) -> TurnScope:
    made = TurnScope(
        thread_id="thread-1",
        turn_id="turn-1",
        cwd=cwd,
        originator="tests",
        features=resolve_features(FEATURES),
        auth=AuthSnapshot(),
        provider=ProviderFacts(id="acme"),
        model=ModelFacts(slug="some-model"),
    )
    return replace(made, **changes)


def tool(home: Path, pictures: PictureStore | None = None) -> ViewImageTool:
    return ViewImageTool(pictures or PictureStore(home, MemoryStorageWorld().process().blobs))


def call(cwd: Path, shown: ShownItems, arguments: Any, history: Sequence[Item] = (), **changes: Any) -> ToolCall:
    handles = count(7)
    return ToolCall(
        call_id="call_v",
        name=ToolName(None, "view_image"),
        arguments=arguments if isinstance(arguments, str) else orjson.dumps(arguments).decode(),
        scope=scope(cwd, **changes),
        history=history,
        items=shown,
        next_handle=lambda: f"img_{next(handles)}",
    )


def output(ref: PictureRef, path: Path, detail: str = "high", handle: str = "img_7") -> ToolOutput:
    hook = {
        "path": str(path),
        "type": ref.mime,
        "bytes": ref.size_bytes,
        "sha256": ref.sha256,
        "width": ref.width,
        "height": ref.height,
        "handle": handle,
    }
    content = (
        PictureContent(picture=ref, detail=detail, handle=handle),
        TextContent(text=f"This picture is {handle}."),
    )
    return ToolOutput(content=content, log="[viewed image]", hook=hook)


async def refused(made: ViewImageTool, asked: ToolCall, shown: ShownItems) -> str:
    """The text for the model; nothing was shown to anybody."""
    with pytest.raises(ToolFailure) as failure:
        await made.handle(asked)
    assert shown.shown == []
    return failure.value.message


def test_the_extension_stands_behind_a_feature_that_is_stable_and_on() -> None:
    row = next(row for row in FEATURES if row.key == EXTENSION.feature)
    assert (row.key, row.stage, row.default, row.requires) == ("view_image", Stage.STABLE, True, ())


def test_the_tool_is_a_plain_function_whose_limits_stand_in_its_schema(tmp_path: Path) -> None:
    made = tool(tmp_path)
    spec = made.spec(scope())
    assert (made.name, spec.name, spec.parameters) == (ToolName(None, "view_image"), made.name, PARAMETERS)
    assert (spec.strict, spec.namespace_description) == (False, None)
    assert PARAMETERS["required"] == ["path"]
    assert PARAMETERS["properties"]["detail"]["enum"] == ["high", "original", None]


def test_it_is_offered_to_models_that_take_images_whatever_makes_pictures(tmp_path: Path) -> None:
    made = tool(tmp_path)
    blind = ModelFacts(slug="text-only", accepts_images=False)
    assert made.exposure(scope()) == Visible()
    assert made.exposure(scope(model=blind)) == Hidden("the model text-only takes no images; choose one that does")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"path": "a.png"}, ViewArguments(path="a.png")),
        ({"path": "a.png", "detail": None}, ViewArguments(path="a.png")),
        ({"path": "a.png", "detail": "high"}, ViewArguments(path="a.png")),
        ({"path": "~/a b.png", "detail": "original"}, ViewArguments(path="~/a b.png", detail=Detail.ORIGINAL)),
    ],
)
def test_good_arguments_are_read(arguments: Item, expected: ViewArguments) -> None:
    assert parse_arguments(orjson.dumps(arguments).decode()) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the arguments are not valid JSON (line 1, column 2); send one JSON object with `path`"),
        ("[]", "the arguments must be a JSON object; send one with `path`"),
        ("{}", "`path` is missing; give the path of the picture file to look at"),
        ('{"path": null}', "`path` is missing; give the path of the picture file to look at"),
        ('{"path": ["a"]}', "`path` must be a string; give the path of one picture file, one call for each"),
        ('{"path": " "}', "`path` must not be empty; give the path of the picture file to look at"),
        (
            '{"path": "https://x.test/a.png"}',
            "`path` takes a path, not a URL such as `https://x.test/a.png`; give the path of a picture file on this "
            "machine",
        ),
        (
            '{"path": "a", "size": 1}',
            "`size` is not an argument of this tool; leave it out and use only `path`, `detail`",
        ),
        ('{"path": "a", "detail": "low"}', "`detail` must be `high` or `original`, not `low`; or leave it out"),
        (
            '{"path": "a", "detail": 3}',
            "`detail` must be `high` or `original`, not a value of another type; or leave it out",
        ),
    ],
)
def test_wrong_arguments_are_told_with_the_rule_and_the_fix(text: str, message: str) -> None:
    with pytest.raises(ToolFailure) as failure:
        parse_arguments(text)
    assert failure.value.message == message


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "data"), [("a.png", png()), ("b.jpg", jpeg()), ("c.webp", webp()), ("d.gif", gif()), ("png.txt", png())]
)
async def test_a_picture_file_is_shown_to_the_client_and_to_the_model(
    tmp_path: Path, shown: ShownItems, name: str, data: bytes
) -> None:
    (tmp_path / name).write_bytes(data)
    result = await tool(tmp_path).handle(call(tmp_path, shown, {"path": name}))
    assert result == output(checked(data).ref, tmp_path / name)
    item = ImageViewItem(id="call_v", path=str(tmp_path / name))
    assert shown.shown == [("started", item), ("completed", item)]
    assert len(orjson.dumps(result.hook)) < 4096


@pytest.mark.anyio
async def test_the_detail_goes_along_with_the_picture(tmp_path: Path, shown: ShownItems) -> None:
    (tmp_path / "a.png").write_bytes(png())
    result = await tool(tmp_path).handle(call(tmp_path, shown, {"path": "a.png", "detail": "original"}))
    assert result == output(checked(png()).ref, tmp_path / "a.png", detail="original")


@pytest.mark.anyio
async def test_what_hooks_get_stays_small_however_long_the_path_is(tmp_path: Path, shown: ShownItems) -> None:
    folder = tmp_path
    while len(str(folder)) < 3300:
        folder = folder / ("x" * 200)
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(png())
    result = await tool(tmp_path).handle(call(tmp_path, shown, {"path": str(folder / "a.png")}))
    assert (result.hook["path"], len(orjson.dumps(result.hook)) < 4096) == (None, True)


@pytest.mark.anyio
async def test_a_path_may_be_absolute_relative_or_below_the_home(
    tmp_path: Path, shown: ShownItems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "below").mkdir()
    for path in (str(tmp_path / "a.png"), "../a.png", "~/a.png", "x/.././../a.png"):
        await tool(tmp_path).handle(call(tmp_path / "below", shown, {"path": path}))
    assert {item.path for _, item in shown.shown if isinstance(item, ImageViewItem)} == {str(tmp_path / "a.png")}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.png", "unable to read the picture at `{}`: there is no such file; check the path"),
        ("folder", "unable to read the picture at `{}`: it is a folder or a device; give the path of a picture file"),
        (
            "words.png",
            "unable to use the picture at `{}`: the bytes are plain text; PNG, JPEG, WebP and GIF pictures are taken",
        ),
        ("cut.png", "unable to use the picture at `{}`: it begins like a PNG picture but is damaged or cut off"),
        (
            "bomb.png",
            "unable to use the picture at `{}`: it has 60000x60000 pixels, more than the 100 million that are decoded",
        ),
        ("large.png", "unable to use the picture at `{}`: it has more than the 5000 bytes that a picture may have"),
    ],
)
async def test_what_cannot_be_shown_is_told_with_its_path_and_leaves_no_item(
    tmp_path: Path, shown: ShownItems, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "words.png").write_text("these are words")
    (tmp_path / "cut.png").write_bytes(png(200, 200)[:60])
    (tmp_path / "bomb.png").write_bytes(oversized_png())
    (tmp_path / "large.png").write_bytes(png() + bytes(6000))
    store = PictureStore(tmp_path, MemoryStorageWorld().process().blobs, PictureLimits(max_bytes=5000))
    text = await refused(tool(tmp_path, store), call(tmp_path, shown, {"path": name}), shown)
    assert text == message.format(tmp_path / name)


@pytest.mark.anyio
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
async def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path, shown: ShownItems) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    text = await refused(tool(tmp_path), call(tmp_path, shown, {"path": "pipe.png"}), shown)
    assert "it is a folder or a device" in text


class FullStore(PictureStore):
    """A store whose disk is full."""

    async def keep(self, picture: CheckedPicture, *, thread_id: str, paid: bool = False) -> PictureRef:
        raise OSError(28, "No space left on device")


@pytest.mark.anyio
async def test_a_picture_that_cannot_be_kept_is_told_and_leaves_no_item(tmp_path: Path, shown: ShownItems) -> None:
    (tmp_path / "a.png").write_bytes(png())
    full = FullStore(tmp_path, MemoryStorageWorld().process().blobs)
    text = await refused(tool(tmp_path, full), call(tmp_path, shown, {"path": "a.png"}), shown)
    cause = "could not be stored: No space left on device; check the disk and its free space"
    assert text == f"the picture at `{tmp_path / 'a.png'}` {cause}"


@pytest.mark.anyio
async def test_a_model_without_eyes_is_told_so_when_it_calls_all_the_same(tmp_path: Path, shown: ShownItems) -> None:
    blind = ModelFacts(slug="text-only", accepts_images=False)
    asked = call(tmp_path, shown, {"path": "a.png"}, model=blind)
    text = await refused(tool(tmp_path), asked, shown)
    assert text == "view_image cannot be used: the model text-only takes no images; choose one that does"


@pytest.mark.anyio
async def test_a_picture_that_has_a_name_already_keeps_it(tmp_path: Path, shown: ShownItems) -> None:
    (tmp_path / "a.png").write_bytes(png())
    ref = checked(png()).ref
    part = {"type": "input_image", "picture": ref.to_json(), "detail": "high", "handle": "img_2"}
    history = [{"type": "message", "role": "user", "content": [part]}]
    result = await tool(tmp_path).handle(call(tmp_path, shown, {"path": "a.png"}, history))
    assert result == output(ref, tmp_path / "a.png", handle="img_2")


RED_REF, BLUE_REF = checked(png(colour=RED)).ref, checked(png(colour=BLUE)).ref
RED_PART = {"type": "input_image", "picture": RED_REF.to_json(), "handle": "img_1"}


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], None),
        ([{"type": "message", "role": "user", "content": [RED_PART]}], "img_1"),
        (
            [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_text", "text": ""}, RED_PART],
                }
            ],
            "img_1",
        ),
        ([{"type": "function_call_output", "call_id": "c", "output": "words"}], None),
        ([{"type": "image_generation_call", "id": "ig", "picture": RED_REF.to_json(), "handle": "img_4"}], "img_4"),
        ([{"type": "message", "role": "user", "content": [{**RED_PART, "picture": BLUE_REF.to_json()}]}], None),
        (
            [{"type": "message", "role": "user", "content": [{"type": "input_image", "picture": RED_REF.to_json()}]}],
            None,
        ),
    ],
)
def test_a_name_is_found_wherever_the_picture_stands_in_the_conversation(
    history: list[Item], expected: str | None
) -> None:
    assert known_handle(history, RED_REF.sha256) == expected
