"""COMPOSITION ROOT: the only module that knows everyone. Builds an app from options; commands and embedders use it.

App(options)            reads the config (a broken one raises here), knows home and hub; quick
async with app.running():
    await app.serve(stream)     one client; call it for every connection
core()                  storage, providers, extensions, methods: loaded after the first answer, once
of_tenant(name)         the same app for one tenant: settings, login and engine are the host's; clients, threads and
                        pictures its own
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from app_server.clock import Clock, SystemClock
from app_server.config.home import resolve_home
from app_server.config.layers import LoadedConfig, load_config
from app_server.errors import AppServerError, ConfigurationError, InternalError, InvalidRequest, as_rpc_error
from app_server.observability.logging import get_logger
from app_server.platform_facts import server_facts
from app_server.protocol.handshake import NoHandshake, read_handshake
from app_server.protocol.jsonrpc import MISSING
from app_server.rpc.connection import Connection, Core
from app_server.rpc.hub import Hub
from app_server.rpc.quirks import MIB, InlinePolicy
from app_server.rpc.session import Session
from app_server.storage.base import LOCAL_TENANT, principal_of, tenant_of
from app_server.transport.base import MessageStream, NamedStream
from app_server.values import field, frozen

if TYPE_CHECKING:
    from app_server.methods.services import Services
    from app_server.storage.base import StorageSource
    from app_server.tenants.limits import TenantLimits
    from app_server.threads.manager import ThreadManager
    from app_server.transport.http import HttpReply, HttpRequest
    from app_server.wiring import Wiring


_MOMENT_S = 0.1
"""For the requests that come with the first one: they are served before anything else is loaded."""
_PATIENCE_S = 5.0
"""How long that stands back behind them: some requests take as long as their client likes."""
_REST: Final = (
    "httpx",
    "app_server.methods.turn",
    "app_server.providers.responses_api",
    "app_server.turns.conversation",
    "app_server.turns.engine",
    "app_server.turns.sampling",
)
"""What a turn needs, and who starts a thread does not wait for."""


@frozen
class Options:
    """How a server is started. `extensions` None: all that are built in or installed; else these modules alone."""

    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    cwd: Path = field(default_factory=Path.cwd)
    home: Path | None = None
    overrides: Sequence[str] = ()
    enable: Sequence[str] = ()
    disable: Sequence[str] = ()
    extensions: Sequence[str] | None = None
    storage_url: str | None = None
    source: StorageSource | None = None
    """An engine that the embedder brings; then no URL counts. The app closes it."""
    tenant: str = LOCAL_TENANT


class App:
    """One server process, or an embedded server. Raises ConfigurationError when home or config cannot be used."""

    def __init__(self, options: Options | None = None, clock: Clock | None = None, *, host: App | None = None) -> None:
        """`host`: the app of the process, where this is one of its tenants'."""
        self.options = options or Options()
        self.tenant = self.options.tenant
        check_one_parent_folder()
        self.clock: Clock = clock or SystemClock()
        self.home = self.options.home or resolve_home(self.options.env)
        self._host = host or self
        self.config: LoadedConfig = self.load_config(self.options.cwd) if host is None else host.config
        self.hub: Hub[Services] = Hub(self.clock, self.inline_policy())
        self.http_base: str | None = None
        """`http://host:port` where HTTP requests come in, while there is such a listener."""
        self.draining = False
        self._wiring: Wiring | None = None
        self._building = anyio.Lock()
        self._built = anyio.Event()
        self._tasks: TaskGroup | None = None
        self._tenants: dict[str, App] = {}
        self._source: StorageSource | None = None

    def load_config(self, cwd: Path) -> LoadedConfig:
        """The settings as they stand for a folder, read anew; for a tenant those of the process."""
        if self._host is not self:
            return self._host.config
        chosen = self.options
        return load_config(self.home, cwd, chosen.overrides, chosen.enable, chosen.disable)

    def inline_policy(self) -> InlinePolicy:
        """What the settings say of picture bytes inside messages."""
        server = self.config.config.server
        return InlinePolicy(mode=server.inline_images, max_message_bytes=server.inline_images_max_mb * MIB)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        """Own the turns while the block runs; at its end turns are interrupted and closed, storage is flushed."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            try:
                yield self
            finally:
                self.draining = True
                with anyio.CancelScope(shield=True), anyio.move_on_after(15):
                    for app in (*self._tenants.values(), self):
                        if app._wiring is not None:
                            await app._wiring.aclose()
                    if self._source is not None:
                        await self._source.aclose()
                tasks.cancel_scope.cancel()

    def of_tenant(self, tenant: str) -> App:
        """The app of a tenant of this process; made at its first client."""
        if tenant == self.tenant:
            return self
        if tenant not in self._tenants:
            made = self._tenants[tenant] = App(
                replace(self.options, home=self.home, tenant=tenant), self.clock, host=self
            )
            made._tasks, made.http_base = self._tasks, self.http_base
        return self._tenants[tenant]

    def apps(self) -> list[App]:
        """This app, and those of its tenants."""
        return [self, *self._tenants.values()]

    @property
    def threads(self) -> ThreadManager | None:
        """The live threads, once the server is built."""
        return None if self._wiring is None else self._wiring.threads

    async def drain(self, bound_s: float) -> None:
        """Before the end: no thread is taken any more, and what runs may end by itself, for so long."""
        for app in self.apps():
            app.draining = True
        if self._source is not None:
            self._source.drain()
        with anyio.move_on_after(bound_s):
            for app in self.apps():
                if app.threads is not None:
                    await app.threads.settled()

    def source(self) -> StorageSource:
        """The engine of the process, which all its tenants share; opened at the first need."""
        if self._host is not self:
            return self._host.source()
        if self._source is None:
            from app_server.storage.registry import open_source

            storage = self.config.config.storage
            url = self.options.storage_url or storage.url or f"file:{self.home}"
            blobs = None if self.options.storage_url else storage.blobs
            self._source = self.options.source or open_source(url, blobs, self.home)
            if self._tasks is not None:
                self._tasks.start_soon(self._source.run)
        return self._source

    async def stand_by(self) -> None:
        """For a server that listens: where others share its storage, be there for the threads of those that die."""
        if self.source().storage(self.tenant).cluster is None:
            return
        from app_server.replicas.standby import stand_by

        await stand_by(self.source(), self.tenant, lambda tenant: self.of_tenant(tenant).wiring())

    async def serve(self, stream: MessageStream, *, greeted: bool = False) -> None:
        """Serve one client until its stream ends. `greeted`: its first frame, `initialize`, has its answer already."""
        principal = stream.principal if isinstance(stream, NamedStream) else None
        if principal is not None:
            await self._serve_tenant(stream, self.of_tenant(tenant_of(principal)))
        else:
            await Connection(stream, self, greeted=greeted).run()

    async def _serve_tenant(self, stream: MessageStream, app: App) -> None:
        try:
            held = await app.limits.connection()
        except AppServerError as error:
            from app_server.rpc.turning_away import turn_away

            await turn_away(stream, as_rpc_error(error))
            return
        try:
            await Connection(stream, app).run()
        finally:
            await held.free()

    @cached_property
    def limits(self) -> TenantLimits:
        """How much the tenant of this app may have."""
        from app_server.tenants.limits import TenantLimits, limits_for

        assert self._tasks is not None  # clients come while it runs
        name = principal_of(self.tenant)
        return TenantLimits(
            lambda: limits_for(self.config.config.tenants, name), self.source().storage(self.tenant), self._tasks
        )

    @property
    def host(self) -> App | None:
        """The app of the process, where this is one of its tenants'."""
        return None if self._host is self else self._host

    async def picture(self, request: HttpRequest) -> HttpReply:
        """The HTTP route `/images/`: a picture for a signed address, of whatever tenant it names."""
        from app_server.pictures.links import tenant_in

        if (refused := await (await self.wiring()).picture_links.refusal(request)) is not None:
            return refused
        return await (await self.of_tenant(tenant_in(request.query)).wiring()).picture_links.answer(request)

    # -- what a connection asks
    def initialize(self, session: Session, params: Any) -> Mapping[str, Any]:
        """The handshake: fill the session, say who we are."""
        if params is MISSING:
            raise InvalidRequest("Invalid request: missing field `params`", data_code="missingParams")
        try:
            told = read_handshake(params)
        except NoHandshake as error:
            raise InvalidRequest(f"Invalid request: {error}", data_code="invalidParams") from None
        session.client_name, session.client_version = told.client_name, told.client_version
        session.client_title = told.client_title
        session.experimental_api = told.experimental_api
        session.opted_out = told.opted_out
        session.extensions = told.extensions
        session.initialized = True
        home = self.home
        if self.host is not None:
            from app_server.storage.registry import tenant_folder
            from app_server.tenants.ground import QUIET

            session.opted_out |= QUIET
            home = tenant_folder(self.home, self.tenant)
        return server_facts(session.client_name, session.client_version, str(home), self.options.env)

    async def core(self) -> Core[Services]:
        """Everything that is loaded after the first answer."""
        return (await self.wiring()).core

    async def wiring(self) -> Wiring:
        """The built server; builds it on first need."""
        if self._wiring is None:
            async with self._building:
                if self._wiring is None:
                    if self._tasks is None:
                        raise RuntimeError("App.serve needs `async with app.running()` around it")
                    self._wiring = await self._build(self._tasks)
                    self._built.set()
        return self._wiring

    async def built(self) -> None:
        """Returns once the server is built, behind the first answer."""
        await self._built.wait()

    async def warm_up(self) -> None:
        """When a client has a thread, and the reply that says so: load in a thread what its first turn will need.

        For whoever owns the process and has time; without it the first turn loads it.
        """
        await self.hub.followed.wait()
        latest = anyio.current_time() + _PATIENCE_S
        await anyio.sleep(_MOMENT_S)
        try:
            for name in _REST:
                while self.hub.is_asked() and anyio.current_time() < latest:  # noqa: ASYNC110 - once, and rarely twice
                    await anyio.sleep(_MOMENT_S)
                await anyio.to_thread.run_sync(import_module, name)
        except ImportError:  # a broken installation: the server lives, and the turn that needs it says why
            get_logger("bootstrap").error("warm_up_failed", exc_info=True)

    async def _build(self, tasks: TaskGroup) -> Wiring:
        try:
            from app_server.wiring import Wiring  # heavy: after the first answer

            return await Wiring.build(self, tasks)
        except AppServerError:
            raise
        except Exception as error:  # the first request's last resort: answered, and tried again by the next one
            get_logger("bootstrap").error("start_up_failed", exc_info=True)
            raise InternalError("The server could not start up; its log has the cause.") from error

    async def client_ready(self, connection: Connection[Services]) -> None:
        """Warm up, then tell the client what it should know from the start."""
        try:
            wiring = await self.wiring()
        except AppServerError as error:
            self.hub.notify(connection, "configWarning", {"summary": error.message, "details": None})
            return
        for summary in wiring.config_warnings:
            self.hub.notify(connection, "configWarning", {"summary": summary, "details": None})
        for message in wiring.extension_warnings:
            self.hub.notify(connection, "warning", {"threadId": None, "message": message})
        if (account := wiring.account()) is not None:
            self.hub.notify(connection, "account/updated", account)


def check_one_parent_folder() -> None:
    """`features` and `extensions` are common names: make sure that ours are imported, and name an intruder."""
    import extensions
    import features

    ours = Path(__file__).resolve().parent.parent
    for package in (extensions, features):
        found = Path(str(package.__file__)).resolve().parent
        if found.parent != ours:
            raise ConfigurationError(
                f"The package {package.__name__} of this server is hidden by {found}; install the server isolated "
                f"(pipx, uv tool or a venv of its own), or run it without that folder on the path."
            )
