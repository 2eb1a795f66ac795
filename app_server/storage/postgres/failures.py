"""What PostgreSQL or the network refused, as one sentence that says what to do. Called by all of `storage/postgres`.

It also tells failures after which nothing was done from those after which that is not known.
"""

from __future__ import annotations

import os
from typing import Final

import asyncpg

from app_server.storage.base import StorageError

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What asyncpg raises; `TimeoutError` is an `OSError`."""

_CONNECTION_STATES: Final = ("08", "57P", "25P03")
"""SQLSTATE: connection exceptions, a server that shuts down or starts, or was kept waiting in a transaction."""
_DATA_STATES: Final = "22"
_SENTENCES: Final = {
    "28P01": "{place} refuses the login; check the user and the password in storage.url.",
    "28000": "{place} refuses the login; check the user in storage.url and the server's pg_hba.conf.",
    "3D000": "{place} has no such database; create it, or name another one in storage.url.",
    "42501": "{place} refuses this user a right that is needed ({reason}); grant it, as docs/hosting.md says.",
    "53100": "The disk of {place} is full; free some space there and try again.",
    "53300": "{place} takes no more connections; raise max_connections there, or lower pool_size in storage.url.",
    "25006": "{place} is read-only; name the primary server in storage.url, or add target_session_attrs=read-write.",
    "42P01": "{place} lacks a table of this server ({reason}); run `app-server migrate`.",
    "57P01": "{place} is shutting down; start it and try again.",
    "57P02": "{place} has crashed; start it and try again.",
    "57P03": "{place} is starting or stopping; wait until it takes connections and try again.",
}


def storage_error(place: str, error: BaseException) -> StorageError:
    """The error to raise for `error`; it never repeats the URL, and so no password."""
    named = f"PostgreSQL at {place}"
    lost = f"The connection to {named} was lost; check that it runs and try again."
    if isinstance(error, asyncpg.PostgresConnectionError):
        return StorageError(lost)
    if isinstance(error, asyncpg.PostgresError):
        state, reason = error.sqlstate or "", _first_line(error)
        if state.startswith(_DATA_STATES):  # its words repeat the data
            return StorageError(
                f"{named} cannot be given what was asked; leave out characters that no text has, such as half ones."
            )
        unknown = "{place} refused an operation ({reason}); look into its log, and report it if that does not help."
        return StorageError(_SENTENCES.get(state, unknown).format(place=named, reason=reason))
    if isinstance(error, TimeoutError):
        return StorageError(f"{named} does not answer; check the server and the network, and try again.")
    if isinstance(error, OSError):
        reason = (os.strerror(error.errno) if error.errno else type(error).__name__).lower()
        return StorageError(f"{named} cannot be reached ({reason}); check that it runs, and storage.url.")
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):
        return StorageError(
            f"{named} cannot be connected to with the options in storage.url; check how they are written."
        )
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return StorageError(f"{named} is not the kind of server that target_session_attrs in storage.url asks for.")
    if is_lost(error):
        return StorageError(lost)
    return StorageError(
        f"{named} refused a request ({type(error).__name__}); report it, if starting again does not help."
    )


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone: what it was doing may have been done or not."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "08000").startswith(_CONNECTION_STATES)
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)  # that is an argument that cannot be sent, and was not
    return isinstance(error, OSError | asyncpg.InternalClientError)


def is_passing(error: BaseException) -> bool:
    """Whether nothing was done, and doing it again may succeed: two transactions were in each other's way."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("40")


def _first_line(error: asyncpg.PostgresError) -> str:
    """The server's own words, without detail: that may repeat what was stored."""
    words = str(error.args[0]) if error.args else ""
    return words.partition("\n")[0] or type(error).__name__
