"""image/list, image/read, image/delete: a client without the server's disk shows and removes pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # jsonschema ships no types
from PIL import Image

from app_server.bootstrap import App
from tests.conformance import manifest
from tests.interaction.conversation import (
    UNKNOWN_THREAD,
    Client,
    imagegen,
    picture_home,
    refused,
    run_turn,
    start_thread,
)
from tests.support.pictures import BLUE, GREEN, RED, data_url, png
from tests.support.server import connected, running
from tests.support.upstream import ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio
SCHEMA = orjson.loads((Path(__file__).parents[2] / "docs" / "schema" / "image.json").read_bytes())
UNKNOWN_SHA256 = "0" * 64
Talk = tuple[ScriptedUpstream, App, Client]


@pytest.fixture
async def talk(tmp_path: Path) -> AsyncIterator[Talk]:
    async with ScriptedUpstream() as up, running(picture_home(tmp_path, up)) as app, connected(app) as client:
        yield up, app, client


async def ask(client: Client, method: str, **params: Any) -> dict[str, Any]:
    """A result; it and the params fit our own schema."""
    pointers = SCHEMA["methods"][method]
    result = await client.request(method, params)
    for kind, value in (("params", params), ("result", result)):
        schema = {"$ref": f"#/definitions/{pointers[kind]}", "definitions": SCHEMA["definitions"]}
        Draft7Validator(schema).validate(value)
    return dict(result)


async def draw(
    up: ScriptedUpstream, client: Client, thread_id: str, call_id: str, data: bytes, prompt: str = "x"
) -> Any:
    """Make one picture in a turn of its own; returns the finished item."""
    up.images.append(image_reply(data))
    up.queue += [sse(f"r-{call_id}", imagegen(call_id, prompt=prompt)), text_turn(f"t-{call_id}", "Done.")]
    await run_turn(client, thread_id)
    return (await client.wait_for("item/completed", item__id=call_id))["item"]


async def items_of(client: Client, thread_id: str) -> dict[str, Any]:
    """The items of a thread as they are read back."""
    read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
    return {item["id"]: item for turn in read["thread"]["turns"] for item in turn["items"]}


def test_the_schema_has_exactly_our_own_methods() -> None:
    assert set(SCHEMA["methods"]) == manifest.OWN_METHODS
    for pointers in SCHEMA["methods"].values():
        assert set(pointers.values()) <= set(SCHEMA["definitions"])


async def test_pictures_are_listed_with_their_facts_the_newest_first(talk: Talk) -> None:
    up, _, client = talk
    one, two = await start_thread(client), await start_thread(client)
    first = await draw(up, client, one, "call_1", png(colour=RED), prompt="a fox")
    await draw(up, client, two, "call_2", png(colour=BLUE), prompt="a whale")
    listed = (await ask(client, "image/list"))["data"]
    assert [(row["itemId"], row["threadId"], row["prompt"]) for row in listed] == [
        ("call_2", two, "a whale"),
        ("call_1", one, "a fox"),
    ]
    (row,) = (await ask(client, "image/list", threadId=one))["data"]
    turn_id = client.notifications("turn/completed")[0]["turn"]["id"]
    assert row == {
        "sha256": first["sha256"],
        "threadId": one,
        "turnId": turn_id,
        "itemId": "call_1",
        "handle": "img_1",
        "path": first["savedPath"],
        "mimeType": "image/png",
        "bytes": len(png(colour=RED)),
        "width": 8,
        "height": 8,
        "createdAt": row["createdAt"],
        "prompt": "a fox",
        "model": "gpt-image-2",
    }


async def test_pages_of_pictures_hold_every_picture_once(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    for number in range(3):
        await draw(up, client, thread_id, f"call_{number}", png(colour=(number, 0, 0)))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await ask(client, "image/list", threadId=thread_id, limit=2, cursor=cursor)
        seen += [row["itemId"] for row in page["data"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == ["call_2", "call_1", "call_0"]


@pytest.mark.parametrize("cursor", ["", "x", "1.2.3", f"-1.2.{UNKNOWN_THREAD}", f"1.2.{UNKNOWN_THREAD}\n"])
async def test_a_cursor_that_no_reply_gave_is_refused(talk: Talk, cursor: str) -> None:
    code, sentence = await refused(talk[2], "image/list", {"cursor": cursor})
    shown = cursor.replace("\n", "␊")  # one line, whatever came
    assert (code, sentence) == (-32600, f"invalid cursor: {shown}; use one that a reply gave")


async def test_a_picture_is_read_in_pieces_by_its_item_and_by_its_sha256(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    data = png(40, 30, BLUE)
    item = await draw(up, client, thread_id, "call_1", data)
    joined, offset = b"", 0
    while offset is not None:
        chunk = await ask(client, "image/read", threadId=thread_id, itemId="call_1", offset=offset, length=50)
        assert (chunk["sha256"], chunk["totalBytes"], chunk["offset"]) == (item["sha256"], len(data), offset)
        joined += base64.b64decode(chunk["data"])
        offset = chunk["nextOffset"]
    assert joined == data
    whole = await ask(client, "image/read", sha256=item["sha256"])
    assert (base64.b64decode(whole["data"]), whole["nextOffset"]) == (data, None)


async def test_a_smaller_copy_is_read_by_its_longest_edge(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    item = await draw(up, client, thread_id, "call_1", png(400, 200))
    copy = await ask(client, "image/read", sha256=item["sha256"], maxEdge=100)
    with Image.open(io.BytesIO(base64.b64decode(copy["data"]))) as picture:
        assert (picture.size, copy["mimeType"], copy["sha256"]) == ((100, 50), "image/jpeg", item["sha256"])


async def test_an_attachment_is_read_by_its_sha256_too(talk: Talk) -> None:
    up, app, client = talk
    up.queue.append(text_turn("r1", "Nice."))
    thread_id = await start_thread(client)
    url = data_url(png(colour=GREEN))
    await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "image", "url": url}]})
    await client.wait_for("turn/completed")
    wiring = await app.wiring()
    sha256 = (await wiring.pictures.check(png(colour=GREEN))).ref.sha256
    assert base64.b64decode((await ask(client, "image/read", sha256=sha256))["data"]) == png(colour=GREEN)
    assert (await ask(client, "image/list"))["data"] == []


async def test_a_piece_is_never_larger_than_the_connection_takes(talk: Talk) -> None:
    up, app, client = talk
    thread_id = await start_thread(client)
    item = await draw(up, client, thread_id, "call_1", png(300, 300, BLUE) + bytes(20_000))
    async with connected(app, pictures={"maxMessageBytes": 5000}) as small:
        chunk = await ask(small, "image/read", sha256=item["sha256"])
    assert (len(orjson.dumps(chunk)) < 5000, chunk["nextOffset"], len(base64.b64decode(chunk["data"]))) == (
        True,
        2982,
        2982,
    )


@pytest.mark.parametrize(
    ("method", "params", "sentence"),
    [
        ("image/read", {}, "name the picture by sha256, or by threadId and itemId"),
        ("image/read", {"itemId": "c"}, "name the picture by sha256, or by threadId and itemId"),
        ("image/delete", {"threadId": "T"}, "name the picture by sha256, or by threadId and itemId"),
        ("image/read", {"sha256": UNKNOWN_SHA256}, f"no picture with sha256 {UNKNOWN_SHA256}; image/list names"),
        ("image/delete", {"sha256": UNKNOWN_SHA256}, f"no picture with sha256 {UNKNOWN_SHA256}; image/list names"),
        ("image/read", {"threadId": "T", "itemId": "../../x"}, "no picture with item ../../x of thread"),
        ("image/read", {"threadId": UNKNOWN_THREAD, "itemId": "c"}, "no such thread is stored"),
        ("image/list", {"threadId": "../../etc"}, "invalid thread id: ../../etc is not a UUID"),
        ("image/read", {"sha256": "../../etc/passwd"}, "Invalid request: "),
        ("image/read", {"sha256": "A" * 64}, "Invalid request: "),
        ("image/read", {"sha256": UNKNOWN_SHA256, "length": 0}, "Invalid request: "),
        ("image/read", {"sha256": UNKNOWN_SHA256, "length": 4194305}, "Invalid request: "),
        ("image/read", {"sha256": UNKNOWN_SHA256, "offset": -1}, "Invalid request: "),
        ("image/read", {"sha256": UNKNOWN_SHA256, "maxEdge": 15}, "Invalid request: "),
        ("image/url", {"sha256": UNKNOWN_SHA256, "expiresInS": 3601}, "Invalid request: "),
        ("image/url", {"sha256": UNKNOWN_SHA256}, "this server does not listen on a port"),
    ],
)
async def test_what_does_not_name_a_stored_picture_is_refused_in_one_sentence(
    talk: Talk, method: str, params: dict[str, Any], sentence: str
) -> None:
    client = talk[2]
    thread_id = await start_thread(client)
    given = {name: thread_id if value == "T" else value for name, value in params.items()}
    code, told = await refused(client, method, given)
    assert (code, sentence in told) == (-32600, True), told


async def test_a_picture_whose_file_was_changed_is_not_served(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    item = await draw(up, client, thread_id, "call_1", png())
    Path(item["savedPath"]).write_bytes(b"something else")
    _, told = await refused(client, "image/read", {"sha256": item["sha256"]})
    assert "was changed after it was stored" in told


async def test_a_deleted_picture_leaves_its_file_the_list_and_says_so_in_its_item(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    first = await draw(up, client, thread_id, "call_1", png(colour=RED))
    second = await draw(up, client, thread_id, "call_2", png(colour=BLUE))
    assert await ask(client, "image/delete", threadId=thread_id, itemId="call_1") == {"removed": 1, "filesRemoved": 1}
    assert [Path(item["savedPath"]).exists() for item in (first, second)] == [False, True]
    assert [row["itemId"] for row in (await ask(client, "image/list"))["data"]] == ["call_2"]
    items = await items_of(client, thread_id)
    assert ("savedPath" in items["call_1"], items["call_1"]["removed"]) == (False, "deleted")
    assert (items["call_2"]["savedPath"], "removed" in items["call_2"]) == (second["savedPath"], False)
    _, told = await refused(client, "image/delete", {"threadId": thread_id, "itemId": "call_1"})
    assert told.startswith("no picture with item call_1 of thread")


async def test_one_of_two_equal_pictures_is_deleted_alone_by_its_item_and_both_by_their_sha256(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    items = [await draw(up, client, thread_id, f"call_{number}", png()) for number in range(3)]
    await ask(client, "image/delete", threadId=thread_id, itemId="call_1")
    assert [Path(item["savedPath"]).exists() for item in items] == [True, False, True]
    gone = await ask(client, "image/delete", sha256=items[0]["sha256"])
    assert (gone, [Path(item["savedPath"]).exists() for item in items]) == (
        {"removed": 2, "filesRemoved": 2},
        [False, False, False],
    )


async def test_a_picture_of_a_stored_thread_that_is_not_loaded_is_deleted_too(tmp_path: Path) -> None:
    async with ScriptedUpstream() as up:
        home = picture_home(tmp_path, up)
        async with running(home) as app, connected(app) as client:
            thread_id = await start_thread(client)
            item = await draw(up, client, thread_id, "call_1", png())
        async with running(home) as app, connected(app) as client:
            assert (await ask(client, "image/list"))["data"][0]["path"] == item["savedPath"]
            await ask(client, "image/delete", sha256=item["sha256"])
            assert (await items_of(client, thread_id))["call_1"]["removed"] == "deleted"
    assert not Path(item["savedPath"]).exists()


async def test_a_fork_keeps_a_picture_that_its_origin_deletes(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client)
    item = await draw(up, client, thread_id, "call_1", png())
    fork_id = (await client.request("thread/fork", {"threadId": thread_id}))["thread"]["id"]
    told = await ask(client, "image/delete", threadId=thread_id, itemId="call_1")
    assert (told, Path(item["savedPath"]).exists()) == ({"removed": 1, "filesRemoved": 0}, True)
    assert [row["threadId"] for row in (await ask(client, "image/list"))["data"]] == [fork_id]
    await ask(client, "image/delete", sha256=item["sha256"], threadId=fork_id)
    assert not Path(item["savedPath"]).exists()


async def test_a_picture_of_an_ephemeral_thread_is_listed_by_its_thread_alone(talk: Talk) -> None:
    up, _, client = talk
    thread_id = await start_thread(client, ephemeral=True)
    item = await draw(up, client, thread_id, "call_1", png())
    assert (await ask(client, "image/list"))["data"] == []
    assert [row["path"] for row in (await ask(client, "image/list", threadId=thread_id))["data"]] == [item["savedPath"]]
    await ask(client, "image/delete", threadId=thread_id, itemId="call_1")
    assert not Path(item["savedPath"]).exists()
