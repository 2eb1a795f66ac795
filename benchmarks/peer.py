"""Where the reference server comes from: the conformance kit where it is there, else npm, into a cache of our own.

Asked by `__main__` for `--peer`. Nothing is installed that is there already.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.provider import ROOT

VERSION: Final = "0.169.0"
_INSTALL_S: Final = 900.0


class Unavailable(Exception):
    """The reference cannot be had here; the text says why."""


def peer_command(env: Mapping[str, str]) -> str:
    """The command line that starts the reference as an app-server. Raises Unavailable."""
    kit = Path(env.get("CONFORMANCE_DIR") or ROOT.parent / "shared" / "conformance").absolute() / "run.py"
    binary = _from_kit(kit) if kit.is_file() else _from_npm(cache_folder(env))
    return f"{shlex.quote(str(binary))} app-server"


def cache_folder(env: Mapping[str, str]) -> Path:
    """Where npm's copy lies: below the user's cache, one folder for each version."""
    caches = Path(env["XDG_CACHE_HOME"]) if env.get("XDG_CACHE_HOME") else Path.home() / ".cache"
    return caches / "imagegen-app-server" / f"peer-{VERSION}"


def _from_kit(kit: Path) -> Path:
    done = _run([sys.executable, str(kit), "peer"], cwd=kit.parent)
    return Path(done.splitlines()[-1])


def _from_npm(folder: Path) -> Path:
    if (found := _native(folder)) is not None:
        return found
    if shutil.which("npm") is None:
        raise Unavailable("npm is not on the PATH: install Node.js, or set CONFORMANCE_DIR to the conformance kit.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    _run(["npm", "i", "--no-audit", "--no-fund", f"@openai/codex@{VERSION}"], cwd=folder)
    if (found := _native(folder)) is None:
        raise Unavailable(f"npm has no native build of @openai/codex@{VERSION} for this machine.")
    return found


def _native(folder: Path) -> Path | None:
    """The native binary: its launcher for Node.js would be measured as well."""
    return next(iter(sorted(folder.glob("node_modules/@openai/codex*/vendor/*/bin/codex"))), None)


def _run(argv: list[str], *, cwd: Path) -> str:
    try:
        done = subprocess.run(
            argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_S, check=True
        )
    except subprocess.CalledProcessError as error:
        said = " ".join(f"{error.stdout} {error.stderr}".split())[-300:]
        raise Unavailable(f"{os.path.basename(argv[0])} ended with status {error.returncode}: {said}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{os.path.basename(argv[0])} did not run to its end: {error}") from error
    return done.stdout
