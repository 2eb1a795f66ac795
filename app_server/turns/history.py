"""What the model is sent, as data: Responses items with pictures by reference. Pure, but for `rendered_item`'s look-up.

A history item is the API's own JSON, with two changes: an `input_image` has `picture` (a reference) in place of
`image_url`, an `image_generation_call` has `picture` in place of `result`. Items are never changed after they were
appended, and rendering is deterministic, so the earlier prefix stays byte-identical from turn to turn and the
provider's prompt cache holds. `running_history.py` keeps the items of a loaded thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app_server.extension_api.tools import Content, PictureContent, PictureRef, TextContent
from app_server.ids import uuid7

if TYPE_CHECKING:
    from app_server.turns.context import PictureUrls

Item = Mapping[str, Any]
_MESSAGE_KEYS = ("type", "id", "role", "content", "phase")
_CALL_OUTPUTS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}


def message(role: str, *texts: str) -> dict[str, Any]:
    """A message of the server: developer instructions, context, notes."""
    return {
        "type": "message",
        "id": f"msg_{uuid7()}",
        "role": role,
        "content": [{"type": "input_text", "text": text} for text in texts],
    }


def user_message(parts: Sequence[Item]) -> dict[str, Any]:
    """The user's message."""
    return {"type": "message", "id": f"msg_{uuid7()}", "role": "user", "content": list(parts)}


def picture_part(picture: PictureRef, detail: str, handle: str | None = None) -> dict[str, Any]:
    """An `input_image` by reference; its handle is the name under which the model may speak of it."""
    part: dict[str, Any] = {"type": "input_image", "picture": picture.to_json(), "detail": detail}
    return {**part, "handle": handle} if handle is not None else part


def file_part(file_id: str, detail: str) -> dict[str, Any]:
    """An `input_image` that the provider has already: it goes out as it stands, but for its handle."""
    return {"type": "input_image", "file_id": file_id, "detail": detail}


def labelled(parts: Sequence[Item], next_handle: Callable[[], str]) -> list[Item]:
    """The user's parts, each picture named: `<image name=[Image #1] handle=img_4 path="…">`, picture, `</image>`."""
    out: list[Item] = []
    number = 0
    for part in parts:
        if part.get("type") != "input_image":
            out.append(part)
            continue
        number, handle = number + 1, next_handle()
        place = _place(str(part["path"])) if part.get("path") else ""
        bare = {key: value for key, value in part.items() if key != "path"}
        opening = f"<image name=[Image #{number}] handle={handle}{place}>"
        out += [{"type": "input_text", "text": opening}, {**bare, "handle": handle}]
        out.append({"type": "input_text", "text": "</image>"})
    return out


def _place(path: str) -> str:
    from html import escape  # it brings large tables along, and is needed for pictures of files alone

    return f' path="{escape(path)}"'


def call_output(call: Item, output: str | Sequence[Content]) -> dict[str, Any]:
    """The output item that answers a call of the model."""
    body: Any = output if isinstance(output, str) else [_content_part(part) for part in output]
    kind = _CALL_OUTPUTS.get(str(call["type"]), "function_call_output")
    prefix = "ctco" if kind.startswith("custom") else "fco"
    return {"type": kind, "id": f"{prefix}_{uuid7()}", "call_id": call["call_id"], "output": body}


def _content_part(part: Content) -> dict[str, Any]:
    match part:
        case TextContent():
            return {"type": "input_text", "text": part.text}
        case PictureContent():
            return picture_part(part.picture, part.detail, part.handle)


def from_upstream(item: Item) -> dict[str, Any]:
    """A finished output item as it goes back to the API next time: without what only described its making."""
    match item.get("type"):
        case "message":
            kept = {key: item[key] for key in _MESSAGE_KEYS if key in item and item[key] is not None}
            kept["content"] = [_output_part(part) for part in item.get("content") or []]
            return kept
        case "reasoning":
            return {
                "type": "reasoning",
                "id": item.get("id"),
                "summary": item.get("summary") or [],
                "content": None,
                "encrypted_content": item.get("encrypted_content"),
            }
        case "function_call":
            keys = ("type", "id", "name", "namespace", "arguments", "call_id")
            return {key: item[key] for key in keys if item.get(key) is not None}
        case _:
            return dict(item)


def _output_part(part: Item) -> dict[str, Any]:
    if part.get("type") == "output_text":
        return {"type": "output_text", "text": part.get("text", ""), "annotations": part.get("annotations") or []}
    return dict(part)


def unanswered_calls(history: Iterable[Item]) -> list[Item]:
    """Calls without an output, in order: the API refuses a history that has any."""
    open_calls: dict[str, Item] = {}
    for item in history:
        note_call(open_calls, item)
    return list(open_calls.values())


def note_call(open_calls: dict[str, Item], item: Item) -> None:
    """One more item of a history: a call is open from here on, an output answers one. By call id, in order."""
    kind = str(item.get("type"))
    if kind in _CALL_OUTPUTS:
        open_calls[str(item.get("call_id"))] = item
    elif kind.endswith("_call_output"):
        open_calls.pop(str(item.get("call_id")), None)


def first_text(item: Item) -> str:
    """The text that a message begins with; empty where it begins with none."""
    parts = _parts(item, "content")
    return str(parts[0].get("text", "")) if parts and isinstance(parts[0], Mapping) else ""


def turn_aborted_note() -> dict[str, Any]:
    """Tells the model in the next turn that the user stopped this one."""
    return message(
        "user",
        "<turn_aborted>\nThe user interrupted the previous turn on purpose. What was running may be half done; "
        "look before you repeat it.\n</turn_aborted>",
    )


def has_picture(item: Item) -> bool:
    """Whether the item cannot be sent as it stands."""
    return (item.get("type") == "image_generation_call" and "picture" in item) or _pictured(item) is not None


def _pictured(item: Item) -> str | None:
    """The member whose parts hold a picture."""
    return next((key for key in ("content", "output") if any(map(_is_picture, _parts(item, key)))), None)


def _parts(item: Item, key: str) -> Sequence[Any]:
    parts = item.get(key)
    return parts if isinstance(parts, list) else ()


def _is_picture(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "input_image"


async def rendered_item(item: Item, urls: PictureUrls, takes_original: bool) -> Item:
    """The item as it is sent: references replaced by data URLs, or by words where the picture is gone."""
    if item.get("type") == "image_generation_call" and "picture" in item:
        url = await urls.data_url(PictureRef.from_json(item["picture"]), None)  # the provider's own: as it came
        rest = {key: value for key, value in item.items() if key not in ("picture", "handle")}
        return {**rest, "result": url.partition(",")[2]} if url else _gone_message()
    if (key := _pictured(item)) is None:
        return item
    return {**item, key: [await _render_part(part, urls, takes_original) for part in item[key]]}


async def _render_part(part: Any, urls: PictureUrls, takes_original: bool) -> Any:
    if not isinstance(part, Mapping):  # of an item that a client put in as it is
        return part
    if "picture" not in part:
        return {key: value for key, value in part.items() if key != "handle"}
    detail = str(part.get("detail") or "high")
    url = await urls.data_url(PictureRef.from_json(part["picture"]), detail)
    if url is None:
        return {"type": "input_text", "text": _GONE}
    return {"type": "input_image", "image_url": url, "detail": _label(detail, takes_original)}


def _label(detail: str, takes_original: bool) -> str:
    """What a picture's detail is called upstream: `low` is a small copy already, and not every model knows the word."""
    if detail == "low" or (detail == "original" and not takes_original):
        return "high"
    return detail


_GONE = (
    "[A picture stood here. Its file was deleted or changed since, or it can no longer be decoded, so it cannot be "
    "shown again.]"
)


def _gone_message() -> dict[str, Any]:
    return {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": _GONE}]}
