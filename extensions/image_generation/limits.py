"""Decides whether a backend can do what a request asks, and whether it did. Pure: a request and rows in, sentences out.

What the model asked for is refused when it is not possible, with the argument, the rule and the fix; what came back
other than asked is told. Nothing is changed silently.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from extensions.image_generation.backends.base import ImageRequest
from extensions.image_generation.backends.capabilities import AUTO, Api, ImageModel, model_row

if TYPE_CHECKING:
    from app_server.extension_api import CheckedPicture

_MIB: Final = 1024 * 1024
Rule = Callable[[ImageRequest, ImageModel, Api], str | None]


def refusal(request: ImageRequest, api: Api) -> str | None:
    """Why this request cannot be made through this API, as one sentence; None when it can."""
    row = model_row(request.model, api)
    return next((text for rule in _RULES if (text := rule(request, row, api))), None)


def left_out(request: ImageRequest, api: Api) -> list[str]:
    """What was asked for and has no effect here, as sentences for the clients."""
    asked = {"quality": request.quality}
    return [
        f"`{name}` {asked[name]} has no effect with the backend at hand ({api.title}), so it was left out."
        for name in api.ignored
        if asked[name] != AUTO
    ]


def partial_images(wanted: int, request: ImageRequest, api: Api) -> int:
    """How many unfinished pictures to ask for: what the settings want where model and API can, for a single picture."""
    if not api.partial_images or request.n > 1:
        return 0
    return min(wanted, model_row(request.model, api).partial_images)


def deviations(request: ImageRequest, picture: CheckedPicture) -> list[str]:
    """What the picture is other than asked, as sentences for the model and the clients."""
    ref, found = picture.ref, []
    size = f"{ref.width}x{ref.height}"
    if request.size not in (AUTO, size):
        found.append(f"The picture has {size} pixels, not the {request.size} that were asked for.")
    if request.output_format not in (None, ref.mime.removeprefix("image/")):
        found.append(f"The picture came as {ref.mime}, not as the {request.output_format} that was asked for.")
    if request.background == "transparent" and not picture.has_alpha:
        found.append("A transparent background was asked for, but no pixel of the picture is transparent.")
    return found


def parse_size(text: str) -> tuple[int, int] | None:
    """Width and height of `WxH`; None for anything else."""
    width, x, height = text.partition("x")
    digits = all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (width, height))
    return (int(width), int(height)) if x and digits else None


def _size(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    size = parse_size(request.size)
    if request.size == AUTO or row.sizes is None or (size is not None and row.sizes.allows(*size)):
        return None
    return f"`size` {request.size} is not possible with {request.model}: {row.sizes.rule}; use auto or {_or(row)}"


def _or(row: ImageModel) -> str:
    return row.sizes.examples if row.sizes is not None else "leave it out"


def _quality(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    return _choice("quality", request.quality, row.qualities, request.model)


def _background(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    if request.background in row.backgrounds:
        return None
    return f"{request.model} has no choice of background; leave out `background` and `transparent_background`"


def _format(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    name = request.output_format
    if name is None:
        return None
    if name == "gif" and (not api.gif or "gif" not in row.formats):
        return f"`gif` is not possible with {request.model} through this {api.title}; leave it out and use png"
    if name == "jpeg" and request.background == "transparent":
        return "`output_format` jpeg knows no transparency; use png or webp, or leave out the transparent background"
    return _choice("output_format", name, row.formats, request.model)


def _choice(name: str, value: str, choices: tuple[str, ...], model: str) -> str | None:
    if value == AUTO or value in choices:
        return None
    if not choices:
        return f"`{name}` cannot be chosen with {model}; leave it out"
    return f"`{name}` {value} is not possible with {model}; use {', '.join(choices)} or leave it out"


def _number(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    if request.n <= row.max_n:
        return None
    many = "picture" if row.max_n == 1 else "pictures"
    return f"`n` is {request.n}, but {request.model} makes at most {row.max_n} {many} at a time; make several calls"


def _inputs(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    count = len(request.pictures)
    if count and not row.max_inputs:
        return f"{request.model} cannot edit pictures; describe the whole picture in `prompt` and give no reference"
    if count > row.max_inputs:
        most = "1 picture" if row.max_inputs == 1 else f"{row.max_inputs} pictures"
        return f"{request.model} edits at most {most} at a time, not {count}; leave some out"
    for number, picture in enumerate(request.pictures, 1):
        if len(picture.data) > row.max_input_bytes:
            rule = f"picture {number} of the edit has more than the {row.max_input_bytes // _MIB} MiB"
            return f"{rule} that {request.model} takes; give a smaller copy"
    return None


def _file_ids(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    if api.file_ids or all(picture.file_id is None for picture in request.pictures):
        return None
    return (
        f"a picture of this edit was attached by a file id, which the backend at hand ({api.title}) does not take; "
        "ask the user to attach the picture itself"
    )


def _mask(request: ImageRequest, row: ImageModel, api: Api) -> str | None:
    mask = request.mask
    if mask is None:
        return None
    if not row.masks:
        return f"`mask_path` is not possible with {request.model}; leave it out and say in `prompt` what may change"
    if not request.pictures:
        return "`mask_path` needs a picture to edit; give one by path, by handle or from the conversation"
    first = request.pictures[0]
    if first.file_id is None and (mask.width, mask.height) != (first.width, first.height):
        rule = f"`mask_path` has {mask.width}x{mask.height} pixels, but the first picture {first.width}x{first.height}"
        return f"{rule}; give a mask of the same size"
    if not mask.has_alpha:
        return "`mask_path` has no transparent pixel; make those pixels transparent that may change"
    return None


_RULES: Final[tuple[Rule, ...]] = (_size, _quality, _background, _format, _number, _inputs, _file_ids, _mask)
