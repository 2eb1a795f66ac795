"""The door for `app-server doctor` and `import`: what a person may ask of a home's storage while no server runs on it.

The seams of `base.py` promise what a server needs; looking into a damaged store is a matter of its implementation, and
of each alone.
"""

from __future__ import annotations

from pathlib import Path

from app_server.errors import ConfigurationError
from app_server.storage.local.inspection import (
    BlobFacts,
    DatabaseFacts,
    LeaseFacts,
    broken_databases,
    home_is_open,
    inspect_blobs,
    inspect_database,
    inspect_leases,
    repair,
    temporary_files,
)
from app_server.storage.local.reading import StoredHome, StoredPicture, open_home
from app_server.storage.local.salvage import SalvageReport, report_json
from app_server.storage.shared_facts import SharedFacts

__all__ = [
    "BlobFacts",
    "DatabaseFacts",
    "LeaseFacts",
    "SalvageReport",
    "SharedFacts",
    "StoredHome",
    "StoredPicture",
    "broken_databases",
    "home_is_open",
    "inspect_blobs",
    "inspect_database",
    "inspect_leases",
    "open_home",
    "repair",
    "report_json",
    "temporary_files",
]


def is_shared(url: str | None) -> bool:
    """Whether a storage URL means an engine that replicas share."""
    return url is not None and url.partition(":")[0].lower() in ("postgres", "postgresql")


async def inspect_shared(url: str, blobs: str | None, home: Path) -> SharedFacts:
    """Look at a shared storage. Raises ConfigurationError: a URL makes no sense, or an extra is not installed."""
    try:
        from app_server.storage.postgres.inspection import inspect_shared as inspect
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The storage URL postgres: needs {error.name}, which is not installed; install the server with its extra "
            "postgres."
        ) from error
    return await inspect(url, blobs, home)
