"""What a picture looks like from outside, whichever tool made it: the item, the file, the bytes that were sent.

Plain data and pure readers; the parity test and `make eval` share them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Item = Mapping[str, Any]


def digest(data: bytes) -> str:
    """Enough of a sha256 to tell pictures apart, and short enough for a table."""
    return hashlib.sha256(data).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPicture:
    """One picture as a client sees it: the completed item, what it sent inline, what lies on disk."""

    status: str
    revised_prompt: str | None
    transparent: bool | None
    mime: str | None
    size_bytes: int | None
    width: int | None
    height: int | None
    has_alpha: bool | None
    sha256: str | None
    error: str | None
    """The kind of error; its words are each path's own."""
    inline: str | None
    """Digest of the bytes in `result`."""
    file: str | None
    """Digest of the file at `savedPath`."""
    file_name: str | None
    """Folder and name, with placeholders for the ids of thread and item."""

    def row(self) -> dict[str, str]:
        """For a table: names and values as text."""
        return {name: "–" if value is None else str(value) for name, value in asdict(self).items()}


def seen(item: Item, thread_id: str) -> SeenPicture:
    """The picture of a completed item."""
    path = Path(item["savedPath"]) if item.get("savedPath") else None
    name = None
    if path is not None:
        name = "/".join(path.parts[-3:]).replace(thread_id, "<thread>").replace(str(item["id"]), "<item>")
    sha256 = item.get("sha256")
    return SeenPicture(
        status=item["status"],
        revised_prompt=item.get("revisedPrompt"),
        transparent=item.get("transparentBackground"),
        mime=item.get("mimeType"),
        size_bytes=item.get("bytes"),
        width=item.get("width"),
        height=item.get("height"),
        has_alpha=item.get("hasAlpha"),
        sha256=sha256[:8] if sha256 else None,
        error=(item.get("error") or {}).get("type"),
        inline=digest(base64.b64decode(item["result"])) if item.get("result") else None,
        file=digest(path.read_bytes()) if path is not None else None,
        file_name=name,
    )


def pictures_sent(items: Sequence[Item]) -> tuple[str, ...]:
    """Digests of all pictures in the `input` of a request to a model, in order, whatever item holds them."""
    return tuple(digest(base64.b64decode(data)) for item in items for data in _base64_of(item))


def _base64_of(item: Item) -> Iterator[str]:
    if item.get("type") == "image_generation_call" and item.get("result"):
        yield item["result"]
    for parts in (item.get("content"), item.get("output")):
        for part in parts if isinstance(parts, list) else ():
            if part.get("type") == "input_image":
                yield part["image_url"].partition(",")[2]


def table(rows: Iterable[Sequence[str]], headings: Sequence[str]) -> str:
    """Rows as aligned text."""
    whole = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[column]) for row in whole) for column in range(len(headings))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in whole)
