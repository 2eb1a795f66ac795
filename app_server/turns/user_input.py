"""From what a client sent to one user message: pictures are checked and stored, files read, the rest passed on.

A picture that comes inside the request must be one: else the request is refused before a turn starts. A file that is
named may be missing: the model is told so in words, and the turn goes on (as in the reference). A file id is the
provider's own affair: it is passed on as it is.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from app_server.errors import InternalError, InvalidRequest
from app_server.extension_api.services import CheckedPicture, PictureRejected, Pictures, PicturesUsedUp
from app_server.protocol.user_input import (
    ImageUserInput,
    LocalImageUserInput,
    MentionUserInput,
    SkillUserInput,
    TextUserInput,
    UserInput,
)
from app_server.turns.context import UserMessage
from app_server.turns.history import file_part, picture_part

if TYPE_CHECKING:
    from app_server.extension_api.tools import PictureRef

_DEFAULT_DETAIL = "high"
_STORED = "urn:sha256:"


async def resolve_input(
    inputs: Sequence[UserInput],
    *,
    client_id: str | None,
    cwd: Path,
    thread_id: str,
    pictures: Pictures,
    tilde: bool = True,
) -> UserMessage:
    """Resolve one message. Raises InvalidRequest for input that cannot be taken, naming its place.

    tilde: whether `~` in a path is a home of this machine. Raises TenantLimit where no more bytes are taken."""
    stored: list[Mapping[str, Any]] = []
    parts: list[Mapping[str, Any]] = []
    for index, given in enumerate(inputs):
        wire = given.wire()
        match given:
            case TextUserInput():
                stored.append(wire)
                parts.append({"type": "input_text", "text": given.text})
            case ImageUserInput(url=None, file_id=str(file_id)):
                stored.append(wire)
                parts.append(file_part(file_id, given.detail or _DEFAULT_DETAIL))
            case ImageUserInput():
                url, part = await _inline_picture(given, index, thread_id, pictures)
                stored.append({**wire, "url": url})
                parts.append(part)
            case LocalImageUserInput():
                stored.append(wire)
                parts.append(await _local_picture(given, _absolute(given.path, cwd, tilde), thread_id, pictures))
            case SkillUserInput() | MentionUserInput():
                stored.append(wire)
                parts.append({"type": "input_text", "text": f"[{given.type}: {given.name}]({given.path})"})
            case _:
                raise InvalidRequest(
                    f"input[{index}]: sound is not supported by this server; send text or pictures.",
                    data_code="unsupportedInput",
                )
    shown = [given.wire() for given in inputs]
    return UserMessage(client_id=client_id, shown=shown, stored=stored, parts=parts)


async def _inline_picture(
    given: ImageUserInput, index: int, thread_id: str, pictures: Pictures
) -> tuple[str, Mapping[str, Any]]:
    """A data URL becomes a stored picture; the log keeps the URL of its file, or of its sha256 where it has none.

    Those URLs of ours come back from clients, too.
    """
    url = given.url or ""
    where = f"input[{index}].url"
    try:
        if url.startswith("file:"):
            picture = await pictures.read_file(Path(unquote(urlsplit(url).path)))
        elif url.startswith(_STORED):
            picture = await pictures.read_stored(url.removeprefix(_STORED))
        else:
            picture = await pictures.check(_decode(url, where))
    except PictureRejected as rejected:
        raise InvalidRequest(f"{where}: {rejected}", data_code="invalidPicture") from None
    ref = await _keep(picture, thread_id, pictures)
    path = await pictures.path_of(ref)
    stored_url = Path(path).as_uri() if path else f"{_STORED}{ref.sha256}"
    return stored_url, picture_part(ref, given.detail or _DEFAULT_DETAIL)


def _decode(url: str, where: str) -> bytes:
    if url.startswith(("http:", "https:")):
        raise InvalidRequest(
            "remote image URLs are not supported; use an inline data URL instead", data_code="remoteImage"
        )
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise InvalidRequest(f"{where} must be a data URL: data:image/png;base64,…", data_code="invalidPicture")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"{where} holds invalid base64.", data_code="invalidPicture") from None


async def _local_picture(
    given: LocalImageUserInput, path: Path, thread_id: str, pictures: Pictures
) -> Mapping[str, Any]:
    """The picture with its path, so that the model can name the file; words when it cannot be read."""
    try:
        ref = await _keep(await pictures.read_file(path), thread_id, pictures)
    except PictureRejected as rejected:
        return {"type": "input_text", "text": f"The attached picture could not be read: {rejected}"}
    return {**picture_part(ref, given.detail or _DEFAULT_DETAIL), "path": given.path}


def _absolute(path: str, cwd: Path, tilde: bool) -> Path:
    return cwd / (Path(path).expanduser() if tilde else path)


async def _keep(picture: CheckedPicture, thread_id: str, pictures: Pictures) -> PictureRef:
    try:
        return await pictures.keep(picture, thread_id=thread_id)
    except OSError as error:
        raise InternalError(f"The attached picture could not be stored: {error}", data_code="storage") from error
    except PicturesUsedUp as full:
        raise full.limit from None
