"""A replica as `app-server` starts it, with a shorter life of its leases, and a death at a moment that a test chooses.

    python -m tests.support.replica_server [options of app-server]

Its environment says what is different: `REPLICA_LEASE_TTL_S`, seconds; and `REPLICA_DIES_BEFORE`, the type of an item
(`imageGeneration`): SIGKILL right before the append of a record that completes one, when its bytes are kept already.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app_server.cli import main
from app_server.storage import records as kinds
from app_server.storage import registry
from app_server.storage.base import Lease, Record, Storage, StorageSource, ThreadLog, ThreadRow

TTL_S = "REPLICA_LEASE_TTL_S"
DIES_BEFORE = "REPLICA_DIES_BEFORE"


class DyingLog:
    """A `ThreadLog` in front of a real one: everything passes, until the item that was named is to be completed."""

    def __init__(self, log: ThreadLog, item_type: str) -> None:
        self._log, self._item_type = log, item_type

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    async def append(self, lease: Lease, records: Sequence[Record], *, row: ThreadRow | None = None) -> int:
        for record in records:
            if record.kind == kinds.ITEM_COMPLETED and record.data["item"]["type"] == self._item_type:
                os.kill(os.getpid(), signal.SIGKILL)
        return await self._log.append(lease, records, row=row)


class DyingSource:
    """A `StorageSource` whose logs are dying ones."""

    def __init__(self, source: StorageSource, item_type: str) -> None:
        self._source, self._item_type = source, item_type

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def storage(self, tenant: str) -> Storage:
        storage = self._source.storage(tenant)
        dying: Any = DyingLog(storage.log, self._item_type)
        return replace(storage, log=dying)


def _open(rest: str, blobs: str | None, home: Path) -> StorageSource:
    from app_server.storage.postgres.source import open_postgres_source

    source = open_postgres_source(f"postgresql:{rest}", blobs, home, lease_ttl_s=float(os.environ[TTL_S]))
    dying: Any = DyingSource(source, os.environ[DIES_BEFORE]) if DIES_BEFORE in os.environ else source
    made: StorageSource = dying
    return made


if __name__ == "__main__":
    registry.FACTORIES = MappingProxyType({**registry.FACTORIES, "postgresql": _open})
    sys.exit(main(sys.argv[1:]))
