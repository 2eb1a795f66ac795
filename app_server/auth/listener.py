"""The login at a listener: a Gate over tokens that are read from a file again and again, so that one can be revoked.

The file is read when the gate is made (what is wrong with it is told then), for every visitor who brings a token, and
every `POLL_S`. Whoever came in with a token that is no longer in it is put out. A file that has gone or cannot be used
any more lets nobody in and nobody stay. Made and run by `commands/serve.py`; `listener_tokens.py` says what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from app_server.auth.listener_tokens import NO_TOKEN, ListenerTokens, NoTokens, bearer_token
from app_server.errors import ConfigurationError
from app_server.observability.logging import get_logger

if TYPE_CHECKING:
    from app_server.clock import Clock
    from app_server.transport.http import Visitor

log = get_logger("listener")
POLL_S: Final = 2.0
MAX_FILE_BYTES: Final = 1024 * 1024

Load = Callable[[], ListenerTokens]
"""Reads the tokens as they stand now; it may block. Raises ConfigurationError."""


class ListenerGate:
    """Who may come in, and who may stay. `run` is owned by a task of the server."""

    def __init__(self, load: Load, clock: Clock, *, poll_s: float = POLL_S) -> None:
        """Raises ConfigurationError when there are no usable tokens to begin with."""
        self._load, self._clock, self._poll_s = load, clock, poll_s
        self._tokens: ListenerTokens = load()
        self._inside: dict[int, tuple[Visitor, Callable[[], None]]] = {}
        self._next = 0
        self._order = anyio.Lock()

    async def admit(self, headers: Mapping[str, str]) -> Visitor | str:
        """A Visitor, or the reason of a 401."""
        token = bearer_token(headers)
        if token is None:
            return NO_TOKEN
        await self.refresh()
        return self._tokens.check(token, self._clock.now_ms() / 1000)

    @contextmanager
    def watching(self, visitor: Visitor, revoked: Callable[[], None]) -> Iterator[None]:
        """While the block runs, `revoked` is called once when what let the visitor in counts no more."""
        number = self._next = self._next + 1
        self._inside[number] = (visitor, revoked)
        self._put_out()
        try:
            yield
        finally:
            self._inside.pop(number, None)

    async def refresh(self) -> None:
        """Read the tokens again, and put out those who may not stay."""
        async with self._order:  # an older reading never replaces a newer one
            self._tokens = await anyio.to_thread.run_sync(self._read)
            self._put_out()

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            await anyio.sleep(self._poll_s)
            await self.refresh()

    def _read(self) -> ListenerTokens:
        try:
            return self._load()
        except ConfigurationError as error:
            if not isinstance(self._tokens, NoTokens):  # said once, not at every look
                log.warning("listener_tokens_unusable", reason=error.message)
            return NoTokens()

    def _put_out(self) -> None:
        leaving = [number for number, (visitor, _) in self._inside.items() if not self._tokens.holds(visitor)]
        for number in leaving:
            _, revoked = self._inside.pop(number)
            revoked()
        if leaving:
            log.info("listener_logins_revoked", connections=len(leaving))


def read_capped(path: Path, option: str) -> bytes:
    """The bytes of a small file. Raises ConfigurationError that names the option that named the file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        cause = (error.strerror or "input or output error").lower()
        raise ConfigurationError(
            f"The file {path} of {option} cannot be read ({cause}); name one that this user can read."
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"The file {path} of {option} is larger than 1 MiB; it cannot be the right one.")
    return data
