"""Builds what is sent to an OpenAI-shaped images API: a JSON body, or a form for edits. Pure; blocking (base64).

Automatic parameters are sent as `auto` where API and model know the word, else left out, which means the same.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

from app_server.extension_api import Form, FormFile
from extensions.image_generation.backends.capabilities import AUTO, Api, model_row

if TYPE_CHECKING:
    from extensions.image_generation.backends.base import ImageRequest, InputPicture

_SUFFIXES: Final = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp"}


def json_body(request: ImageRequest, api: Api) -> dict[str, Any]:
    """The JSON body, its keys in the order that the reference sends; `images` only for an edit."""
    edit: dict[str, Any] = {}
    if request.pictures:
        edit["images"] = [_json_picture(picture) for picture in request.pictures]
    if request.mask is not None:
        edit["mask"] = {"image_url": _data_url(request.mask)}
    return {**edit, "prompt": request.prompt, **_parameters(request, api)}


def form_body(request: ImageRequest, api: Api) -> Form:
    """The form of an edit: its pictures as `image[]` in order, then the mask."""
    fields = {"prompt": request.prompt, **_parameters(request, api)}
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in fields.items()}
    files = [_file("image[]", f"image-{number}", picture) for number, picture in enumerate(request.pictures, 1)]
    if request.mask is not None:
        files.append(_file("mask", "mask", request.mask))
    return Form(fields=texts, files=tuple(files))


def _parameters(request: ImageRequest, api: Api) -> dict[str, Any]:
    row = model_row(request.model, api)
    says_auto = api.says_auto and row.says_auto
    gif = request.gif
    chosen = {"background": request.background, "quality": request.quality, "size": request.size}
    said = {name: value for name, value in chosen.items() if says_auto or value != AUTO}
    optional = {
        "output_format": request.output_format,
        "frame_count": gif.frame_count if gif else None,
        "frame_duration_ms": gif.frame_duration_ms if gif else None,
        "background": said.get("background"),
        "model": request.model,
        "quality": said.get("quality"),
        "size": said.get("size"),
        "n": request.n if request.n > 1 else None,
        "response_format": "b64_json" if row.asks_for_bytes else None,
        "stream": True if request.partial_images else None,
        "partial_images": request.partial_images or None,
    }
    return {name: value for name, value in optional.items() if value is not None}


def _json_picture(picture: InputPicture) -> dict[str, str]:
    return {"image_url": _data_url(picture)} if picture.file_id is None else {"file_id": picture.file_id}


def _data_url(picture: InputPicture) -> str:
    return f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"


def _file(name: str, stem: str, picture: InputPicture) -> FormFile:
    return FormFile(
        name=name, filename=stem + _SUFFIXES.get(picture.mime, ".bin"), mime=picture.mime, data=picture.data
    )
