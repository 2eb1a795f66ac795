"""`app-server import`: threads and pictures of another home, or of codex, into the configured storage.

Progress goes to stderr, the report to stdout. Exit status: 0 all of it is in the target, 1 something is missing, 2 the
import was refused or failed on its way.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio

from app_server.config.home import locate_home
from app_server.config.layers import LoadedConfig, load_config
from app_server.errors import ConfigurationError
from app_server.moving.codex import move_codex
from app_server.moving.home import move_home
from app_server.moving.report import Report
from app_server.providers.catalog import default_model
from app_server.storage.base import Storage, tenant_of
from app_server.storage.registry import open_source, tenant_folder

EXIT_MISSING: Final = 1
_PROGRESS_S: Final = 1.0


def run(parsed: argparse.Namespace) -> int:
    """Import, and print what came of it; returns the exit status."""
    home = locate_home(os.environ)[0]
    config = load_config(home, Path.cwd(), parsed.overrides, parsed.enable, parsed.disable)
    report = anyio.run(_import, parsed, home, config)
    if parsed.json:
        print(json.dumps(report.to_json()))
    else:
        print("\n".join(report.lines()))
    return 0 if report.complete else EXIT_MISSING


async def _import(parsed: argparse.Namespace, home: Path, config: LoadedConfig) -> Report:
    storage = config.config.storage
    url = parsed.to or storage.url or f"file:{home}"
    blobs = parsed.blobs or (None if parsed.to else storage.blobs)
    tenant = tenant_of(parsed.tenant)
    tell = Progress()
    if parsed.dry_run:
        return await _move(parsed, None, config, tell)
    if parsed.from_home is not None:
        _refuse_itself(parsed.from_home, url, home, tenant)
    async with _target(url, blobs, home, tenant) as target:
        return await _move(parsed, target, config, tell)


async def _move(parsed: argparse.Namespace, target: Storage | None, config: LoadedConfig, tell: Progress) -> Report:
    if parsed.from_home is not None:
        return await move_home(parsed.from_home.expanduser().absolute(), target, tell)
    model = config.config.model or default_model(config.config.model_provider)
    return await move_codex(parsed.codex_home.expanduser().absolute(), target, tell, default_model=model)


@asynccontextmanager
async def _target(url: str, blobs: str | None, home: Path, tenant: str) -> AsyncIterator[Storage]:
    """The storage of the tenant, while its leases are renewed."""
    source = open_source(url, blobs, home)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.run)
        try:
            yield source.storage(tenant)
        finally:
            with anyio.CancelScope(shield=True):
                await source.aclose()
            tasks.cancel_scope.cancel()


def _refuse_itself(source: Path, url: str, home: Path, tenant: str) -> None:
    """Raises ConfigurationError when the target is the very home that is to be read."""
    scheme, _, rest = url.partition(":")
    if scheme.lower() != "file":
        return
    folder = home / Path(rest.removeprefix("//") or ".").expanduser()
    if tenant_folder(folder, tenant).resolve() == source.expanduser().resolve():
        raise ConfigurationError(
            f"{source} is the target itself; name another home with --from, or another storage with --to."
        )


class Progress:
    """Says on stderr how far it is: at once, and then once a second at most."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def __call__(self, report: Report) -> None:
        if (now_s := time.monotonic()) >= self._next_s:
            self._next_s = now_s + _PROGRESS_S
            verified = f", {report.verified_threads} verified" if report.verified_threads else ""
            told = f"{report.done} of {report.total} threads, {report.pictures} pictures{verified}"
            print(f"app-server: import: {told}", file=sys.stderr)
