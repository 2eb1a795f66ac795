"""Pictures from backends of the user's own: keys, forms, links, streams, signs of life; seen from a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import orjson
import pytest

from tests.interaction.conversation import (
    Client,
    ended,
    imagegen,
    outputs,
    run_turn,
    start_thread,
    start_turn,
    tool_names,
)
from tests.support.pictures import BLUE, GREEN, as_base64, png
from tests.support.server import Home, connected, make_home, running, serving
from tests.support.upstream import Gate, ReceivedRequest, Reply, ScriptedUpstream, image_reply, sse, text_turn

pytestmark = pytest.mark.anyio
SCHEMA = Path(__file__).parents[2] / "docs" / "schema" / "imageGenerationProgress.json"
STUDIO = """
[model_providers.studio]
base_url = "{base_url}"
env_key = "STUDIO_KEY"
image_generation = true
request_max_retries = 0
{more}
"""


def studio_home(
    folder: Path, chat: ScriptedUpstream, studio: ScriptedUpstream, *, more: str = "", settings: str = ""
) -> Home:
    """Chat through one provider that makes no pictures, pictures through another one with a key of its own."""
    table = f'[image_generation]\nprovider = "studio"\n{settings}\n'
    provider = STUDIO.format(base_url=studio.base_url, more=more)
    home = make_home(folder, chat.base_url, top="", provider=f"{provider}\n{table}")
    home.env |= {"STUDIO_KEY": "sk-studio-for-tests"}
    return home


@asynccontextmanager
async def studio(folder: Path, **options: Any) -> AsyncIterator[tuple[ScriptedUpstream, ScriptedUpstream, Client]]:
    """Chat upstream, picture upstream, a client of a server that uses both."""
    async with (
        ScriptedUpstream() as chat,
        ScriptedUpstream() as pictures,
        serving(studio_home(folder, chat, pictures, **options)) as (_, client),
    ):
        yield chat, pictures, client


def plain_call(call_id: str, **arguments: Any) -> list[Any]:
    """A call of the tool's plain name, for a provider without namespaces."""
    events = [dict(event) for event in imagegen(call_id, **arguments)]
    for event in events:
        if isinstance(item := event.get("item"), dict):
            bare = {key: value for key, value in item.items() if key != "namespace"}
            event["item"] = {**bare, "name": "image_gen__imagegen"}
    return events


async def draw(chat: ScriptedUpstream, client: Client, thread_id: str | None = None, **arguments: Any) -> str:
    """A turn with one call, then a last word; the thread's id."""
    count = len(chat.posts())
    chat.queue += [sse(f"r{count}", plain_call(f"call_{count}", **arguments)), text_turn(f"r{count}-end", "Done.")]
    thread_id = thread_id or await start_thread(client)
    await run_turn(client, thread_id, "Draw")
    return thread_id


def pictures_of(client: Client) -> list[dict[str, Any]]:
    items = [params["item"] for params in client.notifications("item/completed")]
    return [item for item in items if item["type"] == "imageGeneration"]


def form(request: ReceivedRequest) -> list[tuple[str, str | None, Any]]:
    """Name, file name and bytes of the parts of a form."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.raw)
    return [
        (
            str(part.get_param("name", header="content-disposition")),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


async def test_pictures_come_from_a_provider_of_their_own_with_its_own_key(tmp_path: Path) -> None:
    async with studio(tmp_path) as (chat, pictures, client):
        await draw(chat, client, prompt="a fox")
    (asked,) = pictures.posts("/images/generations")
    assert tool_names(chat.posts()[0]) == ["image_gen__imagegen"]
    assert asked.headers["authorization"] == "Bearer sk-studio-for-tests"
    assert asked.body == {"prompt": "a fox", "model": "gpt-image-2"}
    assert len(asked.headers["idempotency-key"]) == 36
    assert [item["status"] for item in pictures_of(client)] == ["completed"]
    assert chat.posts("/images/generations") == []


async def test_an_edit_of_a_picture_by_its_handle_sends_the_saved_file_as_a_form(tmp_path: Path) -> None:
    async with studio(tmp_path) as (chat, pictures, client):
        pictures.images.append(image_reply(png(colour=GREEN)))
        thread_id = await draw(chat, client, prompt="a fox")
        pictures.images.append(image_reply(png(colour=BLUE)))
        await draw(chat, client, thread_id, prompt="at night", referenced_images=["img_1"])
    (asked,) = pictures.posts("/images/edits")
    assert form(asked) == [
        ("prompt", None, b"at night"),
        ("model", None, b"gpt-image-2"),
        ("image[]", "image-1.png", png(colour=GREEN)),
    ]
    first, second = pictures_of(client)
    assert (first["handle"], second["handle"]) == ("img_1", "img_2")
    assert Path(second["savedPath"]).read_bytes() == png(colour=BLUE)
    hints = [output["output"][1]["text"] for output in outputs(chat.posts()[-1])]
    assert ["img_1" in hints[0], "img_2" in hints[1]] == [True, True]


async def test_azure_s_key_header_and_version_are_sent(tmp_path: Path) -> None:
    more = 'query_params = { api-version = "preview" }\nenv_http_headers = { api-key = "STUDIO_KEY" }'
    async with studio(tmp_path, more=more) as (chat, pictures, client):
        await draw(chat, client, prompt="a fox")
    (asked,) = pictures.posts("/images/generations")
    assert (asked.query, asked.headers["api-key"]) == ({"api-version": "preview"}, "sk-studio-for-tests")


async def test_a_backend_that_takes_json_for_edits_gets_json(tmp_path: Path) -> None:
    async with studio(tmp_path, more='image_api = "json"') as (chat, pictures, client):
        (tmp_path / "work" / "a.png").write_bytes(png())
        path = str(tmp_path / "work" / "a.png")
        await draw(chat, client, prompt="at night", referenced_image_paths=[path])
    (asked,) = pictures.posts("/images/edits")
    assert [image["image_url"][:22] for image in asked.body["images"]] == ["data:image/png;base64,"]


@pytest.mark.parametrize(("host", "status"), [("127.0.0.1", "completed"), ("localhost", "failed")])
async def test_a_link_is_followed_to_the_backend_s_own_host_but_not_into_the_network(
    tmp_path: Path, host: str, status: str
) -> None:
    async with studio(tmp_path) as (chat, pictures, client):
        url = pictures.base_url.replace("127.0.0.1", host) + "/files/a.png"
        pictures.images.append(Reply(body={"created": 1, "data": [{"url": url}]}))
        pictures.routes["GET", "/files/a.png"] = Reply(body=png())
        await draw(chat, client, prompt="a fox")
    (item,) = pictures_of(client)
    assert item["status"] == status
    if status == "failed":
        assert item["error"]["type"] == "network"
        assert "is an address inside this network" in item["error"]["message"]
    else:
        assert Path(item["savedPath"]).read_bytes() == png()


async def test_several_pictures_of_one_call_are_an_item_and_a_file_each(tmp_path: Path) -> None:
    async with studio(tmp_path, settings="expose_parameters = true") as (chat, pictures, client):
        data = [{"b64_json": as_base64(png(colour=colour))} for colour in (GREEN, BLUE)]
        pictures.images.append(Reply(body={"created": 1, "data": data}))
        await draw(chat, client, prompt="a fox", n=2)
    assert pictures.posts("/images/generations")[0].body["n"] == 2
    items = pictures_of(client)
    assert [(item["id"], item["handle"]) for item in items] == [("call_0-1", "img_1"), ("call_0-2", "img_2")]
    assert [Path(item["savedPath"]).read_bytes() for item in items] == [png(colour=GREEN), png(colour=BLUE)]
    output = outputs(chat.posts()[-1])[0]["output"]
    assert [part["type"] for part in output] == ["input_image", "input_image", "input_text"]


async def test_what_the_model_of_the_pictures_cannot_do_is_told_without_a_request(tmp_path: Path) -> None:
    async with studio(tmp_path, settings="expose_parameters = true") as (chat, pictures, client):
        await draw(chat, client, prompt="a fox", size="100x100")
    assert outputs(chat.posts()[-1])[0]["output"].startswith("`size` 100x100 is not possible with gpt-image-2: ")
    assert (pictures.posts("/images/generations"), pictures_of(client)) == ([], [])


def streamed(*events: Any) -> Reply:
    return Reply(events=[one if isinstance(one, Gate) else {"type": one[0], **one[1]} for one in events])


def unfinished(index: int) -> tuple[str, dict[str, Any]]:
    data = {"partial_image_index": index, "b64_json": as_base64(png(64, 64))}
    return "image_generation.partial_image", data


FINISHED = ("image_generation.completed", {"b64_json": as_base64(png()), "quality": "low"})


@asynccontextmanager
async def opted_in(folder: Path, **options: Any) -> AsyncIterator[tuple[ScriptedUpstream, ScriptedUpstream, Client]]:
    """As `studio`, with a client that asked for progress."""
    async with (
        ScriptedUpstream() as chat,
        ScriptedUpstream() as pictures,
        running(studio_home(folder, chat, pictures, **options)) as app,
        connected(app, pictures={"progress": True}) as client,
    ):
        yield chat, pictures, client


def progress_errors(params: dict[str, Any]) -> list[str]:
    """What our own schema has against a notification."""
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft7Validator(orjson.loads(SCHEMA.read_bytes()))
    return [error.message for error in validator.iter_errors(params)]


async def test_unfinished_pictures_are_shown_to_a_client_that_asked_for_them(tmp_path: Path) -> None:
    async with opted_in(tmp_path, settings="partial_images = 2") as (chat, pictures, client):
        pictures.images.append(streamed(unfinished(0), unfinished(1), FINISHED))
        await draw(chat, client, prompt="a fox")
        shown = client.notifications("item/imageGeneration/progress")
    (asked,) = pictures.posts("/images/generations")
    assert (asked.body["stream"], asked.body["partial_images"]) == (True, 2)
    assert [(params["itemId"], params["partialIndex"]) for params in shown] == [("call_0", 0), ("call_0", 1)]
    assert all(params["preview"].startswith("data:image/webp;base64,") for params in shown)
    assert [progress_errors(params) for params in shown] == [[], []]
    (item,) = pictures_of(client)
    assert (item["status"], item["effectiveParameters"]["quality"]) == ("completed", "low")


async def test_a_finished_picture_is_not_kept_waiting_by_a_stream_that_stays_open(tmp_path: Path) -> None:
    never = Gate()
    async with opted_in(tmp_path, settings="partial_images = 1") as (chat, pictures, client):
        pictures.images.append(streamed(unfinished(0), FINISHED, never))
        await draw(chat, client, prompt="a fox")
    assert [item["status"] for item in pictures_of(client)] == ["completed"]


async def test_signs_of_life_come_to_a_client_that_asked_for_them_and_to_no_other(tmp_path: Path) -> None:
    gate = Gate()
    async with opted_in(tmp_path, settings="heartbeat_s = 0.02") as (chat, pictures, client):
        reply = image_reply(png())
        pictures.images.append(Reply(body=reply.body, hold=gate))
        chat.queue += [sse("r1", plain_call("call_1", prompt="a fox")), text_turn("r2", "Done.")]
        turn_id = await start_turn(client, await start_thread(client), "Draw")
        first = await client.wait_for("item/imageGeneration/progress")
        second = await client.wait_for("item/imageGeneration/progress")
        gate.release()
        await ended(client, turn_id)
        assert pictures_of(client)[0]["status"] == "completed"
    assert [progress_errors(params) for params in (first, second)] == [[], []]
    assert set(first) == {"threadId", "turnId", "itemId", "elapsedMs"}
    assert 0 < first["elapsedMs"] < second["elapsedMs"]
    async with studio(tmp_path / "other", settings="heartbeat_s = 0.001") as (chat, _, client):
        await draw(chat, client, prompt="a fox")
        assert client.notifications("item/imageGeneration/progress") == []


async def test_an_interrupt_while_the_backend_works_closes_the_item_as_cancelled(tmp_path: Path) -> None:
    gate = Gate()
    async with studio(tmp_path) as (chat, pictures, client):
        pictures.images.append(Reply(hold=gate))
        chat.queue.append(sse("r1", plain_call("call_1", prompt="a fox")))
        thread_id = await start_thread(client)
        turn_id = await start_turn(client, thread_id, "Draw")
        await gate.wait_reached()
        await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
        assert (await ended(client, turn_id))["status"] == "interrupted"
        (item,) = pictures_of(client)
    assert (item["status"], item["error"]["type"]) == ("cancelled", "cancelled")


async def test_limits_that_the_images_api_tells_of_reach_the_clients(tmp_path: Path) -> None:
    headers = {"x-codex-primary-used-percent": "81.5", "x-codex-primary-window-minutes": "300"}
    async with studio(tmp_path) as (chat, pictures, client):
        pictures.images += [image_reply(png()), Reply(body=image_reply(png()).body, headers=headers)]
        await draw(chat, client, prompt="a fox")
        silent = [params["rateLimits"]["primary"] for params in client.notifications("account/rateLimits/updated")]
        await draw(chat, client, prompt="an owl")
        both = [params["rateLimits"]["primary"] for params in client.notifications("account/rateLimits/updated")]
    told = {"usedPercent": 82, "windowDurationMins": 300, "resetsAt": None}
    assert [primary for primary in silent if primary] == []
    assert [primary for primary in both if primary] == [told]


@pytest.mark.parametrize("api", ["json", "multipart"])
async def test_a_picture_attached_by_file_id_is_passed_on_or_refused_with_the_reason(tmp_path: Path, api: str) -> None:
    async with studio(tmp_path, more=f'image_api = "{api}"') as (chat, pictures, client):
        pictures.images.append(image_reply(png()))
        chat.queue += [sse("r1", plain_call("call_1", prompt="at night", action="edit")), text_turn("r2", "Done.")]
        thread_id = await start_thread(client)
        picture = {"type": "image", "fileId": "file-1"}
        await run_turn(client, thread_id, input=[picture, {"type": "text", "text": "At night, please"}])
    sent = [part for item in chat.posts()[0].body["input"] for part in item.get("content", []) if "file_id" in part]
    assert sent == [{"type": "input_image", "file_id": "file-1", "detail": "high"}]
    if api == "json":
        (edit,) = pictures.posts("/images/edits")
        assert edit.body["images"] == [{"file_id": "file-1"}]
    else:
        assert pictures.posts("/images/edits") == []
        assert "attached by a file id" in outputs(chat.posts()[1])[0]["output"]


async def test_a_picture_that_was_ready_before_the_interrupt_stays_in_the_conversation(tmp_path: Path) -> None:
    gate = Gate()
    async with studio(tmp_path) as (chat, pictures, client):
        pictures.images += [image_reply(png()), Reply(hold=gate)]
        calls = [plain_call("call_1", prompt="a fox"), plain_call("call_2", prompt="an owl")]
        chat.queue += [sse("r1", *calls), text_turn("r2", "Here.")]
        thread_id = await start_thread(client)
        turn_id = await start_turn(client, thread_id, "Draw both")
        await gate.wait_reached()
        while not any(item["status"] == "completed" for item in pictures_of(client)):
            await anyio.lowlevel.checkpoint()
        await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn_id})
        await ended(client, turn_id)
        await run_turn(client, thread_id, "Which did you make?")
    kinds = {
        output["call_id"]: "aborted" if isinstance(output["output"], str) else output["output"][0]["type"]
        for output in outputs(chat.posts()[-1])
    }
    assert sorted(kinds.values()) == ["aborted", "input_image"]


async def test_without_its_key_the_picture_provider_says_what_to_set(tmp_path: Path) -> None:
    async with ScriptedUpstream() as chat, ScriptedUpstream() as pictures:
        home = studio_home(tmp_path, chat, pictures)
        del home.env["STUDIO_KEY"]
        async with serving(home) as (_, client):
            await draw(chat, client, prompt="a fox")
    output = outputs(chat.posts()[-1])[0]["output"]
    assert output.startswith("image generation is not possible: The provider studio needs a key; set the environment ")
    assert pictures_of(client) == []


async def test_a_picture_provider_that_does_not_exist_hides_the_tool(tmp_path: Path) -> None:
    async with ScriptedUpstream() as chat:
        home = make_home(tmp_path, chat.base_url, provider='[image_generation]\nprovider = "nowhere"')
        chat.queue.append(text_turn("r1", "Hello."))
        async with serving(home) as (_, client):
            await run_turn(client, await start_thread(client), "Draw")
    assert tool_names(chat.posts()[0]) == []
