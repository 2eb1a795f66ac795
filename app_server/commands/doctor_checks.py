"""The checks of `app-server doctor`: each looks at one thing and answers with a state, a sentence and what to do.

What is found stands in facts, gathered by `storage.inspection` and others; the functions here judge facts and are pure
but for those that begin with `look_at`. No check changes anything, and none tells a secret.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from app_server.extension_api.extension import ExtensionState
from app_server.storage.inspection import BlobFacts, DatabaseFacts, LeaseFacts
from app_server.values import frozen
from features.resolution import FeatureSet

PRIVATE_FILES: Final = ("auth.json", "state.sqlite", "picture_links.key")
_SHOWN: Final = 5


class State(StrEnum):
    """How bad it is: a warning leaves the server usable."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen
class Check:
    """One line of the table."""

    name: str
    state: State
    sentence: str
    fix: str = ""


def ok(name: str, sentence: str) -> Check:
    return Check(name=name, state=State.OK, sentence=sentence)


def warning(name: str, sentence: str, fix: str) -> Check:
    return Check(name=name, state=State.WARNING, sentence=sentence, fix=fix)


def problem(name: str, sentence: str, fix: str) -> Check:
    return Check(name=name, state=State.PROBLEM, sentence=sentence, fix=fix)


# -- the home


def look_at_home(home: Path) -> Check:
    """Is it there, and can this user write it?"""
    if not home.exists():
        return warning("home", f"{home} does not exist yet.", "Start the server once; it makes the folder.")
    if not home.is_dir():
        return problem("home", f"{home} is not a folder.", "Move that file away, or set APP_SERVER_HOME to a folder.")
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        cause = (error.strerror or "input or output error").lower()
        fix = "Make it writable for this user, free some space, or set APP_SERVER_HOME to another folder."
        return problem("home", f"{home} cannot be written ({cause}).", fix)
    return ok("home", f"{home} can be written.")


def look_at_permissions(home: Path) -> Check:
    """May others read what is private? Where the platform has no modes there is nothing to say."""
    if os.name != "posix":
        return ok("permissions", "This platform has no file modes to check.")
    modes: dict[str, int] = {}
    for name in PRIVATE_FILES:
        try:
            modes[name] = stat.S_IMODE((home / name).stat().st_mode)
        except OSError:
            continue
    return judge_permissions(home, modes)


def judge_permissions(home: Path, modes: Mapping[str, int]) -> Check:
    """`modes` of the private files that exist; a login that others can read is a problem, the rest a warning."""
    loose = [name for name, mode in modes.items() if mode & 0o077]
    if not loose:
        return ok("permissions", f"The private files of {home} are for their user only.")
    shown = ", ".join(f"{name} has mode {modes[name]:04o}" for name in loose)
    fix = f"Run: chmod 600 {' '.join(str(home / name) for name in loose)}"
    make = problem if "auth.json" in loose else warning
    return make("permissions", f"Other users can read private files: {shown}.", fix)


# -- storage


def judge_database(facts: DatabaseFacts) -> Check:
    """Can it be read, is it whole, and is it of a version that this server knows?"""
    repair = "Stop the server and run: app-server doctor --repair"
    if not facts.exists:
        if facts.copies:
            return problem("database", f"{facts.path} is gone, and copies of {facts.copies} threads are there.", repair)
        return ok("database", f"{facts.path} does not exist yet; the first thread makes it.")
    if facts.version is None:
        copies = f"copies of {facts.copies} threads are there" if facts.copies else "there are no copies of its threads"
        return problem("database", f"{facts.path} cannot be read as a database, and {copies}.", repair)
    if facts.version > facts.newest:
        sentence = f"{facts.path} has schema version {facts.version}, and this server knows {facts.newest}."
        return problem("database", sentence, "Install the newer server that wrote it, or choose another home.")
    if facts.faults:
        first = facts.faults[0].splitlines()[0]
        return problem("database", f"{facts.path} is damaged ({len(facts.faults)} faults; the first: {first}).", repair)
    if facts.version < facts.newest:
        sentence = f"{facts.path} has schema version {facts.version} of {facts.newest}."
        return warning("database", sentence, "Start the server once; it brings the schema up to date.")
    return ok("database", f"{facts.path} is whole: schema version {facts.version}, {facts.threads} threads.")


def judge_blobs(facts: BlobFacts) -> Check:
    """Is every picture there, with the bytes that were stored?"""
    if facts.missing or facts.altered:
        parts = [
            f"{len(paths)} {what}: {_some(paths)}"
            for what, paths in (("missing", facts.missing), ("changed", facts.altered))
            if paths
        ]
        fix = "Put the files back from a backup; until then their pictures are told as missing, and threads go on."
        return problem("pictures", f"Of {facts.known} stored pictures, {'; '.join(parts)}.", fix)
    if facts.hashed < facts.known:
        sentence = f"All {facts.known} stored pictures are there; {facts.hashed} of them were read and are unchanged."
        return ok("pictures", f"{sentence} `--deep` reads all.")
    return ok("pictures", f"All {facts.known} stored pictures are there and unchanged.")


def judge_leases(facts: LeaseFacts) -> Check:
    """Who writes threads now? What a dead process left is taken over by itself."""
    if facts.home_open:
        sentence = f"A server has this home open and writes {facts.live} threads."
        return ok("leases", f"{sentence} Stop it before a repair.")
    if facts.dead:
        return ok(
            "leases", f"{facts.dead} threads were left open by a process that ended; the next one takes them over."
        )
    return ok("leases", "No server has this home open.")


def judge_temporary_files(paths: Sequence[Path], *, home_open: bool) -> Check:
    """Did a process die while it wrote a file? While a server runs, they may be its own."""
    if not paths:
        return ok("temporary files", "There are none.")
    if home_open:
        return ok("temporary files", f"There are {len(paths)}; a server runs and may be writing them.")
    sentence = f"A process that ended left {len(paths)}: {_some(map(str, paths))}."
    return warning("temporary files", sentence, "Remove them; nothing reads them.")


def judge_broken(paths: Sequence[Path]) -> Check:
    """Was this home salvaged before?"""
    if not paths:
        return ok("earlier damage", "No database was put aside.")
    sentence = f"{len(paths)} broken databases were put aside: {_some(map(str, paths))}."
    fix = "The .json file beside each says what was saved and lost; remove them when you miss nothing."
    return warning("earlier damage", sentence, fix)


# -- settings


def judge_keys(chosen: str, missing: Mapping[str, str]) -> Check:
    """`missing`: provider → why requests to it cannot be signed. Only the chosen one is needed for a turn."""
    if chosen in missing:
        fix = "Set it, or choose another model_provider in config.toml."
        return warning("provider keys", " ".join(missing.values()), fix)
    if missing:
        return warning("provider keys", " ".join(missing.values()), "Set it before a thread uses that provider.")
    return ok(
        "provider keys", f"Requests to the model provider {chosen} can be signed, and to every other one that is set."
    )


def judge_extensions(states: Sequence[ExtensionState], warnings: Sequence[str]) -> Check:
    """Is every extension loaded, or left out for a good reason?"""
    loaded = [state.key for state in states if state.loaded]
    if warnings:
        fix = "Update or remove the extension; `app-server extensions list` shows all."
        return warning("extensions", " ".join(warnings), fix)
    return ok("extensions", f"{len(loaded)} of {len(states)} are loaded{': ' if loaded else ''}{', '.join(loaded)}.")


def judge_features(features: FeatureSet) -> Check:
    """Which flags differ from their defaults, and is there any that nobody knows?"""
    if features.unknown:
        keys = ", ".join(key for key, _ in features.unknown)
        return warning(
            "features",
            f"Features that do not exist are set: {keys}.",
            "Remove them; `app-server features list` names all.",
        )
    on = [key for key, state in features.states.items() if state.enabled]
    return ok("features", f"{len(on)} of {len(features.states)} are on: {', '.join(on)}.")


def judge_config(failure: str | None, warnings: Sequence[str]) -> Check:
    """Can the settings be read?"""
    if failure is not None:
        return problem("config", failure, "Correct that place in the file; config.example.toml shows every key.")
    if warnings:
        return warning("config", " ".join(warnings), "Correct or remove these keys.")
    return ok("config", "The settings can be read.")


def _some(texts: Iterable[str]) -> str:
    every = list(texts)
    rest = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + rest
