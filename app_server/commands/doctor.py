"""`app-server doctor`: tells what is wrong with a home, its settings, its storage; `--repair` saves what can be read.

Without `--repair` nothing is changed (a home that has no `installation_id` gets one, as from any start). It works where
the server itself cannot start.
Exit status: 0 no problem (there may be warnings) or repaired without loss, 1 problems or something was lost, 2 the
repair was refused or failed.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import anyio

from app_server.bootstrap import App, Options
from app_server.commands.doctor_checks import (
    Check,
    State,
    judge_blobs,
    judge_broken,
    judge_config,
    judge_database,
    judge_extensions,
    judge_features,
    judge_keys,
    judge_leases,
    judge_temporary_files,
    look_at_home,
    look_at_permissions,
    problem,
)
from app_server.commands.doctor_shared import judge_shared
from app_server.config.home import locate_home
from app_server.config.layers import LoadedConfig, load_config
from app_server.errors import AppServerError, first_cause
from app_server.pictures.store import FOLDER
from app_server.storage.inspection import (
    broken_databases,
    inspect_blobs,
    inspect_database,
    inspect_leases,
    inspect_shared,
    is_shared,
    repair,
    report_json,
    temporary_files,
)

HASHED_BYTES = 256 * 1024 * 1024
"""So much of the pictures is read without `--deep`."""
EXIT_PROBLEMS = 1
EXIT_REFUSED = 2


def run(parsed: argparse.Namespace) -> int:
    """Look, or repair and look; returns the exit status."""
    home = parsed.home.absolute() if parsed.home else locate_home(os.environ)[0]
    repaired: Mapping[str, object] | None = None
    lossless = True
    if parsed.repair:
        try:
            report = repair(home)
        except AppServerError as error:
            _say_refused(error.message, as_json=parsed.json)
            return EXIT_REFUSED
        repaired, lossless = report_json(report), report.lossless
    checks = examine(home, parsed)
    if parsed.json:
        print(json.dumps({"home": str(home), "repaired": repaired, "checks": [asdict(check) for check in checks]}))
    else:
        if repaired is not None:
            print("\n".join(_repair_lines(repaired)), end="\n\n")
        print("\n".join(lines(checks)))
    return 0 if lossless and all(check.state is not State.PROBLEM for check in checks) else EXIT_PROBLEMS


def examine(home: Path, parsed: argparse.Namespace) -> list[Check]:
    """Every check in order. One that fails itself is a problem, and the others go on."""
    home_check = look_at_home(home)
    if not home.is_dir():
        return [home_check]
    config, failure = None, None
    try:
        config = load_config(home, Path.cwd(), parsed.overrides, parsed.enable, parsed.disable)
    except AppServerError as error:
        failure = error.message
    return [
        home_check,
        look_at_permissions(home),
        judge_config(failure, config.warnings if config is not None else ()),
        *_checks_of_storage(home, config, deep=parsed.deep),
        *(anyio.run(_server_checks, home, parsed) if config is not None and home_check.state is State.OK else ()),
    ]


def _checks_of_storage(home: Path, config: LoadedConfig | None, *, deep: bool) -> Iterator[Check]:
    """The storage that the settings name: the home's own, or one that replicas share."""
    storage = None if config is None else config.config.storage
    if storage is None or storage.url is None or not is_shared(storage.url):
        yield from _local_checks(home, config, deep=deep)
        return
    try:
        yield from judge_shared(anyio.run(inspect_shared, storage.url, storage.blobs, home))
    except AppServerError as error:
        yield problem("database", error.message, "The server says the same at its start.")


def _local_checks(home: Path, config: LoadedConfig | None, *, deep: bool) -> Iterator[Check]:
    chosen = config.config.image_generation.save_dir if config is not None else None
    try:
        leases = inspect_leases(home)
        yield judge_database(inspect_database(home))
        yield judge_blobs(inspect_blobs(home, hash_bytes=None if deep else HASHED_BYTES))
        yield judge_leases(leases)
        pictures = home / Path(chosen or FOLDER).expanduser()
        yield judge_temporary_files(temporary_files(home, pictures), home_open=leases.home_open)
        yield judge_broken(broken_databases(home))
    except OSError as error:
        cause = (error.strerror or "input or output error").lower()
        yield problem(
            "storage", f"{error.filename or home} cannot be read ({cause}).", "Check the disk and its rights."
        )


async def _server_checks(home: Path, parsed: argparse.Namespace) -> list[Check]:
    """What only a built server knows. Its storage is in memory: the home's own stays untouched."""
    options = Options(
        home=home,
        overrides=parsed.overrides,
        enable=parsed.enable,
        disable=parsed.disable,
        storage_url="memory:",
    )
    try:
        async with App(options).running() as app:
            return await _judge_server(app)
    except BaseExceptionGroup as group:  # raised inside the task group of the app
        cause = first_cause(group)
        if not isinstance(cause, AppServerError):
            raise
        return [problem("server", cause.message, "The server says the same at its start.")]
    except AppServerError as error:
        return [problem("server", error.message, "The server says the same at its start.")]


async def _judge_server(app: App) -> list[Check]:
    wiring = await app.wiring()
    features, config = wiring.features.current(), app.config.config
    registry = wiring.extensions(features)
    used = [config.model_provider, config.image_generation.provider, *config.model_providers]
    missing: dict[str, str] = {}
    for provider in dict.fromkeys(provider for provider in used if provider is not None):
        try:
            wiring.providers.http_access(provider)
        except AppServerError as error:
            missing[provider] = error.message
    return [
        judge_keys(config.model_provider, missing),
        judge_extensions(registry.states, wiring.extension_warnings),
        judge_features(features),
    ]


def lines(checks: list[Check]) -> list[str]:
    """The table, with what to do below each line that is not ok."""
    marks = {State.OK: "ok     ", State.WARNING: "warning", State.PROBLEM: "PROBLEM"}
    width = max(len(check.name) for check in checks)
    shown = []
    for check in checks:
        shown.append(f"{marks[check.state]}  {check.name.ljust(width)}  {check.sentence}")
        if check.fix:
            shown.append(f"{' ' * (width + 11)}→ {check.fix}")
    bad = sum(check.state is State.PROBLEM for check in checks)
    warned = sum(check.state is State.WARNING for check in checks)
    return [*shown, "", f"{len(checks)} checks: {bad} problems, {warned} warnings."]


def _repair_lines(repaired: Mapping[str, object]) -> Iterator[str]:
    yield str(repaired["sentence"])
    lost, cut = repaired["threads_lost"], repaired["threads_cut"]
    if isinstance(lost, list):
        yield from (f"  lost: thread {thread_id}" for thread_id in lost)
    if isinstance(cut, dict):
        yield from (f"  cut:  thread {thread_id} lost at least {count} records" for thread_id, count in cut.items())
    if repaired["incomplete_lists"]:
        yield "  A table could not be read to its end: there may have been threads that nothing names any more."


def _say_refused(message: str, *, as_json: bool) -> None:
    print(json.dumps({"error": message}) if as_json else f"app-server: {message}")
