"""Says how a call went: its items in each of their states, the output for the model, the hint. Pure, no bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.extension_api import (
    CheckedPicture,
    Content,
    PictureContent,
    PictureRef,
    TextContent,
    ToolOutput,
)
from app_server.extension_api.values import frozen
from extensions.image_generation.limits import deviations

if TYPE_CHECKING:
    from app_server.extension_api import ImageGenerationItem
    from extensions.image_generation.backends.base import BackendFailure, ImageRequest, ImageResult, ResultPicture
    from extensions.image_generation.inputs import InputFile

MAX_HINT_BYTES: Final = 1024
MAX_HOOK_BYTES: Final = 4000
LOG_LINE: Final = "[generated image]"
_CARE: Final = "To use it elsewhere, copy it rather than move it; the original stays unless the user wants it gone."
_SHOWN: Final = (
    "The picture is already displayed to the user, so there is no need to render it as Markdown or to link it."
)


@frozen
class Made:
    """A picture that was made, checked and stored; `path` is None where it has no file, only its handle."""

    source: ResultPicture
    picture: CheckedPicture
    ref: PictureRef
    path: Path | None
    handle: str
    """The name under which the model may refer to it."""
    notes: tuple[str, ...] = ()
    """How it differs from what was asked for."""


@frozen
class ItemFacts:
    """What all items of one call share, in all their states."""

    call_id: str
    request: ImageRequest
    files: tuple[InputFile, ...]
    started_at_ms: int

    @property
    def item_ids(self) -> tuple[str, ...]:
        """One item for each picture: the call's id, or `<call>-1` to `<call>-n`."""
        count = self.request.n
        return (self.call_id,) if count == 1 else tuple(f"{self.call_id}-{number}" for number in range(1, count + 1))

    def started(self, item_id: str) -> ImageGenerationItem:
        """The item as the request goes out."""
        return self._item(item_id, status="in_progress")

    def completed(self, item_id: str, made: Made, result: ImageResult, now_ms: int) -> ImageGenerationItem:
        """The item with its picture, `result` left to the host."""
        ref = made.ref
        return self._item(
            item_id,
            status="completed",
            completed_at_ms=now_ms,
            revised_prompt=made.source.revised_prompt or self.request.prompt,
            transparent_background={"transparent": True, "opaque": False}.get(result.background or ""),
            saved_path=None if made.path is None else str(made.path),
            input_images=[{"path": file.path, "sha256": file.sha256} for file in self.files] or None,
            generation_id=made.source.generation_id,
            mime_type=ref.mime,
            bytes=ref.size_bytes,
            width=ref.width,
            height=ref.height,
            has_alpha=made.picture.has_alpha,
            sha256=ref.sha256,
            handle=made.handle,
            effective_parameters=effective_parameters(self.request, result, ref),
        )

    def failed(self, item_id: str, failure: BackendFailure, now_ms: int) -> ImageGenerationItem:
        """The item without a picture; `failure` knows usage limits alone, `error` every cause."""
        limit = failure.limit
        reached = limit and {"type": "usageLimitExceeded", "limitId": limit.limit_id, "resetsAt": limit.resets_at_s}
        return self._item(
            item_id,
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

    def _item(self, item_id: str, **members: Any) -> ImageGenerationItem:
        from app_server.extension_api import (
            ImageGenerationItem,  # the wire's models are slow to load: with the first call
        )

        return ImageGenerationItem(
            id=item_id,
            result="",
            started_at_ms=self.started_at_ms,
            prompt=self.request.prompt,
            model=self.request.model,
            **members,
        )


def effective_parameters(request: ImageRequest, result: ImageResult, ref: PictureRef) -> dict[str, str]:
    """What the answer says that it used, else what was asked for; the format by the bytes where neither says."""
    return {
        "size": result.size or request.size,
        "quality": result.quality or request.quality,
        "background": result.background or request.background,
        "outputFormat": result.output_format or request.output_format or ref.mime.removeprefix("image/"),
    }


def notes_on(request: ImageRequest, picture: CheckedPicture, handle: str) -> tuple[str, ...]:
    """How the picture differs from what was asked, each note with the picture's name when there are several."""
    found = deviations(request, picture)
    return tuple(found) if request.n == 1 else tuple(f"{handle}: {note}" for note in found)


def output_for(made: Sequence[Made], failures: Sequence[BackendFailure]) -> ToolOutput:
    """The pictures in order, then the hint with their names and files; for some that failed, the reasons as well."""
    content: list[Content] = [PictureContent(picture=one.ref, detail="high", handle=one.handle) for one in made]
    texts = [hint(made), *(note for one in made for note in one.notes)]
    if failures:
        reasons = "; ".join(dict.fromkeys(failure.message for failure in failures))
        texts.append(f"Only {len(made)} of {len(made) + len(failures)} pictures were made: {reasons}")
    content.append(TextContent(text="\n".join(texts)))
    log = LOG_LINE if len(made) == 1 else f"[generated {len(made)} images]"
    return ToolOutput(content=tuple(content), log=log, hook=hook_facts(made))


def hook_facts(made: Sequence[Made]) -> Mapping[str, Any]:
    """What hooks get: the facts of the picture, or a list of such under `pictures`; always under 4 KiB."""
    facts = [_facts(one) for one in made]
    if len(facts) == 1:
        fits = len(orjson.dumps(facts[0])) <= MAX_HOOK_BYTES
        return facts[0] if fits else {**facts[0], "path": None}
    kept = list(facts)
    while kept and len(orjson.dumps(kept)) > MAX_HOOK_BYTES - 64:
        kept.pop()
    return {"count": len(facts), "pictures": kept}


def _facts(made: Made) -> dict[str, Any]:
    ref = made.ref
    return {
        "path": None if made.path is None else str(made.path),
        "type": ref.mime,
        "bytes": ref.size_bytes,
        "sha256": ref.sha256,
        "width": ref.width,
        "height": ref.height,
        "handle": made.handle,
    }


def hint(made: Sequence[Made]) -> str:
    """What the model should know of names and files; for one picture at most 1024 bytes, shortened where needed."""
    if len(made) > 1:
        names = "\n".join(f"{one.handle}: {one.path or 'kept without a file'}" for one in made)
        care = f"{_CARE}\n" if any(one.path for one in made) else ""
        return f"{len(made)} pictures, by handle and file:\n{names}\n{care}{_SHOWN}"
    one, name = made[0], f"This picture is {made[0].handle}"
    if one.path is None:
        return f"{name}; it is kept without a file, so use that name for it.\n{_SHOWN}"
    folder = f"{name}. Pictures of this conversation are saved in {one.path.parent}; this one is"
    texts = (
        f"{folder} {one.path}\n{_CARE}\n{_SHOWN}",
        f"{name}, saved as {one.path}\n{_CARE}\n{_SHOWN}",
    )
    fitting = (text for text in texts if len(text.encode("utf-8", "surrogatepass")) <= MAX_HINT_BYTES)
    return next(fitting, f"{name}; its path is too long to be told here.\n{_SHOWN}")
