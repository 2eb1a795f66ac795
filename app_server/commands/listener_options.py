"""The options of the listeners: where they listen, who may connect, and what they mean together.

`cli.py` adds them to its parser, `serve.py` reads them back as `ListenerOptions`. A combination that means nothing is
refused: a login must not be missing because of a slip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from app_server.clock import Clock
from app_server.errors import ConfigurationError
from app_server.transport.address import ListenAddress, listen_addresses
from app_server.values import frozen

if TYPE_CHECKING:
    import argparse

    from app_server.auth.listener import ListenerGate, Load

CAPABILITY, SIGNED = "capability-token", "signed-bearer-token"
_OF_MODE: Final = {
    CAPABILITY: ("ws_token_file", "ws_token_sha256"),
    SIGNED: ("ws_shared_secret_file", "ws_issuer", "ws_audience", "ws_max_clock_skew_seconds"),
}
_SINGLE: Final = (
    (
        "--ws-token-file",
        "FILE",
        "capability-token: a file with the token, or lines of NAME TOKEN; changes count at once",
    ),
    ("--ws-token-sha256", "HEX", "capability-token: the SHA-256 of the token, in place of a file"),
    ("--ws-shared-secret-file", "FILE", "signed-bearer-token: a file with the secret that signs JWTs (HS256)"),
    ("--ws-issuer", "NAME", "signed-bearer-token: the claim iss has to be this"),
    ("--ws-audience", "NAME", "signed-bearer-token: the claim aud has to be this, or hold it"),
    ("--ws-max-clock-skew-seconds", "N", "signed-bearer-token: how far clocks may differ (default 30)"),
)
VALUE_OPTIONS: Final = frozenset({"--listen", "--ws-auth", "--ws-allow-origin", *(name for name, *_ in _SINGLE)})
"""Options that are followed by a value."""


def add_listener_options(parser: argparse.ArgumentParser, *, default: object) -> None:
    """Add the options; a default of SUPPRESS leaves out what is not given."""
    options = parser.add_argument_group("listener options")
    options.add_argument(
        "--listen",
        metavar="ADDRESS",
        action="append",
        default=default,
        help="stdio:// (default), ws://HOST:PORT (port 0 takes a free one, told on stderr), or unix://[PATH]; "
        "the last two may be repeated",
    )
    options.add_argument("--stdio", action="store_true", default=default, help="the same as --listen stdio://")
    options.add_argument(
        "--ws-auth",
        choices=list(_OF_MODE),
        default=default,
        help="the login that ws:// asks for; needed to listen beyond this machine",
    )
    for name, metavar, text in _SINGLE:
        options.add_argument(name, metavar=metavar, default=default, help=text)
    options.add_argument(
        "--ws-allow-origin",
        metavar="ORIGIN",
        action="append",
        default=default,
        help="let web pages of this origin connect, for example http://localhost:5173; may be repeated",
    )


@frozen
class ListenerOptions:
    """What the command line says of the listeners."""

    addresses: tuple[ListenAddress, ...]
    gate: ListenerGate | None
    """The login of ws:// addresses; a unix socket is guarded by its permissions."""
    allowed_origins: frozenset[str]


def listener_options(parsed: argparse.Namespace, clock: Clock) -> ListenerOptions:
    """Read the options back, and the token file with them. Raises ConfigurationError."""
    listen: Sequence[str] = [value for value in getattr(parsed, "listen", None) or () if value]
    if getattr(parsed, "stdio", None):
        listen = [*listen, "stdio://"]
    return ListenerOptions(
        addresses=listen_addresses(listen),
        gate=_gate(parsed, clock),
        allowed_origins=frozenset(map(read_origin, getattr(parsed, "ws_allow_origin", None) or ())),
    )


def read_origin(text: str) -> str:
    """An origin as browsers send it (RFC 6454 §6.2). Raises ConfigurationError for anything else."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    else:
        if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc or "*" in parts.netloc:
            host = None
    if not host:
        raise ConfigurationError(
            f'"{text}" is no origin for --ws-allow-origin; write scheme, host and port of the page, for example '
            "http://localhost:5173. Pages opened from a file have none: serve them from an address."
        )
    shown = f"[{host}]" if ":" in host else host
    implied = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{shown}" if port in (None, implied) else f"{parts.scheme}://{shown}:{port}"


def _gate(parsed: argparse.Namespace, clock: Clock) -> ListenerGate | None:
    mode: str | None = getattr(parsed, "ws_auth", None)
    given = {name for names in _OF_MODE.values() for name in names if getattr(parsed, name, None) is not None}
    for needed, names in _OF_MODE.items():
        if needed != mode and (stray := sorted(given & set(names))):
            option = "--" + stray[0].replace("_", "-")
            raise ConfigurationError(f"{option} belongs to --ws-auth {needed}; add that, or leave {option} out.")
    if mode is None:
        return None
    from app_server.auth.listener import ListenerGate

    return ListenerGate(_capability(parsed) if mode == CAPABILITY else _signed(parsed), clock)


def _capability(parsed: argparse.Namespace) -> Load:
    from app_server.auth.listener import read_capped
    from app_server.auth.listener_tokens import CapabilityTokens, read_token_file, read_token_sha256

    file: str | None = getattr(parsed, "ws_token_file", None)
    digest: str | None = getattr(parsed, "ws_token_sha256", None)
    if digest is not None and file is None:
        known = read_token_sha256(digest)
        return lambda: known
    if digest is not None or file is None:
        raise ConfigurationError("--ws-auth capability-token needs either --ws-token-file or --ws-token-sha256.")
    path = Path(file).expanduser().absolute()

    def load() -> CapabilityTokens:
        return read_token_file(read_capped(path, "--ws-token-file").decode("utf-8-sig", errors="replace"), str(path))

    return load


def _signed(parsed: argparse.Namespace) -> Load:
    from app_server.auth.listener import read_capped
    from app_server.auth.listener_tokens import DEFAULT_SKEW_S, SignedRules, SignedTokens, read_shared_secret

    file: str | None = getattr(parsed, "ws_shared_secret_file", None)
    if file is None:
        raise ConfigurationError("--ws-auth signed-bearer-token needs --ws-shared-secret-file.")
    skew = getattr(parsed, "ws_max_clock_skew_seconds", None) or str(DEFAULT_SKEW_S)
    if not (skew.isascii() and skew.isdigit() and len(skew) <= 6):
        raise ConfigurationError("--ws-max-clock-skew-seconds needs a whole number of seconds, for example 30.")
    rules = SignedRules(
        issuer=getattr(parsed, "ws_issuer", None),
        audience=getattr(parsed, "ws_audience", None),
        max_skew_s=int(skew),
    )
    path = Path(file).expanduser().absolute()

    def load() -> SignedTokens:
        return read_shared_secret(read_capped(path, "--ws-shared-secret-file"), str(path), rules)

    return load
