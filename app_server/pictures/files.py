"""Owns how a picture becomes a file: a safe bounded name from a template, written whole or not at all, never over
another file.

Blocking; knows no thread, store or protocol. `store.py` calls it in a worker thread.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

MAX_STEM: Final = 120
MAX_SLUG: Final = 40
MAX_TRIES: Final = 1000
TEMPORARY: Final = ".new-"
"""How the name of a file begins that is still being written."""
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def file_stem(name: str) -> str:
    """An id as a file name: ASCII letters, digits, `-` and `_` stay, the rest becomes `_`; long ones end in a hash."""
    stem = "".join(char if char in _SAFE else "_" for char in name) or "generated_image"
    if len(stem) <= MAX_STEM:
        return stem
    import hashlib  # slow to load: with the first such name

    tail = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{stem[: MAX_STEM - 9]}-{tail}"


def slug(text: str) -> str:
    """The first words of a text as part of a name: `a-red-fox-in-the-snow`; without any, `picture`."""
    words = re.findall(r"[a-z0-9]+", text[:400].lower())
    return "-".join(words)[:MAX_SLUG].strip("-") or "picture"


def saved_name(template: str, facts: Mapping[str, str]) -> tuple[str, ...]:
    """The parts of a name below the root, folders first: the template filled in, each part made safe."""
    return tuple(file_stem(part.format_map(facts)) for part in template.split("/"))


def picture_name(template: str, *, thread_id: str, call_id: str, prompt: str, at_ms: int) -> tuple[str, ...]:
    """The name of a generated picture that is saved at this time, folders first."""
    day = datetime.fromtimestamp(at_ms / 1000).date()
    return saved_name(template, {"thread": thread_id, "call": call_id, "date": day.isoformat(), "slug": slug(prompt)})


def write_new(root: Path, name: Sequence[str], suffix: str, data: bytes) -> Path:
    """Write `<root>/<name…><suffix>`, or `…-2<suffix>` and so on where a name is taken; returns the path.

    The file appears whole: a temporary one in the same folder is synced and then given its name. Mode 0600.
    Raises OSError, also when a folder below the root is a symbolic link; nothing is left behind then.
    """
    root.mkdir(parents=True, exist_ok=True)
    *folders, stem = name
    folder = root
    for part in folders:
        folder = folder / part
        _real_folder(folder)
    import tempfile  # slow to load, and of no use to a start

    handle, name = tempfile.mkstemp(prefix=TEMPORARY, suffix=suffix, dir=folder)  # O_EXCL and mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        path = _publish(Path(name), folder, stem, suffix)
    finally:
        Path(name).unlink(missing_ok=True)
    _sync_folder(folder)
    return path


def _real_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise NotADirectoryError(f"{folder} is a link or a file, not a folder of its own; remove it") from None


def _publish(source: Path, folder: Path, stem: str, suffix: str) -> Path:
    for number in range(1, MAX_TRIES + 1):
        target = folder / f"{stem}{suffix if number == 1 else f'-{number}{suffix}'}"
        try:
            give_name(source, target)
        except FileExistsError:
            continue
        return target
    raise FileExistsError(f"{folder} has {MAX_TRIES} pictures called {stem}{suffix}; remove some")


def give_name(source: Path, target: Path) -> None:
    """Let `target` name the finished file; FileExistsError when it names another one."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without links: not atomic, but still never over another file
        with open(
            os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600), "wb"
        ) as out:
            try:
                out.write(source.read_bytes())
                out.flush()
                os.fsync(out.fileno())
            except OSError:
                target.unlink(missing_ok=True)
                raise


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where a folder can be synced (not on Windows, nor on some network disks)."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):
            os.fsync(handle)
        os.close(handle)
