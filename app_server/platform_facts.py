"""What the handshake tells of this machine and of the release whose protocol we speak. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from app_server.version import PROTOCOL_VERSION, __version__


def user_agent(client_name: str, client_version: str, env: Mapping[str, str]) -> str:
    """`<client>/<protocol version> (…)`: clients split at the first slash and gate on the version."""
    system = "{} {}; {}".format(*_system())
    terminal = env.get("TERM_PROGRAM") or env.get("TERM") or "unknown"
    text = f"{client_name}/{PROTOCOL_VERSION} ({system}) {terminal} ({client_name}; {client_version})"
    return "".join(char if char.isascii() and char.isprintable() else "_" for char in text)


def _system() -> tuple[str, str, str]:
    """Name and release of the system, and the machine."""
    if sys.platform == "win32":
        import platform  # asks the registry, and is slow to load

        return platform.system(), platform.release(), platform.machine()
    known = os.uname()
    return known.sysname, known.release, known.machine


def server_facts(client_name: str, client_version: str, home: str, env: Mapping[str, str]) -> dict[str, str]:
    """The result of `initialize`."""
    return {
        "userAgent": user_agent(client_name, client_version, env),
        "codexHome": home,
        "platformFamily": "windows" if sys.platform == "win32" else "unix",
        "platformOs": platform_os(),
    }


def platform_os() -> str:
    """`linux`, `macos` or `windows`, as the reference says it."""
    return {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)


def version_line() -> str:
    """What `--version` prints: clients read the protocol's version in it."""
    return f"codex-cli {PROTOCOL_VERSION} (imagegen-app-server {__version__})"
