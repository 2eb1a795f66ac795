"""Pictures that the provider's hosted tool made: checked, saved and shown like our own.

An `image_generation_call` counts by its bytes, not by its status: some backends leave `generating` on a finished one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from app_server.extension_api.services import CheckedPicture, PictureRejected, Pictures
from app_server.observability.logging import get_logger
from app_server.protocol.item_parts import ImageGenerationError
from app_server.protocol.items import ImageGenerationItem
from app_server.turns.history import message

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef
    from app_server.turns.context import TurnContext
    from app_server.turns.emitter import ItemEmitter

log = get_logger("turns")


def begun(item: Mapping[str, Any]) -> ImageGenerationItem:
    """How the item is shown while the provider works on it."""
    return ImageGenerationItem(id=str(item["id"]), status="in_progress", result="")


async def finish(
    item: Mapping[str, Any], ctx: TurnContext, emitter: ItemEmitter, next_handle: Callable[[], str]
) -> None:
    """Take a hosted item that is done: show it, keep the picture, put it into the history by reference."""
    pictures, thread_id = ctx.pictures, ctx.thread_id
    item_id = str(item["id"])
    prompt = item.get("revised_prompt")
    shown = ImageGenerationItem(
        id=item_id, status="completed", revised_prompt=prompt, result="", model=item.get("model")
    )
    await emitter.begun(begun(item))  # a file without an item could not be found again after a crash
    try:
        checked = await pictures.check(_decode(item))
        ref, path = await _save(
            checked, thread_id=thread_id, item_id=item_id, prompt=str(prompt or ""), pictures=pictures
        )
    except (PictureRejected, OSError) as rejected:
        kind = "saveFailed" if isinstance(rejected, OSError) else "invalidResponse"
        failed = shown.model_copy(
            update={"status": "failed", "error": ImageGenerationError(type=kind, message=str(rejected))}
        )
        note = f"The hosted image tool returned no usable picture: {rejected}"
        await emitter.completed(failed, history=[message("developer", note)])
        return
    handle = next_handle()
    done = shown.model_copy(
        update={
            "handle": handle,
            "saved_path": path,
            "transparent_background": {"transparent": True, "opaque": False}.get(str(item.get("background"))),
            "mime_type": ref.mime,
            "bytes": ref.size_bytes,
            "width": ref.width,
            "height": ref.height,
            "has_alpha": checked.has_alpha,
            "sha256": ref.sha256,
        }
    )
    kept = {key: value for key, value in item.items() if key not in ("result", "background", "model", "partial_images")}
    history: list[Mapping[str, Any]] = [{**kept, "status": "completed", "picture": ref.to_json(), "handle": handle}]
    where = f"was saved at {path}" if path is not None else "is kept without a file, so use that name for it"
    history.append(message("developer", f"The picture {handle} {where}; the user has already seen it."))
    await emitter.completed(done, picture=ref, history=history)


def _decode(item: Mapping[str, Any]) -> bytes:
    result = item.get("result")
    if not isinstance(result, str) or not result:
        raise PictureRejected("the call holds no picture data.")
    try:
        return base64.b64decode(result.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise PictureRejected("its data is not base64.") from None


async def _save(
    checked: CheckedPicture, *, thread_id: str, item_id: str, prompt: str, pictures: Pictures
) -> tuple[PictureRef, str | None]:
    try:
        saved = await pictures.save_generated(checked, thread_id=thread_id, call_id=item_id, prompt=prompt)
    except OSError as error:  # never a lost picture: without its file it is kept as a blob
        log.warning("picture_not_saved", item_id=item_id, cause=error.strerror)
        return await pictures.keep(checked, thread_id=thread_id, paid=True), None
    return saved.ref, None if saved.path is None else str(saved.path)
