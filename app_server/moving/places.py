"""Where pictures lie is part of records: paths and `file:` URLs of the source become those of the target. Pure.

Where the target keeps no files, a generated picture has no `savedPath` any more and an attached one is named by its
sha256; both can be read with `image/read`. What the model was told in words stays as it was said, then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app_server.storage import records as kinds
from app_server.storage.base import Record
from app_server.values import frozen

_ITEMS = frozenset({kinds.ITEM_STARTED, kinds.ITEM_COMPLETED})


@frozen
class Places:
    """Texts that name a picture in the source, and what names it in the target."""

    keeps_files: bool
    new: Mapping[str, str]
    pattern: re.Pattern[str] | None = None


def urn(sha256: str) -> str:
    """What names a stored picture that has no file."""
    return f"urn:sha256:{sha256}"


def places(moved: Sequence[tuple[str, Sequence[Path], str | None]], *, keeps_files: bool) -> Places:
    """moved: of each picture its sha256, its files in the source, and its file in the target, if any."""
    new: dict[str, str] = {}
    for sha256, paths, target in moved:
        for path in paths:
            new[path.as_uri()] = Path(target).as_uri() if target else urn(sha256)
            if target:
                new[str(path)] = target
    longest_first = sorted(new, key=len, reverse=True)
    texts = "|".join(map(re.escape, longest_first))
    pattern = re.compile(rf"(?<![\w/.-])(?:{texts})(?![\w-])") if texts else None
    return Places(keeps_files=keeps_files, new=new, pattern=pattern)


def moved_record(record: Record, at: Places) -> Record:
    """The record as the target shall hold it; the same object when it names no picture."""
    data = record.data
    if at.pattern is not None:
        data = _renamed(data, at)
    item = data.get("item")
    if not at.keeps_files and record.kind in _ITEMS and isinstance(item, dict) and item.get("savedPath") is not None:
        data = {**data, "item": {key: value for key, value in item.items() if key != "savedPath"}}
    return record if data is record.data else replace(record, data=data)


def _renamed(value: Any, at: Places) -> Any:
    """The value with every name replaced; the same object when there is none in it."""
    if isinstance(value, str):
        assert at.pattern is not None  # asked for only where there are names
        return at.pattern.sub(lambda found: at.new[found[0]], value) if "/" in value or "\\" in value else value
    if isinstance(value, list):
        parts = [_renamed(one, at) for one in value]
        return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
    if isinstance(value, dict):
        members = {key: _renamed(one, at) for key, one in value.items()}
        return members if any(members[key] is not value[key] for key in value) else value
    return value
