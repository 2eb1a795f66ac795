"""A thread's history while it is loaded: each item is looked at once, however many requests it goes into.

What a turn asks of its history (which calls are open, what the model was told) is remembered, not searched, and the
JSON of an item is made once. So a turn of a long thread costs what one of a new thread does, but for the bytes that it
sends. Items with pictures are rendered anew for each request: picture bytes are never kept here. `LiveThread` has one,
and so has each request that is no part of the conversation (`quiet.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import orjson

from app_server.turns.history import Item, first_text, has_picture, note_call, rendered_item

if TYPE_CHECKING:
    from app_server.turns.context import PictureUrls

CONTEXT_BEGINS = "<environment_context"


class Rendered(Sequence[Item]):
    """The `input` of one request, every picture as a data URL. Does not change, whatever joins the history later."""

    def __init__(self, items: list[Item], encoded: list[Any]) -> None:
        self._items, self.encoded = items, encoded
        """`encoded`, for orjson: the same items, each as its JSON where that was made before."""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return self._items == list(other) if isinstance(other, Sequence) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its items are dicts


class RunningHistory(Sequence[Item]):
    """The items, oldest first. They are only added to: a history that is replaced is another object."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        self._items = list(items)
        self._encoded: list[Any] = []
        """Of the items that were looked at: the JSON, or the item itself where it has a picture."""
        self._pictures: list[int] = []
        self._open_calls: dict[str, Item] = {}
        self._instructed, self._context = False, ""

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __reversed__(self) -> Iterator[Item]:
        return reversed(self._items)

    def extend(self, items: Iterable[Item]) -> None:
        """Add items at the end."""
        self._items.extend(items)

    def unanswered_calls(self) -> list[Item]:
        """Calls without an output, in order: the API refuses a history that has any."""
        self._look()
        return list(self._open_calls.values())

    @property
    def instructed(self) -> bool:
        """Whether the instructions stand in it."""
        self._look()
        return self._instructed

    @property
    def context(self) -> str:
        """The environment context that the model was told last; empty before the first one."""
        self._look()
        return self._context

    async def render(self, urls: PictureUrls, *, takes_original: bool) -> Rendered:
        """The `input` of a request: every reference replaced by its data URL, as large as its detail allows.

        takes_original: whether the model is known to take the label `original`; others get the same picture as `high`.
        """
        self._look()
        items, encoded, pictures = self._items.copy(), self._encoded.copy(), self._pictures.copy()
        for place in pictures:
            items[place] = encoded[place] = await rendered_item(items[place], urls, takes_original)
        return Rendered(items, encoded)

    def _look(self) -> None:
        """Take note of what was added since the last look."""
        seen = len(self._encoded)
        for place, item in enumerate(self._items[seen:], seen):
            note_call(self._open_calls, item)
            if item.get("role") == "developer":
                self._instructed = True
            elif item.get("role") == "user" and (text := first_text(item)).startswith(CONTEXT_BEGINS):
                self._context = text
            if has_picture(item):
                self._pictures.append(place)
                self._encoded.append(item)
            else:
                self._encoded.append(orjson.Fragment(orjson.dumps(item)))
