"""Which storage a URL means: one row per scheme. Called by `bootstrap` with the configured URL.

| URL | storage |
|---|---|
| `file:` | SQLite log and picture files in the home |
| `file:<folder>`, `file:///<folder>` | the same in another folder (relative to the home) |
| `memory:` | nothing is kept after the process |

Nothing is opened or made here: that happens at the first use, so that start-up stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from app_server.errors import ConfigurationError
from app_server.storage.base import Storage

StorageFactory = Callable[[str, Path], Storage]
"""Takes the part of the URL after `scheme:`, and the home."""


def open_storage(url: str, home: Path) -> Storage:
    """The storage that `url` names.

    Raises:
        ConfigurationError: no such scheme, or what follows it makes no sense.
    """
    scheme, colon, rest = url.partition(":")
    factory = FACTORIES.get(scheme.lower()) if colon else None
    if factory is None:
        known = ", ".join(f"{name}:" for name in FACTORIES)
        named = f"the scheme {scheme}:, which is not known" if colon else "no scheme"
        raise ConfigurationError(f"The storage URL has {named}; use one of {known}.")
    return factory(rest, home)


def _open_local(rest: str, home: Path) -> Storage:
    from app_server.storage.local import open_local_storage  # SQLite is loaded only where it is used

    return open_local_storage(home / _folder(rest))


def _open_memory(rest: str, home: Path) -> Storage:
    from app_server.storage.memory import MemoryStorageWorld

    if rest:
        raise ConfigurationError("The storage URL memory: takes nothing after the colon; write memory: alone.")
    return MemoryStorageWorld(home=home).process()


def _folder(rest: str) -> Path:
    if not rest.startswith("//"):
        return Path(rest).expanduser()
    parts = urlsplit(f"file:{rest}")
    if parts.netloc not in ("", "localhost"):
        raise ConfigurationError(
            f"The storage URL names the host {parts.hostname}, and a folder of this machine is needed; write file:///<folder>."
        )
    from urllib.request import url2pathname  # brings an HTTP client along

    return Path(url2pathname(parts.path))


FACTORIES: Mapping[str, StorageFactory] = MappingProxyType({"file": _open_local, "memory": _open_memory})
