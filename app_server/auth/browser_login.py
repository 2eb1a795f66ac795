"""ChatGPT logins that a person completes in a browser: at most one at a time, each with a listener of its own.

    start ─► listener on 127.0.0.1:1455, the address to open is told to the client
             GET /auth/callback?code&state ─► tokens ─► auth.json ─► ended(None)
             refused, canceled, replaced by another one, 10 minutes over ─► ended(why)

The port is part of the address that the login service knows, so another one cannot be taken. Answers with a foreign
state are refused and change nothing: any web page can make a browser ask this listener. `methods/account` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup

from app_server.auth.authorization import (
    CALLBACK_PATH,
    Authorization,
    ExchangeFailed,
    FormPoster,
    exchange_code,
    issuer_of,
)
from app_server.errors import AppServerError, InternalError
from app_server.ids import uuid7
from app_server.observability.logging import get_logger
from app_server.values import field, slotted

if TYPE_CHECKING:
    from app_server.auth.manager import AuthManager
    from app_server.clock import Clock

PORT: Final = 1455
PORT_VARIABLE: Final = "APP_SERVER_LOGIN_PORT"
"""Another port, for a login service that knows another address of ours; 0 takes a free one."""
TIMEOUT_S: Final = 600.0
_CONNECTION_TIMEOUT_S: Final = 60.0
CANCELED: Final = "The login was canceled."
log = get_logger("auth")


@slotted(kw_only=True)
class PendingLogin:
    """One login that waits for its browser."""

    login_id: str
    authorization: Authorization
    outcome: str | None = None
    """Why it failed, once it is decided; None: it did not."""
    decided: bool = False
    code_taken: bool = False
    over: anyio.Event = field(default_factory=anyio.Event)
    """Set behind the decision, when the browser has its page."""
    closed: anyio.Event = field(default_factory=anyio.Event)
    """The port is free again."""

    def decide(self, outcome: str | None) -> None:
        """Whoever comes first decides how it ends."""
        if not self.decided:
            self.decided, self.outcome = True, outcome

    def end(self, outcome: str | None) -> None:
        """End it now, unless it is decided already."""
        self.decide(outcome)
        self.over.set()


class BrowserLogins:
    """One per process. `ended(login_id, why)` is called once for each login that was started; why None: it is good."""

    def __init__(
        self,
        auth: AuthManager,
        http: FormPoster,
        clock: Clock,
        env: Mapping[str, str],
        tasks: TaskGroup,
        ended: Callable[[str, str | None], None],
    ) -> None:
        self._auth, self._http, self._clock, self._env = auth, http, clock, env
        self._tasks, self._ended = tasks, ended
        self._pending: PendingLogin | None = None
        self._starting = anyio.Lock()

    async def start(self, originator: str) -> tuple[str, str]:
        """Begin a login, in the place of one that still waits: its id, and the address for the user's browser.

        Raises InternalError when the port is taken.
        """
        async with self._starting:
            if (before := self._pending) is not None:
                before.end("Another login was started in its place.")
                await before.closed.wait()
            listener = await self._listen()
            port = listener.extra(SocketAttribute.local_port)
            login = PendingLogin(
                login_id=uuid7(),
                authorization=Authorization(
                    issuer=issuer_of(self._env),
                    redirect_uri=f"http://localhost:{port}{CALLBACK_PATH}",
                    originator=originator,
                ),
            )
            self._pending = login
            self._tasks.start_soon(self._wait, login, listener)
        return login.login_id, login.authorization.url()

    def find(self, login_id: str) -> PendingLogin | None:
        """The login that waits under this id."""
        login = self._pending
        return login if login is not None and login.login_id == login_id and not login.decided else None

    async def _listen(self) -> Listener[SocketStream]:
        text = self._env.get(PORT_VARIABLE, "").strip()
        port = int(text) if text.isascii() and text.isdigit() and int(text) < 65536 else PORT
        try:
            return await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
        except OSError as error:
            raise InternalError(
                f"The login cannot wait for the browser on 127.0.0.1:{port} "
                f"({(error.strerror or 'the port is taken').lower()}); "
                "end the program that uses this port, or another login that waits, and try again.",
                data_code="loginPortBusy",
            ) from None

    async def _wait(self, login: PendingLogin, listener: Listener[SocketStream]) -> None:
        try:
            async with listener:
                with anyio.move_on_after(TIMEOUT_S):
                    async with anyio.create_task_group() as connections:
                        connections.start_soon(self._accept, listener, login)
                        await login.over.wait()
                        connections.cancel_scope.cancel()
            login.end(f"The login was not completed within {TIMEOUT_S / 60:g} minutes.")
        finally:
            login.end("The server ended.")
            if self._pending is login:
                self._pending = None
            login.closed.set()
            self._ended(login.login_id, login.outcome)

    async def _accept(self, listener: Listener[SocketStream], login: PendingLogin) -> None:
        await listener.serve(lambda stream: self._serve(stream, login))

    async def _serve(self, stream: SocketStream, login: PendingLogin) -> None:
        from app_server.auth.callback_page import page, read_target  # for the few who log in so

        async with stream:
            with anyio.move_on_after(_CONNECTION_TIMEOUT_S):
                try:
                    if (request := await read_target(stream)) is not None:
                        await stream.send(page(*await self._answer(*request, login)))
                except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                    pass  # the browser hung up; what it brought before counts all the same
        if login.decided:
            login.over.set()

    async def _answer(self, verb: str, target: str, login: PendingLogin) -> tuple[int, str]:
        """Status and words for the person; decides the login where the request belongs to it."""
        parts = urlsplit(target)
        if parts.path != CALLBACK_PATH:
            return 404, "There is nothing here."
        if verb != "GET":
            return 405, "Open this address in a browser."
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not login.authorization.is_own(query.get("state", "")):
            return 400, "This answer belongs to another login. Start again from your app."
        if login.decided or login.code_taken:
            return 409, "This login is over already. You can close this window."
        if not (code := query.get("code")):
            why = f"The login was refused ({query.get('error', 'no reason given')[:80]})."
            login.decide(why)
            return 400, f"{why} You can close this window."
        login.code_taken = True
        try:
            self._auth.login_chatgpt(await exchange_code(self._http, login.authorization, code), self._clock.now_ms())
        except (ExchangeFailed, AppServerError) as failure:
            log.warning("browser_login_failed", cause=str(failure))
            login.decide(str(failure))
            return 502, f"{failure} You can close this window."
        login.decide(None)
        return 200, "You are logged in. You can close this window and go back to your app."
