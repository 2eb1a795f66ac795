"""One case, run one way: by the hosted tool, or by `image_gen.imagegen`. The provider gives both the same bytes.

    hosted       the model's answer holds an image_generation_call with the bytes
    standalone   the model's answer calls image_gen.imagegen, and the images endpoint answers with the bytes

After the case the process ends; a new one reads the thread and sends the next turn, whose request is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.interaction.conversation import ended, imagegen, picture_home, run_turn, start_thread
from tests.parity.observed import SeenPicture, digest, pictures_sent, seen
from tests.support.client import Frame, RpcClient
from tests.support.pictures import data_url
from tests.support.server import serving
from tests.support.upstream import (
    Event,
    Gate,
    ReceivedRequest,
    Reply,
    ScriptedUpstream,
    image_call,
    image_reply,
    sse,
    text_turn,
)

Way = Literal["hosted", "standalone"]
ENDPOINT_OF = {False: "/images/generations", True: "/images/edits"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the user asks for, and the bytes that the provider gives."""

    title: str
    pictures: tuple[bytes, ...]
    prompt: str = "a fox"
    revised_prompt: str = "a red fox in the snow"
    background: str = "opaque"
    attached: bytes | None = None
    """The user attaches this picture and wants it edited."""
    earlier: bytes | None = None
    """A turn before makes this picture, and the user wants it edited."""
    stopped: bool = False
    """The user interrupts while the picture is being made."""

    @property
    def is_edit(self) -> bool:
        return self.attached is not None or self.earlier is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """All that has to be the same on both ways. Pictures of one answer stand in the order of their hashes, since calls
    run side by side and whichever is first gets the first bytes."""

    turn_status: str
    pictures: tuple[SeenPicture, ...]
    """In the live notifications."""
    handles: tuple[str, ...]
    """The names of the pictures, sorted."""
    begun: tuple[str, ...]
    """Statuses of the started items."""
    stored: tuple[SeenPicture, ...]
    """In `thread/read` of a new process."""
    sources: tuple[str, ...]
    """The pictures that were there to be edited, as whoever draws got them."""
    next_request: tuple[str, ...]
    """The pictures in the next turn's request, sent by a new process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What differs between the ways on purpose."""

    item_ids: tuple[str, ...]
    item_members: frozenset[str]
    history_types: tuple[str, ...]
    hint_roles: tuple[str, ...]
    model_requests: int


async def run_case(case: Case, way: Way, folder: Path) -> tuple[Outcome, Trace]:
    """Run it, in a home of its own."""
    async with ScriptedUpstream() as up:
        home = picture_home(folder, up, enable=("imagegenext",) if way == "standalone" else ())
        async with serving(home) as (_, client):
            thread_id = await start_thread(client)
            if case.earlier is not None:
                _script(up, way, Case(title="earlier", pictures=(case.earlier,)), "before")
                await run_turn(client, thread_id, "Draw something first")
                client.incoming.clear()
            asked = len(up.posts())
            turn = await _turn(client, up, case, way, thread_id)
            started = _items(client, "item/started")
            finished = _items(client, "item/completed")
            model_requests = len(up.posts()) - asked
        async with serving(home) as (_, client):
            read = await client.request("thread/read", {"threadId": thread_id, "includeTurns": True})
            stored = [item for item in read["thread"]["turns"][-1]["items"] if item["type"] == "imageGeneration"]
            up.queue.append(text_turn("after", "I see."))
            await client.request("thread/resume", {"threadId": thread_id})
            await run_turn(client, thread_id, "What do you see?")
        after = up.posts()[-1].body["input"]
        outcome = Outcome(
            turn_status=turn["status"],
            pictures=_ordered(finished, thread_id),
            handles=tuple(sorted(str(item["handle"]) for item in finished if item.get("handle"))),
            begun=tuple(item["status"] for item in started),
            stored=_ordered(stored, thread_id),
            sources=_sources(up, case, way, up.posts()[asked]),
            next_request=tuple(sorted(pictures_sent(after))) if len(case.pictures) > 1 else pictures_sent(after),
        )
        return outcome, _trace(finished, after, model_requests)


async def _turn(client: RpcClient[Any], up: ScriptedUpstream, case: Case, way: Way, thread_id: str) -> Frame:
    gate = _script(up, way, case, "main")
    words: list[dict[str, Any]] = [{"type": "text", "text": "Draw it"}]
    if case.attached is not None:
        words.append({"type": "image", "url": data_url(case.attached)})
    turn = (await client.request("turn/start", {"threadId": thread_id, "input": words}))["turn"]
    if gate is not None:
        await gate.wait_reached()
        await client.request("turn/interrupt", {"threadId": thread_id, "turnId": turn["id"]})
    return await ended(client, turn["id"])


def _script(up: ScriptedUpstream, way: Way, case: Case, name: str) -> Gate | None:
    """Queue what the provider says to this case; the gate at which it waits when the case is stopped."""
    gate = Gate() if case.stopped else None
    ids = [f"{name}_{number}" for number in range(len(case.pictures))]
    if way == "hosted":
        calls = [_hosted(f"ig_{one}", data, case) for one, data in zip(ids, case.pictures, strict=True)]
        if gate is not None:
            up.queue.append(Reply(events=[{"type": "response.created", "response": {"id": name}}, calls[0][0], gate]))
        else:
            up.queue.append(sse(name, *calls))
        return gate
    arguments: dict[str, Any] = {"prompt": case.prompt}
    if case.is_edit:
        arguments["num_last_images_to_include"] = 1
    if case.background == "transparent":
        arguments["transparent_background"] = True
    up.queue += [sse(name, *(imagegen(f"call_{one}", **arguments) for one in ids)), text_turn(f"{name}_end", "Done.")]
    if gate is not None:
        up.queue.pop()
        up.images.append(Reply(hold=gate))
        return gate
    answers = (
        image_reply(data, background=case.background, revised_prompt=case.revised_prompt) for data in case.pictures
    )
    up.images += answers
    return None


def _hosted(item_id: str, data: bytes, case: Case) -> list[Event]:
    added, done = image_call(item_id, data, case.revised_prompt)
    return [added, {**done, "item": {**done["item"], "background": case.background}}]


def _items(client: RpcClient[Any], event: str) -> list[Frame]:
    items = (params["item"] for params in client.notifications(event))
    return sorted((item for item in items if item["type"] == "imageGeneration"), key=lambda item: str(item["id"]))


def _ordered(items: Sequence[Frame], thread_id: str) -> tuple[SeenPicture, ...]:
    return tuple(sorted((seen(item, thread_id) for item in items), key=lambda one: str(one.sha256)))


def _sources(up: ScriptedUpstream, case: Case, way: Way, request: ReceivedRequest) -> tuple[str, ...]:
    if not case.is_edit:
        return ()
    if way == "hosted":
        return pictures_sent(request.body["input"])
    images = up.posts(ENDPOINT_OF[True])[-1].body["images"]
    return pictures_sent([{"content": [{"type": "input_image", **image} for image in images]}])


def _trace(finished: Sequence[Frame], after: Sequence[Mapping[str, Any]], model_requests: int) -> Trace:
    holders = [item for item in after if item["type"] in ("image_generation_call", "function_call_output")]
    hints = [item for item in after if "call_main" in str(item) or "ig_main" in str(item)]
    roles = [str(item.get("role") or item["type"]) for item in hints if "generated_images" in str(item)]
    return Trace(
        item_ids=tuple(str(item["id"]) for item in finished),
        item_members=frozenset(name for item in finished for name, value in item.items() if value is not None),
        history_types=tuple(str(item["type"]) for item in holders),
        hint_roles=tuple(roles),
        model_requests=model_requests,
    )


__all__ = ["Case", "Outcome", "Trace", "Way", "digest", "run_case"]
