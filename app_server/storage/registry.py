"""Which storage a URL means: one row per scheme. Called by the composition root with the configured URL.

| URL | storage |
|---|---|
| `file:` | SQLite log and picture files in the home |
| `file:<folder>`, `file:///<folder>` | the same in another folder (relative to the home) |
| `memory:` | nothing is kept after the process |
| `postgres://…`, `postgresql://…` | tables that all replicas share; pictures where the second URL says |

Nothing is opened or made here: that happens at the first use, so that start-up stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import anyio

from app_server.errors import ConfigurationError
from app_server.storage.base import LOCAL_TENANT, Storage, StorageSource

StorageFactory = Callable[[str, str | None, Path], StorageSource]
"""Takes the part of the URL after `scheme:`, the URL of the blobs, and the home."""
TENANTS_FOLDER: Final = "tenants"
"""Below a local storage: a folder for each tenant that has a name."""


def open_source(url: str, blobs: str | None, home: Path) -> StorageSource:
    """The engine that `url` names.

    Raises:
        ConfigurationError: no such scheme, or what follows it makes no sense.
    """
    scheme, colon, rest = url.partition(":")
    factory = FACTORIES.get(scheme.lower()) if colon else None
    if factory is None:
        known = ", ".join(f"{name}:" for name in FACTORIES)
        named = f"the scheme {scheme}:, which is not known" if colon else "no scheme"
        raise ConfigurationError(f"The storage URL has {named}; use one of {known}.")
    return factory(rest, blobs, home)


def open_storage(url: str, home: Path) -> Storage:
    """The storage that `url` names, of the one tenant of a server without tenants. Raises as `open_source`."""
    return open_source(url, None, home).storage(LOCAL_TENANT)


class PlainSource:
    """An engine of this process alone: there is nobody to hear of, and nothing to renew. `make` opens a tenant's."""

    def __init__(self, make: Callable[[str], Storage]) -> None:
        self._make = make
        self._made: dict[str, Storage] = {}

    def storage(self, tenant: str) -> Storage:
        if tenant not in self._made:
            self._made[tenant] = self._make(tenant)
        return self._made[tenant]

    async def run(self) -> None:
        await anyio.sleep_forever()

    async def abandoned(self) -> list[str]:
        return []

    def drain(self) -> None:
        pass

    async def aclose(self) -> None:
        for storage in self._made.values():
            await storage.aclose()


def tenant_folder(home: Path, tenant: str) -> Path:
    """Where a tenant's files lie: the home itself for the tenant of a server without tenants.

    A name is at most 255 characters of any kind: what no file could be called is written as its hash.
    """
    return home if tenant == LOCAL_TENANT else home / TENANTS_FOLDER / tenant_stem(tenant)


def tenant_stem(tenant: str) -> str:
    """A tenant as a file name, different for different tenants on every disk."""
    from hashlib import sha256

    plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_@") else "_" for char in tenant.lower())
    return f"{plain[:60]}-{sha256(tenant.encode()).hexdigest()[:16]}"


def _open_local(rest: str, blobs: str | None, home: Path) -> StorageSource:
    from app_server.storage.local import open_local_storage  # SQLite is loaded only where it is used

    _no_blobs(blobs, "file:")
    folder = home / _folder(rest)
    return PlainSource(lambda tenant: open_local_storage(tenant_folder(folder, tenant)))


def _open_memory(rest: str, blobs: str | None, home: Path) -> StorageSource:
    from app_server.storage.memory import MemoryStorageWorld

    _no_blobs(blobs, "memory:")
    if rest:
        raise ConfigurationError("The storage URL memory: takes nothing after the colon; write memory: alone.")
    return PlainSource(lambda tenant: MemoryStorageWorld(home=tenant_folder(home, tenant)).process())


def _open_postgres(rest: str, blobs: str | None, home: Path) -> StorageSource:
    try:
        from app_server.storage.postgres.source import open_postgres_source
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The storage URL postgres: needs {error.name}, which is not installed; install the server with its extra "
            "postgres."
        ) from error
    return open_postgres_source(f"postgres:{rest}", blobs, home)


def _no_blobs(blobs: str | None, scheme: str) -> None:
    if blobs is not None:
        raise ConfigurationError(
            f"storage.blobs is for PostgreSQL, and the storage URL is {scheme}; leave it out, or set storage.url."
        )


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


FACTORIES: Mapping[str, StorageFactory] = MappingProxyType(
    {"file": _open_local, "memory": _open_memory, "postgres": _open_postgres, "postgresql": _open_postgres}
)
