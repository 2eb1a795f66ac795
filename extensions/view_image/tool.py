"""The tool `view_image`: what the model is told of it, when it is offered, and one call from start to end.

    arguments ─► read and check the file ─► keep its bytes ─► handle ─► item started and completed ─► picture, name
        └───────────── ToolFailure: no item, the text for the model says what to do ─┘

The bytes are kept as they are now, so that the conversation stays the same when the file changes; how large the picture
goes to the model is the host's matter. Used by the host through `ToolExecutor`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from app_server.extension_api import (
    Exposure,
    Hidden,
    PictureContent,
    PictureRef,
    PictureRejected,
    Pictures,
    TextContent,
    ToolCall,
    ToolFailure,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
    Visible,
)
from extensions.view_image.arguments import PARAMETERS, parse_arguments, resolve_path

TOOL_NAME: Final = ToolName(None, "view_image")
DESCRIPTION: Final = (
    "Shows you a picture file of this machine (PNG, JPEG, WebP or GIF). Use it for files that you have not seen; "
    "pictures that the user attached, or that were made in this conversation, are in front of you already."
)
LOG_LINE: Final = "[viewed image]"
MAX_HOOK_PATH_BYTES: Final = 3000
"""So that the object for hooks stays under 4 KiB; a longer path is null there."""


class ViewImageTool:
    """One object serves all threads; it keeps nothing between calls."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures

    @property
    def name(self) -> ToolName:
        """`view_image`, in no namespace."""
        return TOOL_NAME

    def spec(self, scope: TurnScope) -> ToolSpec:
        """The same for every turn."""
        return ToolSpec(name=TOOL_NAME, description=DESCRIPTION, parameters=PARAMETERS)

    def exposure(self, scope: TurnScope) -> Exposure:
        """Only for a model that can see."""
        if scope.model.accepts_images:
            return Visible()
        return Hidden(f"the model {scope.model.slug} takes no images; choose one that does")

    async def handle(self, call: ToolCall) -> ToolOutput:
        """Show one file to the model. Raises ToolFailure with what is wrong with the path or the file."""
        arguments = parse_arguments(call.arguments)
        if isinstance(exposure := self.exposure(call.scope), Hidden):  # the model was changed since it was offered
            raise ToolFailure(f"view_image cannot be used: {exposure.reason}")
        path = resolve_path(arguments.path, call.scope.cwd, tilde=call.scope.tilde)
        try:
            picture = await self._pictures.read_file(path)
            ref = await self._pictures.keep(picture, thread_id=call.scope.thread_id)
        except PictureRejected as error:
            raise ToolFailure(str(error)) from error
        except OSError as error:
            cause = error.strerror or str(error)
            text = f"the picture at `{path}` could not be stored: {cause}; check the disk and its free space"
            raise ToolFailure(text) from error
        handle = known_handle(call.history, ref.sha256) or call.next_handle()
        from app_server.extension_api import ImageViewItem  # the wire's models are slow to load: with the first call

        item = ImageViewItem(id=call.call_id, path=str(path))
        await call.items.started(item)
        await call.items.completed(item)
        return _output(ref, str(path), arguments.detail.value, handle)


def known_handle(history: Iterable[Mapping[str, Any]], sha256: str) -> str | None:
    """The name that this very picture has in the conversation already, or None. Pure."""
    return next((str(part["handle"]) for item in history for part in _named(item) if _sha256(part) == sha256), None)


def _named(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What has a handle in an item: its parts, or the item itself when the provider's own tool made the picture."""
    for parts in ((item,), item.get("content"), item.get("output")):
        if isinstance(parts, (list, tuple)):
            yield from (part for part in parts if isinstance(part, Mapping) and part.get("handle"))


def _sha256(part: Mapping[str, Any]) -> object:
    picture = part.get("picture")
    return picture.get("sha256") if isinstance(picture, Mapping) else None


def _output(ref: PictureRef, path: str, detail: str, handle: str) -> ToolOutput:
    hook = {
        "path": path if len(path.encode("utf-8")) <= MAX_HOOK_PATH_BYTES else None,
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
    return ToolOutput(content=content, log=LOG_LINE, hook=hook)
