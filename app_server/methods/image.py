"""image/list, image/read, image/delete, image/url: pictures for clients that cannot see the server's disk. Ours.

Only what the store knows can be named, by a sha256 or by the item that shows it: never by a path.
"""

from __future__ import annotations

import base64
import re

from app_server.errors import InternalError, InvalidRequest
from app_server.extension_api.services import PictureRejected
from app_server.extension_api.tools import PictureRef
from app_server.methods.services import Context
from app_server.pictures.links import DEFAULT_LIFE_S
from app_server.protocol.image import (
    DEFAULT_CHUNK_BYTES,
    ImageDeleteParams,
    ImageDeleteResponse,
    ImageKeyParams,
    ImageListParams,
    ImageListResponse,
    ImageReadParams,
    ImageReadResponse,
    ImageUrlParams,
    ImageUrlResponse,
    ListedImage,
)
from app_server.rpc.registry import method
from app_server.storage.base import PictureRow
from app_server.threads.naming import shown_id
from app_server.threads.paging import invalid_cursor, page_limit

_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9a-f-]{36})", re.ASCII)
_ENVELOPE_BYTES = 1024
_LEAST_CHUNK_BYTES = 768


@method("image/list", ImageListParams)
async def image_list(ctx: Context, params: ImageListParams) -> ImageListResponse:
    """A page of generated pictures, the newest first; of one thread or of all stored ones."""
    services, limit = ctx.services, page_limit(params.limit)
    thread_id = (await services.threads.row(params.thread_id)).thread_id if params.thread_id is not None else None
    before = _place(params.cursor) if params.cursor is not None else None
    rows = await services.rare.gallery.page(limit=limit + 1, before=before, thread_id=thread_id)
    page = rows[:limit]
    return ImageListResponse(
        data=tuple([await _listed(ctx, row) for row in page]),
        next_cursor=_cursor(page[-1]) if len(rows) > limit else None,
    )


@method("image/read", ImageReadParams)
async def image_read(ctx: Context, params: ImageReadParams) -> ImageReadResponse:
    """A piece of a picture, no larger than this connection takes."""
    ref = await _find(ctx, params)
    room = (ctx.services.hub.budget(ctx.session).max_message_bytes - _ENVELOPE_BYTES) // 4 * 3
    length = min(params.length or DEFAULT_CHUNK_BYTES, max(room, _LEAST_CHUNK_BYTES))
    try:
        chunk = await ctx.services.rare.picture_reader.chunk(
            ref, offset=params.offset or 0, length=length, max_edge_px=params.max_edge
        )
    except PictureRejected as error:
        raise InvalidRequest(_sentence(error), data_code="pictureGone") from None
    return ImageReadResponse(
        sha256=ref.sha256,
        mime_type=chunk.mime,
        total_bytes=chunk.total_bytes,
        offset=chunk.offset,
        data=base64.b64encode(chunk.data).decode("ascii"),
        next_offset=chunk.next_offset,
    )


@method("image/delete", ImageDeleteParams)
async def image_delete(ctx: Context, params: ImageDeleteParams) -> ImageDeleteResponse:
    """Remove a generated picture for good; its item then says that it was deleted."""
    services = ctx.services
    rows = await _rows(ctx, params)
    files = [path for row in rows for path in await services.rare.gallery.remove(row, "deleted")]
    return ImageDeleteResponse(removed=len(rows), files_removed=len(files))


@method("image/url", ImageUrlParams)
async def image_url(ctx: Context, params: ImageUrlParams) -> ImageUrlResponse:
    """A short-lived address of a picture, where this server listens for websockets."""
    base = ctx.services.http_base()
    if base is None:
        raise InvalidRequest(
            "this server does not listen on a port, so a picture has no address; read it with image/read",
            data_code="noListener",
        )
    ref = await _find(ctx, params)
    try:
        path, expires_at = await ctx.services.rare.picture_links.path(ref.sha256, params.expires_in_s or DEFAULT_LIFE_S)
    except OSError as error:
        raise InternalError(f"The secret for addresses of pictures cannot be used: {error}.") from error
    return ImageUrlResponse(
        url=base + path, path=path, expires_at=expires_at, mime_type=ref.mime, total_bytes=ref.size_bytes
    )


async def _find(ctx: Context, key: ImageKeyParams) -> PictureRef:
    """The picture that is meant, an attachment included. Raises InvalidRequest."""
    if key.sha256 is not None and key.item_id is None:
        if (ref := await ctx.services.rare.gallery.ref(key.sha256)) is None:
            raise _unknown(f"sha256 {key.sha256}")
        return ref
    return (await _rows(ctx, key))[0].ref


async def _rows(ctx: Context, key: ImageKeyParams) -> list[PictureRow]:
    """The items that are meant, one at least. Raises InvalidRequest."""
    gallery = ctx.services.rare.gallery
    thread_id = (await ctx.services.threads.row(key.thread_id)).thread_id if key.thread_id is not None else None
    if thread_id is not None and key.item_id is not None:
        row = await gallery.of_item(thread_id, key.item_id)
        if row is None or key.sha256 not in (None, row.ref.sha256):
            raise _unknown(f"item {shown_id(key.item_id)} of thread {thread_id}")
        return [row]
    if key.sha256 is None or key.item_id is not None:
        raise InvalidRequest("name the picture by sha256, or by threadId and itemId", data_code="noPictureNamed")
    rows = [row for row in await gallery.with_sha256(key.sha256) if thread_id in (None, row.thread_id)]
    if not rows:
        raise _unknown(f"sha256 {key.sha256}" + (f" in thread {thread_id}" if thread_id else ""))
    return rows


async def _listed(ctx: Context, row: PictureRow) -> ListedImage:
    ref = row.ref
    return ListedImage(
        sha256=ref.sha256,
        thread_id=row.thread_id,
        turn_id=row.turn_id,
        item_id=row.item_id,
        handle=row.handle,
        path=row.path or await ctx.services.pictures.path_of(ref),
        mime_type=ref.mime,
        bytes=ref.size_bytes,
        width=ref.width,
        height=ref.height,
        created_at=row.at_ms // 1000,
        prompt=row.prompt,
        model=row.model,
    )


def _cursor(row: PictureRow) -> str:
    return f"{row.at_ms}.{row.seq}.{row.thread_id}"


def _place(cursor: str) -> tuple[int, str, int]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise invalid_cursor(cursor)
    return int(found[1]), found[3], int(found[2])


def _unknown(what: str) -> InvalidRequest:
    return InvalidRequest(f"no picture with {what}; image/list names those that there are", data_code="unknownPicture")


def _sentence(error: Exception) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
