"""The richer forms in which an item with pictures is shown live: the bytes inline, or a small copy of them.

Nothing is read, encoded or scaled unless a subscriber takes it, and then once for all of them. The size of a message is
known before its picture is encoded: base64 has four characters for three bytes. Called by `emitter.py`, and for clients
of another replica by `replicas/following.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import orjson

from app_server.extension_api.services import PictureRejected, Pictures
from app_server.turns.context import RicherForm

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

THUMBNAIL_BYTES: Final = 24 * 1024
"""The longest thumbnail, as a data URL."""
ENVELOPE_BYTES: Final = 1024
"""More than a notification has around its item."""

WantedForms = Callable[[int, int], frozenset[str]]
"""(size of the message inline, with a thumbnail) → the forms that some subscriber takes."""
Params = Callable[[Mapping[str, Any], Mapping[str, str]], dict[str, Any]]


def started_params(item: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The params of `item/started`; `ids` are those of thread and turn."""
    return {"item": item, **ids, "startedAtMs": item["startedAtMs"]}


def completed_params(item: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """The params of `item/completed`."""
    return {"item": item, **ids, "contentTokenCount": None, "completedAtMs": item["completedAtMs"]}


def base64_bytes(size_bytes: int) -> int:
    """The length of so many bytes as base64."""
    return (size_bytes + 2) // 3 * 4


async def picture_forms(
    item: Mapping[str, Any], picture: PictureRef, wanted_forms: WantedForms, pictures: Pictures, ids: Mapping[str, str]
) -> Sequence[RicherForm]:
    """How a finished picture is shown: with `result`, with `thumbnail`; the plain form has its path alone."""
    plain = _message_bytes(item)
    inline_bytes, thumbnail_bytes = plain + base64_bytes(picture.size_bytes), plain + THUMBNAIL_BYTES
    wanted = wanted_forms(inline_bytes, thumbnail_bytes)
    if not wanted:
        return ()
    try:
        data = await pictures.read(picture)
    except PictureRejected:  # the file vanished in between: its path still stands in the item
        return ()
    forms: list[RicherForm] = []
    if "inline" in wanted:
        result = await anyio.to_thread.run_sync(_encoded, data)
        forms.append(_form("inline", inline_bytes, {**item, "result": result}, completed_params, ids))
    if "thumbnail" in wanted and (small := await pictures.thumbnail(data, max_bytes=THUMBNAIL_BYTES)) is not None:
        forms.append(_form("thumbnail", thumbnail_bytes, {**item, "thumbnail": small}, completed_params, ids))
    return forms


def echo_forms(
    shown: Mapping[str, Any], stored: Mapping[str, Any], params: Params, ids: Mapping[str, str]
) -> Sequence[RicherForm]:
    """How a user's message is shown: as it was sent, data URLs included; the plain form names the stored pictures."""
    if shown == stored:
        return ()
    return (_form("inline", _message_bytes(shown), shown, params, ids),)


def _form(kind: str, message_bytes: int, item: Mapping[str, Any], params: Params, ids: Mapping[str, str]) -> RicherForm:
    return RicherForm(kind=kind, message_bytes=message_bytes, params=lambda: params(item, ids))


def _message_bytes(item: Mapping[str, Any]) -> int:
    return len(orjson.dumps(item)) + ENVELOPE_BYTES


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
