"""The door for `app-server doctor` and `import`: what a person may ask of a home's storage while no server runs on it.

The seams of `base.py` promise what a server needs; looking into a damaged store is a matter of its implementation, and
of the local one alone.
"""

from __future__ import annotations

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

__all__ = [
    "BlobFacts",
    "DatabaseFacts",
    "LeaseFacts",
    "SalvageReport",
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
