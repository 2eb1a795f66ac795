"""Says how a call went: the item in each of its states, the output for the model, the hint. Pure, and without bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app_server.extension_api import (
    CheckedPicture,
    Content,
    ImageGenerationItem,
    PictureContent,
    PictureRef,
    TextContent,
    ToolOutput,
)
from extensions.image_generation.backends.base import BackendFailure, ImageRequest, ImageResult
from extensions.image_generation.inputs import InputFile

MAX_HINT_BYTES: Final = 1024
LOG_LINE: Final = "[generated image]"
_SHOWN: Final = (
    "The picture is already displayed to the user, so there is no need to render it as Markdown or to link it."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A picture that was made, checked and stored; `path` is None when it could not be saved as a file."""

    result: ImageResult
    picture: CheckedPicture
    ref: PictureRef
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFacts:
    """What all states of one call's item share."""

    call_id: str
    request: ImageRequest
    files: tuple[InputFile, ...]
    started_at_ms: int

    def started(self) -> ImageGenerationItem:
        """The item as the request goes out."""
        return self._item(status="in_progress")

    def completed(self, made: Made, now_ms: int) -> ImageGenerationItem:
        """The item with its picture, `result` left to the host."""
        ref, background = made.ref, made.result.background
        return self._item(
            status="completed",
            completed_at_ms=now_ms,
            revised_prompt=made.result.revised_prompt or self.request.prompt,
            transparent_background={"transparent": True, "opaque": False}.get(background or ""),
            saved_path=None if made.path is None else str(made.path),
            input_images=[{"path": file.path, "sha256": file.sha256} for file in self.files] or None,
            generation_id=made.result.generation_id,
            mime_type=ref.mime,
            bytes=ref.size_bytes,
            width=ref.width,
            height=ref.height,
            has_alpha=made.picture.has_alpha,
            sha256=ref.sha256,
        )

    def failed(self, failure: BackendFailure, now_ms: int) -> ImageGenerationItem:
        """The item without a picture; `failure` knows usage limits alone, `error` every cause."""
        limit = failure.limit
        reached = limit and {"type": "usageLimitExceeded", "limitId": limit.limit_id, "resetsAt": limit.resets_at_s}
        return self._item(
            status="failed",
            completed_at_ms=now_ms,
            revised_prompt=self.request.prompt,
            failure=reached,
            error={
                "type": failure.kind.value,
                "message": failure.message,
                "retryAfterMs": failure.retry_after_ms,
                "requestId": failure.request_id,
            },
        )

    def _item(self, **members: Any) -> ImageGenerationItem:
        return ImageGenerationItem(
            id=self.call_id,
            result="",
            started_at_ms=self.started_at_ms,
            prompt=self.request.prompt,
            model=self.request.model,
            **members,
        )


def output_for(made: Made) -> ToolOutput:
    """The picture, then the hint when there is a file to name."""
    ref, text = made.ref, hint(made.path)
    content: list[Content] = [PictureContent(picture=ref, detail="high")]
    if text is not None:
        content.append(TextContent(text=text))
    hook = {
        "path": None if made.path is None else str(made.path),
        "type": ref.mime,
        "bytes": ref.size_bytes,
        "sha256": ref.sha256,
        "width": ref.width,
        "height": ref.height,
    }
    return ToolOutput(content=tuple(content), log=LOG_LINE, hook=hook)


def hint(path: Path | None) -> str | None:
    """What the model should know of the file, at most 1024 bytes; None without a file or without room for its path."""
    if path is None:
        return None
    where = f"Pictures of this conversation are saved in {path.parent}; this one is {path}"
    care = "To use it elsewhere, copy it rather than move it; the original stays unless the user wants it gone."
    for text in (f"{where}\n{care}\n{_SHOWN}", f"The picture is saved as {path}\n{care}\n{_SHOWN}"):
        if len(text.encode("utf-8", "surrogatepass")) <= MAX_HINT_BYTES:
            return text
    return None
