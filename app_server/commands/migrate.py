"""`app-server migrate`: brings the schema of a shared storage up, or tells with `--check` whether it is behind.

Exit status: 0 the schema is what this version needs, 1 it is behind (`--check`), 2 the storage cannot be reached or was
migrated by a newer version.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Final

import anyio

from app_server.config.home import locate_home
from app_server.config.layers import load_config
from app_server.storage.upgrading import SchemaChange, upgrade

EXIT_BEHIND: Final = 1


def run(parsed: argparse.Namespace) -> int:
    """Bring it up or look; returns the exit status."""
    home = parsed.home.absolute() if parsed.home else locate_home(os.environ)[0]
    config = load_config(home, Path.cwd(), parsed.overrides, parsed.enable, parsed.disable).config
    change = anyio.run(_change, config.storage.url or "file:", parsed.check)
    print(sentence(change))
    return EXIT_BEHIND if change is not None and change.now < change.newest else 0


def sentence(change: SchemaChange | None) -> str:
    """What was found or done, for a person."""
    if change is None:
        return "The storage of this home has no schema to manage: a server brings it up when it opens it."
    if change.now < change.newest:
        return f"{change.place}: schema {change.now}, and this version needs {change.newest}; run `app-server migrate`."
    if change.before < change.now:
        return f"{change.place}: schema {change.before} → {change.now}."
    return f"{change.place}: schema {change.now} is what this version needs."


async def _change(url: str, only_look: bool) -> SchemaChange | None:
    return await upgrade(url, only_look=only_look)
