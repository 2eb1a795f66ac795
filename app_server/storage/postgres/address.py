"""The URL of a PostgreSQL database: what asyncpg is given, and what a message may show of it. Pure.

    postgresql://user:password@host:5432/name?sslmode=verify-full&pool_size=8

`pool_size` is ours; every other option is asyncpg's or the server's. Called by `database`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from app_server.errors import ConfigurationError
from app_server.values import field, frozen

DEFAULT_POOL_SIZE: Final = 4
_MAX_POOL_SIZE: Final = 1000
SCHEMES: Final = ("postgres", "postgresql")


@frozen
class Address:
    """Where the database is. Only `place` may be shown."""

    dsn: str = field(repr=False)
    """With the password: for asyncpg alone."""
    pool_size: int = DEFAULT_POOL_SIZE
    place: str
    """Host, port and name of the database, without user and password."""


def read_address(url: str) -> Address:
    """The parts of `url`.

    Raises:
        ConfigurationError: it is no URL of PostgreSQL, or an option of ours has no sensible value.
    """
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _not_a_url() from None
    if parts.scheme not in SCHEMES:
        raise _not_a_url()
    rest = [(name, value) for name, value in options if name != "pool_size"]
    sizes = [value for name, value in options if name == "pool_size"]
    hosts = parts.netloc.rpartition("@")[2] or next((value for name, value in rest if name == "host"), "localhost")
    database = unquote(parts.path.lstrip("/")) or next((value for name, value in rest if name == "dbname"), "")
    return Address(
        dsn=urlunsplit(parts._replace(query=urlencode(rest))),
        pool_size=_pool_size(sizes[-1]) if sizes else DEFAULT_POOL_SIZE,
        place=f"{unquote(hosts)}/{database}" if database else unquote(hosts),
    )


def _pool_size(text: str) -> int:
    if text.isascii() and text.isdecimal() and 1 <= int(text) <= _MAX_POOL_SIZE:
        return int(text)
    raise ConfigurationError(
        f"The option pool_size of storage.url is no number from 1 to {_MAX_POOL_SIZE}; write pool_size=4, for example."
    )


def _not_a_url() -> ConfigurationError:
    return ConfigurationError(
        "The setting storage.url is no URL of PostgreSQL; write it as postgresql://user:password@host:5432/database."
    )
