"""Decides which pictures of the conversation an edit starts from. Pure: history in, references and a reason out.

Three rules. `select_for_edit` is for `action: edit` without a selector:

    anchor = the newest user message with a picture          (text-only messages after it do not move it)
    chosen = its pictures, in its order, then what image generation made after it, oldest first
    over the limit: the oldest generated go first, but for the newest; then the user's first ones

`select_last` is for `num_last_images_to_include`: the newest N pictures whatever their source, in the order of the
conversation, and exactly N of them. `select_by_handles` is for `referenced_images`: the pictures of these names, in the
order of the names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from app_server.extension_api import PictureRef, ToolFailure
from app_server.extension_api.values import frozen
from extensions.image_generation.gates import TOOL_NAME

MAX_PICTURES: Final = 5
"""Pictures that an edit without a selector starts from."""
SHOWN_HANDLES: Final = 12
PLAIN_NAME: Final = "image_gen__imagegen"
"""What the tool is called where the provider has no namespaces."""

Item = Mapping[str, Any]


@frozen(kw_only=False)
class ProviderFile:
    """A picture that the user attached by the provider's file id; its bytes were never here."""

    file_id: str


Source = PictureRef | ProviderFile


@frozen
class Selection:
    """Chosen pictures in the order in which they are sent, and why these."""

    pictures: tuple[Source, ...]
    reason: str


def select_for_edit(history: Sequence[Item], limit: int = MAX_PICTURES) -> Selection:
    """Pictures of the newest user message that has some, and those generated since. Raises ToolFailure without any."""
    anchor = max((at for at, item in enumerate(history) if _is_user(item) and any(_pictures(item))), default=None)
    users = [] if anchor is None else list(_pictures(history[anchor]))
    calls = {item.get("call_id") for item in history if _is_imagegen_call(item)}
    since = history if anchor is None else history[anchor + 1 :]
    generated = [ref for item in since if _is_generated(item, calls) for ref in _pictures(item)]
    if not users and not generated:
        raise ToolFailure(
            "there is no picture in this conversation to edit; give `referenced_image_paths`, ask the user to attach "
            "the picture, or leave out `action` to make a new one"
        )
    kept = generated[-max(1, limit - len(users)) :]
    room = limit - len(kept)
    first = users[-room:] if room else []
    dropped = len(users) - len(first) + len(generated) - len(kept)
    reason = f"{len(first)} of the user's newest pictures and {len(kept)} generated since, {dropped} left out"
    return Selection(pictures=(*first, *kept), reason=reason)


def select_last(history: Sequence[Item], count: int) -> Selection:
    """The newest `count` pictures, oldest of them first. Raises ToolFailure when there are fewer."""
    calls = {(item.get("type"), item.get("call_id")) for item in history}
    newest_first = (ref for item in reversed(history) if _counts(item, calls) for ref in reversed([*_pictures(item)]))
    chosen = tuple(islice(newest_first, count))
    if len(chosen) < count:
        have = {0: "no picture", 1: "only 1 picture"}.get(len(chosen), f"only {len(chosen)} pictures")
        raise ToolFailure(
            f"`num_last_images_to_include` is {count}, but the conversation has {have}; ask for fewer, give "
            "`referenced_image_paths`, or ask the user to attach what is missing"
        )
    return Selection(pictures=chosen[::-1], reason=f"the last {count} of the conversation")


def select_by_handles(history: Sequence[Item], handles: Sequence[str]) -> Selection:
    """The pictures of these handles, in this order. Raises ToolFailure for a handle that no picture has."""
    known = dict(pair for item in history for pair in _named(item))
    for handle in handles:
        if handle not in known:
            names = ", ".join([*known][-SHOWN_HANDLES:])
            have = f"its pictures are {names}" if names else "it has no picture"
            raise ToolFailure(f"`referenced_images`: no picture of this conversation is called `{handle[:80]}`; {have}")
    return Selection(pictures=tuple(known[handle] for handle in handles), reason=f"{len(handles)} by handle")


def _is_user(item: Item) -> bool:
    return _is_message(item) and item.get("role") == "user"


def _is_message(item: Item) -> bool:
    return item.get("type", "message") == "message" and "role" in item


def _is_imagegen_call(item: Item) -> bool:
    if item.get("type") != "function_call":
        return False
    namespace, name = item.get("namespace"), item.get("name")
    return (namespace, name) == (TOOL_NAME.namespace, TOOL_NAME.name) or (not namespace and name == PLAIN_NAME)


def _is_generated(item: Item, calls: set[Any]) -> bool:
    if item.get("type") == "image_generation_call":
        return True
    return item.get("type") == "function_call_output" and item.get("call_id") in calls


def _counts(item: Item, calls: set[tuple[Any, Any]]) -> bool:
    """Whether the item's pictures belong to the conversation; an output without its call does not."""
    match item.get("type", "message"):
        case "function_call_output":
            return ("function_call", item.get("call_id")) in calls
        case "custom_tool_call_output":
            return ("custom_tool_call", item.get("call_id")) in calls
        case "image_generation_call":
            return True
        case _:
            return _is_message(item)


def _pictures(item: Item) -> Iterator[Source]:
    """The references of one item in its own order; text and encrypted parts have none."""
    return (_source(part) for part in _picture_parts(item))


def _source(part: Item) -> Source:
    return PictureRef.from_json(part["picture"]) if part.get("picture") else ProviderFile(str(part["file_id"]))


def _named(item: Item) -> Iterator[tuple[str, Source]]:
    """The pictures of one item that have a handle."""
    for part in _picture_parts(item):
        if part.get("handle"):
            yield str(part["handle"]), _source(part)


def _picture_parts(item: Item) -> Iterator[Item]:
    if item.get("type") == "image_generation_call":
        parts: object = [{**item, "type": "input_image"}]
    else:
        parts = item.get("content") if _is_message(item) else item.get("output")
    for part in parts if isinstance(parts, (list, tuple)) else ():
        if part.get("type") == "input_image" and (part.get("picture") or part.get("file_id")):
            yield part
