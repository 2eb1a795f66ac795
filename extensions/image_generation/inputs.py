"""Gets the pictures that an edit starts from: decides where they come from, reads them, makes them ready to send.

    paths ─► files, original pixels     handles, last N, action edit ─► stored originals     nothing ─► a new picture

Everything here happens before an item is shown, so that a wrong argument leaves no trace but the text for the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import anyio.to_thread

from app_server.extension_api import PictureRef, PictureRejected, Pictures, ToolCall, ToolFailure
from app_server.extension_api.values import frozen
from extensions.image_generation.argument_table import Action
from extensions.image_generation.arguments import ImageArguments, resolve_path
from extensions.image_generation.backends.base import InputPicture
from extensions.image_generation.selection import (
    ProviderFile,
    Selection,
    select_by_handles,
    select_for_edit,
    select_last,
)


@frozen
class InputFile:
    """A local file that is sent, as the item tells it: the hash is of the bytes on disk."""

    path: str
    sha256: str


@frozen
class Inputs:
    """The pictures to send, in order; `files` names those that were given by path. Without pictures: a new one."""

    pictures: tuple[InputPicture, ...] = ()
    files: tuple[InputFile, ...] = ()
    mask: InputPicture | None = None
    reason: str = "a new picture"


def select(arguments: ImageArguments, history: Sequence[Mapping[str, Any]]) -> Selection | None:
    """The pictures of the conversation that the call means; None when it names files or wants a new one. Pure."""
    if arguments.paths:
        return None
    if arguments.handles:
        return select_by_handles(history, arguments.handles)
    if arguments.last is not None:
        return select_last(history, arguments.last)
    return select_for_edit(history) if arguments.action is Action.EDIT else None


async def gather_inputs(arguments: ImageArguments, call: ToolCall, pictures: Pictures) -> Inputs:
    """Read what the call starts from. Raises ToolFailure with what cannot be used."""
    try:
        mask = await _mask(arguments.mask_path, call, pictures)
        if arguments.paths:
            return await _from_files(arguments, call, pictures, mask)
        selection = select(arguments, call.history)
        if selection is None:
            return Inputs(mask=mask)
        stored = [
            InputPicture.of_file(one.file_id)
            if isinstance(one, ProviderFile)
            else await _ready(one, await pictures.read(one))
            for one in selection.pictures
        ]
        return Inputs(pictures=tuple(stored), mask=mask, reason=selection.reason)
    except PictureRejected as error:
        raise ToolFailure(str(error)) from error


async def _from_files(
    arguments: ImageArguments, call: ToolCall, pictures: Pictures, mask: InputPicture | None
) -> Inputs:
    ready, files = [], []
    for text in arguments.paths:
        path = resolve_path(text, call.scope.cwd, tilde=call.scope.tilde)
        picture = await pictures.read_file(path)
        ready.append(await _ready(picture.ref, picture.data))
        files.append(InputFile(path=str(path), sha256=picture.ref.sha256))
    return Inputs(pictures=tuple(ready), files=tuple(files), mask=mask, reason=f"{len(files)} files by path")


async def _mask(text: str | None, call: ToolCall, pictures: Pictures) -> InputPicture | None:
    """The mask as it is: a PNG, whose alpha channel says what may change."""
    if text is None:
        return None
    path = resolve_path(text, call.scope.cwd, "mask_path", tilde=call.scope.tilde)
    picture = await pictures.read_file(path)
    if picture.ref.mime != "image/png":
        raise ToolFailure(f"`mask_path` must be a PNG file, but {path} is {picture.ref.mime}; save the mask as PNG")
    ref = picture.ref
    return InputPicture(
        mime=ref.mime, data=picture.data, width=ref.width, height=ref.height, has_alpha=picture.has_alpha
    )


async def _ready(ref: PictureRef, data: bytes) -> InputPicture:
    """Bytes as they are, but for GIF, which images APIs do not take: its first frame as PNG."""
    if ref.mime != "image/gif":
        return InputPicture(mime=ref.mime, data=data, width=ref.width, height=ref.height)
    frame = await anyio.to_thread.run_sync(_first_frame, data)
    return InputPicture(mime="image/png", data=frame, width=ref.width, height=ref.height)


def _first_frame(data: bytes) -> bytes:
    from PIL.GifImagePlugin import GifImageFile  # lazily: Pillow is not needed before the first picture

    stream = BytesIO()
    with GifImageFile(BytesIO(data)) as image:
        image.convert("RGBA").save(stream, format="PNG")
    return stream.getvalue()
