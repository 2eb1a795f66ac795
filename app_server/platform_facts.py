"""What the handshake tells of this machine and of the release whose protocol we speak. Pure."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping

from app_server.version import PROTOCOL_VERSION, __version__


def user_agent(client_name: str, client_version: str, env: Mapping[str, str]) -> str:
    """`<client>/<protocol version> (…)`: clients split at the first slash and gate on the version."""
    system = f"{platform.system()} {platform.release()}; {platform.machine()}"
    terminal = env.get("TERM_PROGRAM") or env.get("TERM") or "unknown"
    text = f"{client_name}/{PROTOCOL_VERSION} ({system}) {terminal} ({client_name}; {client_version})"
    return "".join(char if char.isascii() and char.isprintable() else "_" for char in text)


def platform_os() -> str:
    """`linux`, `macos` or `windows`, as the reference says it."""
    return {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)


def version_line() -> str:
    """What `--version` prints: clients read the protocol's version in it."""
    return f"codex-cli {PROTOCOL_VERSION} (imagegen-app-server {__version__})"
