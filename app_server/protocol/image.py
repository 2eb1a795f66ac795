"""Owns image/*: methods of our own, by which a client without the server's disk lists, reads and deletes pictures.

The reference does not have them; their JSON schema is `docs/schema/image.json`.
"""

from typing import Annotated, Final

from pydantic import Field

from app_server.protocol.base import Int, Params, SparseModel, WireModel
from app_server.protocol.paging import Page, PageParams

DEFAULT_CHUNK_BYTES: Final = 256 * 1024
MAX_CHUNK_BYTES: Final = 4 * 1024 * 1024
MAX_EDGE_PX: Final = 16_384
MAX_LIFE_S: Final = 3600

Sha256 = Annotated[str, Field(strict=True, pattern=r"^[0-9a-f]{64}$")]
"""64 lowercase hexadecimal digits: nothing else ever reaches the store."""


class ImageKeyParams(Params):
    """Which picture: `sha256`, or `thread_id` and `item_id` of the item that shows it."""

    sha256: Sha256 | None = None
    thread_id: str | None = None
    item_id: str | None = None


class ImageListParams(PageParams):
    """`thread_id` asks for one thread's pictures instead of those of all stored threads."""

    thread_id: str | None = None


class ListedImage(SparseModel):
    """A generated picture. `path` is on the server's machine; `created_at` in Unix seconds."""

    omit_when_none = frozenset({"handle", "path", "prompt", "model"})

    sha256: str
    thread_id: str
    turn_id: str
    item_id: str
    handle: str | None = None
    path: str | None = None
    mime_type: str
    bytes: Int
    width: Int
    height: Int
    created_at: Int
    prompt: str | None = None
    model: str | None = None


class ImageListResponse(Page):
    """The newest first."""

    data: tuple[ListedImage, ...]


class ImageReadParams(ImageKeyParams):
    """A piece of a picture, or of a copy whose longest edge is at most `max_edge` pixels."""

    offset: Annotated[int, Field(strict=True, ge=0)] | None = None
    length: Annotated[int, Field(strict=True, ge=1, le=MAX_CHUNK_BYTES)] | None = None
    max_edge: Annotated[int, Field(strict=True, ge=16, le=MAX_EDGE_PX)] | None = None


class ImageReadResponse(WireModel):
    """`sha256` is the stored picture's, also of a copy; type and size are those of what is read.

    `data` is base64, shorter than asked where the connection takes no larger message; `next_offset` is null at the end.
    """

    sha256: str
    mime_type: str
    total_bytes: Int
    offset: Int
    data: str
    next_offset: Int | None = None


class ImageDeleteParams(ImageKeyParams):
    """By `sha256` it goes from every thread (or only from `thread_id`), else from that item alone."""


class ImageDeleteResponse(WireModel):
    """How many items lost their picture; a file goes when no thread has it any more."""

    removed: Int
    files_removed: Int


class ImageUrlParams(ImageKeyParams):
    """`expires_in_s` is 600 unless given."""

    expires_in_s: Annotated[int, Field(strict=True, ge=1, le=MAX_LIFE_S)] | None = None


class ImageUrlResponse(WireModel):
    """A signed address at the port of the websocket; `path` is its part behind the authority, for tunnels."""

    url: str
    path: str
    expires_at: Int
    mime_type: str
    total_bytes: Int
