"""Where a server listens: the values of `--listen`, read and shown. Pure; `commands/serve.py` and the listeners use it.

stdio://            one client on the process's own pipes
ws://HOST:PORT      a websocket; port 0: any free one
unix://[PATH]       a websocket over a unix socket; without PATH the one below the home where terminal clients look
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from app_server.errors import ConfigurationError
from app_server.values import frozen

CONTROL_SOCKET: Final = ("app-server-control", "app-server-control.sock")
"""Folder and file below the home; clients that exist look for a server in the background there."""


@frozen
class ListenAddress:
    """One place to listen. `path` is for unix sockets: None is the default path below the home."""

    scheme: Literal["stdio", "ws", "unix"]
    host: str = ""
    port: int = 0
    path: Path | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority if self.path is None else self.path}"

    @property
    def authority(self) -> str:
        """`host:port` as it stands in a URL; empty for anything but a websocket."""
        if self.scheme != "ws":
            return ""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str) -> ListenAddress:
    """Read the value of `--listen`. Raises ConfigurationError with the forms that exist."""
    if text == "stdio://":
        return ListenAddress(scheme="stdio")
    if text.startswith("unix://") and "\0" not in text:
        path = text.removeprefix("unix://")
        return ListenAddress(scheme="unix", path=Path(path).expanduser().absolute() if path else None)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    else:
        if parts.scheme != "ws" or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
            host = None
    if host is None or port is None:
        raise ConfigurationError(
            f'The listen address "{text}" is not known; write stdio://, unix://, unix://PATH or ws://HOST:PORT, '
            "for example ws://127.0.0.1:0."
        )
    return ListenAddress(scheme="ws", host=host, port=port)


def listen_addresses(values: Sequence[str]) -> tuple[ListenAddress, ...]:
    """All values of `--listen` together, each place once; none of them is stdio. Raises ConfigurationError."""
    addresses = tuple(dict.fromkeys(map(parse_listen, values))) or (ListenAddress(scheme="stdio"),)
    if len(addresses) > 1 and any(address.scheme == "stdio" for address in addresses):
        raise ConfigurationError(
            "--listen stdio:// serves one client and stands alone; leave it out, or leave the other addresses out."
        )
    return addresses


def control_socket(home: Path) -> Path:
    """The default path of `unix://`."""
    return home.joinpath(*CONTROL_SOCKET)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a listener on `host`; a name other than localhost counts as no."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen_banner(address: ListenAddress) -> str:
    """What a person (or a script that waits for the port) reads on stderr."""
    if address.scheme == "unix":
        return f"listening on {address}"
    return f"listening on {address} (ready: http://{address.authority}/readyz)"
