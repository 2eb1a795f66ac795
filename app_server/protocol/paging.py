"""Owns what all paged lists share: page size, cursor, direction. A cursor is opaque here; each list makes its own."""

from typing import Literal

from app_server.protocol.base import Params, UInt32, WireModel

SortDirection = Literal["asc", "desc"]


class PageParams(Params):
    """Where a page starts and how many rows it holds; None leaves the size to the server."""

    cursor: str | None = None
    limit: UInt32 | None = None


class Page(WireModel):
    """The end of a page: None where nothing follows."""

    next_cursor: str | None = None


class ReversiblePage(Page):
    """A page that can be read the other way round; `backwards_cursor` is None where the page is empty."""

    backwards_cursor: str | None = None
