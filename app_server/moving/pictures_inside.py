"""Pictures that stand in records as base64 become stored pictures, and references in their place.

| where | becomes |
|---|---|
| `input_image` of the history, `image_generation_call` | a part or item with `picture` and a handle |
| an attached picture of a user's message | a `file:` URL, or `urn:sha256:…` where the target keeps no files |
| `imageGeneration` | `savedPath`, sha256, size; its file is taken where it bears no bytes |
| pictures in what a tool answered | a URL, as with attachments |

What is no picture that this server takes is left out, and said in words. `codex.py` calls it, record for record.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread

from app_server.extension_api.services import PictureRejected
from app_server.moving.places import urn
from app_server.pictures.check import PictureLimits, check_picture
from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.threads.replay import HANDLE_PREFIX
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.services import CheckedPicture
    from app_server.extension_api.tools import PictureRef
    from app_server.storage.base import Storage

Json = Mapping[str, Any]
UNUSABLE: Final = "A picture in a rollout cannot be used and was left out."
FILE_GONE: Final = "The file of a generated picture is not there any more."
_LEFT_OUT: Final = "[A picture stood here. It could not be taken along, so it cannot be shown again.]"


@frozen
class Kept:
    """A stored picture. `path`: its file, where the target keeps files."""

    ref: PictureRef
    has_alpha: bool
    handle: str
    path: str | None

    @property
    def url(self) -> str:
        return Path(self.path).as_uri() if self.path is not None else urn(self.ref.sha256)


class PicturesInside:
    """The pictures of one thread. Without a target they are looked at and counted."""

    def __init__(self, thread_id: str, home: Path, target: Storage | None, *, put_known: bool = True) -> None:
        self._thread_id, self._home, self._target, self._put_known = thread_id, home, target, put_known
        self._checked: dict[str, CheckedPicture | None] = {}
        self._kept: dict[str, Kept] = {}
        self._put: set[tuple[str, str | None]] = set()
        self.notes: Counter[str] = Counter()

    @property
    def refs(self) -> list[PictureRef]:
        """What was kept."""
        return [kept.ref for kept in self._kept.values()]

    async def cleaned(self, record: Record) -> Record:
        """The record without bytes."""
        match record.kind:
            case kinds.HISTORY:
                data = {**record.data, "items": [await self._history_item(item) for item in record.data["items"]]}
            case kinds.COMPACTED:
                data = {**record.data, "history": [await self._history_item(item) for item in record.data["history"]]}
            case kinds.ITEM_COMPLETED:
                data = await self._completed(record.data)
            case _:
                return record
        return replace(record, data=data)

    # -- the history
    async def _history_item(self, item: Json) -> Json:
        if item.get("type") == "image_generation_call" and "result" in item:
            kept = await self._keep(_decoded(item["result"]), str(item.get("id")))
            if kept is None:
                return {"type": "message", "role": "developer", "content": [_words()]}
            rest = {key: value for key, value in item.items() if key != "result"}
            return {**rest, "status": "completed", "picture": kept.ref.to_json(), "handle": kept.handle}
        for member in ("content", "output"):
            if isinstance(parts := item.get(member), list):
                item = {**item, member: [await self._part(part) for part in parts]}
        return item

    async def _part(self, part: Any) -> Any:
        if not isinstance(part, Mapping) or part.get("type") != "input_image" or not _is_data(part.get("image_url")):
            return part
        kept = await self._keep(_decoded(part["image_url"]))
        if kept is None:
            return _words()
        detail = str(part.get("detail") or "high")
        return {"type": "input_image", "picture": kept.ref.to_json(), "detail": detail, "handle": kept.handle}

    # -- items
    async def _completed(self, data: dict[str, Any]) -> dict[str, Any]:
        item = data["item"]
        match item["type"]:
            case "imageGeneration":
                return await self._generated(data, item)
            case "userMessage":
                item = {**item, "content": await self._urls(item["content"], "url")}
            case "dynamicToolCall" if isinstance(item["contentItems"], list):
                item = {**item, "contentItems": await self._urls(item["contentItems"], "imageUrl")}
            case "mcpToolCall" if item["result"]:
                content = [await self._tool_content(part) for part in item["result"]["content"]]
                item = {**item, "result": {**item["result"], "content": content}}
        return {**data, "item": item}

    async def _generated(self, data: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
        plain = {**item, "result": ""}
        saved = plain.pop("savedPath")
        kept = await self._keep(_decoded(item["result"]) or await self._file(item["id"], saved), item["id"])
        if kept is None:
            return {**data, "item": plain}
        ref = kept.ref
        plain |= {
            "mimeType": ref.mime,
            "bytes": ref.size_bytes,
            "width": ref.width,
            "height": ref.height,
            "hasAlpha": kept.has_alpha,
            "sha256": ref.sha256,
            "handle": kept.handle,
        }
        if kept.path is not None:
            plain["savedPath"] = kept.path
        return {**data, "item": plain, "picture": ref.to_json()}

    async def _file(self, item_id: str, saved: Any) -> bytes | None:
        """The file that the item names; else the one that the reference would have made in its home."""
        named = [Path(saved)] if isinstance(saved, str) else []
        stem = "".join(char if char.isalnum() or char in "-_" else "_" for char in item_id)
        usual = self._home / "generated_images" / self._thread_id / f"{stem}.png"
        found = await anyio.to_thread.run_sync(_first, [*named, usual])
        if found is None and named:
            self.notes[FILE_GONE] += 1
        return found

    async def _urls(self, parts: Sequence[Any], member: str) -> list[Any]:
        out: list[Any] = []
        for part in parts:
            if isinstance(part, Mapping) and _is_data(part.get(member)):
                kept = await self._keep(_decoded(part[member]))
                part = {**part, member: kept.url if kept is not None else "data:,"}
            out.append(part)
        return out

    async def _tool_content(self, part: Any) -> Any:
        if not isinstance(part, Mapping) or part.get("type") != "image" or not isinstance(part.get("data"), str):
            return part
        kept = await self._keep(_decoded(part["data"]))
        if kept is None:
            return {"type": "text", "text": _LEFT_OUT}
        return {"type": "resource_link", "name": kept.handle, "uri": kept.url, "mimeType": kept.ref.mime}

    # -- the store
    async def _keep(self, data: bytes | None, name: str | None = None) -> Kept | None:
        if not data:
            return None
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 not in self._checked:
            self._checked[sha256] = await anyio.to_thread.run_sync(_check, data)
            if self._checked[sha256] is None:
                self.notes[UNUSABLE] += 1
        if (picture := self._checked[sha256]) is None:
            return None
        await self._store(data, picture.ref, name)
        if sha256 not in self._kept:
            keeps = self._target is not None and self._target.blobs.keeps_files
            path = await self._target.blobs.path(sha256) if self._target is not None and keeps else None
            handle = f"{HANDLE_PREFIX}{len(self._kept) + 1}"
            self._kept[sha256] = Kept(ref=picture.ref, has_alpha=picture.has_alpha, handle=handle, path=path)
            self._checked[sha256] = replace(picture, data=b"")
        return self._kept[sha256]

    async def _store(self, data: bytes, ref: PictureRef, name: str | None) -> None:
        if self._target is None or (ref.sha256, name) in self._put:
            return
        self._put.add((ref.sha256, name))
        if self._put_known or await self._target.blobs.ref(ref.sha256) is None:
            await self._target.blobs.put(data, ref, owner=self._thread_id, name=name)


def _check(data: bytes) -> CheckedPicture | None:
    try:
        return check_picture(data, PictureLimits())
    except PictureRejected:
        return None


def _first(paths: Sequence[Path]) -> bytes | None:
    for path in paths:
        try:
            return path.read_bytes()
        except (OSError, ValueError):
            continue
    return None


def _is_data(url: Any) -> bool:
    return isinstance(url, str) and url.startswith("data:")


def _decoded(text: Any) -> bytes | None:
    """The bytes of base64, or of a data URL; None where it is neither."""
    if not isinstance(text, str) or not text:
        return None
    body = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode(body.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def _words() -> dict[str, Any]:
    return {"type": "input_text", "text": _LEFT_OUT}
