"""The heavy half of the composition root: builds storage, providers, extensions and methods, and joins their seams.

Imported after the first answer. `bootstrap.App` is its only caller; with it, it is the only module that knows everyone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from app_server.auth.manager import AuthManager
from app_server.auth.refresh import LoginRefresher
from app_server.errors import ConfigurationError
from app_server.extension_access import PictureAccess
from app_server.extension_api.scopes import ProviderFacts, TurnScope
from app_server.extension_api.services import ExtensionServices, ImageSettings
from app_server.extension_host import ExtensionHost, discover, feature_specs
from app_server.hooks.config import HookSetup, read_hooks
from app_server.ids import parse_uuid, uuid7
from app_server.methods import load_registry
from app_server.methods.services import Services
from app_server.net import Net
from app_server.observability.logging import get_logger
from app_server.observability.watch import WATCH
from app_server.pictures.prompt import PromptPictures
from app_server.pictures.quota import MIB, sweep_daily
from app_server.pictures.rescue import PictureRescue
from app_server.pictures.store import FOLDER, PictureStore, Saving
from app_server.providers.catalog import effective_context_window
from app_server.providers.fetched_catalog import FetchedModels
from app_server.providers.limits import LastLimits
from app_server.providers.registry import ProviderRegistry, ProviderWiring
from app_server.rpc.connection import Core
from app_server.rpc.dispatch import Dispatcher
from app_server.storage.base import LOCAL_TENANT
from app_server.storage.registry import open_storage, tenant_folder
from app_server.threads.live_thread import ThreadDeps
from app_server.threads.manager import ThreadManager
from app_server.tools.dynamic import DynamicTool, parse_dynamic_tools
from app_server.turns.context import Moment, Settings
from features.registry import FEATURES
from features.resolution import FeatureError, FeatureSet
from features.runtime import RuntimeFeatures

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from app_server.auth.browser_login import BrowserLogins
    from app_server.bootstrap import App
    from app_server.config.schema import ImageGenerationConfig
    from app_server.extension_api.extension import ExtensionRegistry
    from app_server.pictures.links import PictureLinks
    from app_server.pictures.listing import Gallery
    from app_server.pictures.reading import PictureReader
    from app_server.replicas.replica import Replica
    from app_server.storage.base import Storage
    from app_server.tenants.ground import Ground
    from app_server.workspace.belongings import Workspace


class Wiring:
    """Everything that runs behind the connections."""

    ground: Ground | None = None
    """Where the tenant stands, where this is a tenant's."""

    def __init__(
        self, app: App, storage: Storage, installation_id: str, tasks: TaskGroup, host: Wiring | None = None
    ) -> None:
        """`host`: that of the process, where this is a tenant's: settings, flags and logins are the host's."""
        self._app, self.storage, self._host, self._tasks = app, storage, host, tasks
        self.extension_warnings: list[str] = []
        storage.notices.tell = self._extension_warning  # of a database that was made anew
        self._built = False
        files = tenant_folder(app.home, app.tenant)
        if host is None:
            self._open(app, tasks)
        else:
            self._share(host, files)
        images = app.config.config.image_generation
        saving = self._keep_pictures(files, images)
        warn = self._extension_warning if host is None else get_logger("tenants").warning  # it is the host's affair
        self.host = ExtensionHost(self.found, self._extension_services, warn)
        self.host.registry(self.features.current())
        deps = ThreadDeps(
            audience=app.hub,
            clock=app.clock,
            pictures=self.pictures,
            urls=PromptPictures(self.pictures),
            moment=self.moment,
            installation_id=installation_id,
            hooks=HookSetup(hooks=self.hooks, env=app.options.env, cwd=None if host is None else str(app.options.cwd)),
            reads_folders=host is None,
            went_on=None if host is None else app.limits.went_on,
            rescue=PictureRescue(saving, storage.log, storage.blobs).find,
            features=lambda settings: self.features.for_thread(settings.project_features, settings.features),
        )
        ephemeral = open_storage("memory:", app.home)
        if host is not None:
            from app_server.tenants.limited_log import limited

            storage, ephemeral = limited(storage, ephemeral, app.limits)
        self._log, self._ephemeral = storage.log, ephemeral.log
        self.threads = ThreadManager(storage, ephemeral, deps, tasks)
        if images.retention_days:
            tasks.start_soon(sweep_daily, self.gallery, app.clock, images.retention_days)
        self._built = True
        self.replica = self._replica(tasks)
        commands = None if self.replica is None else self.replica.commands
        services = self._services()
        route = None if commands is None else commands.route
        gate = None if self.ground is None else self.ground.refusal
        dispatcher: Dispatcher[Services] = Dispatcher(load_registry(), route, gate)
        self.core = Core(services=services, dispatcher=dispatcher)
        if commands is not None:
            commands.serve_with(dispatcher, services)

    def _open(self, app: App, tasks: TaskGroup) -> None:
        """What the process has once."""
        self.net = Net()
        self.net.around = WATCH.post
        self.auth = AuthManager(app.home, app.options.env, app.clock)
        self.refresher = LoginRefresher(self.auth, self.net, app.clock, app.options.env, app.hub.clients)
        self.limits = LastLimits()
        self.found = discover(app.options.extensions)
        try:
            self.features = RuntimeFeatures((*FEATURES, *feature_specs(self.found)), app.config.feature_layers)
        except FeatureError as error:
            raise ConfigurationError(str(error)) from error
        self.hooks = read_hooks(app.config, app.home, app.options.cwd)
        self.config_warnings = (*config_warnings(app.config.warnings, self.features.current()), *self.hooks.warnings)
        self.providers = ProviderRegistry(app.config.config, self._provider_wiring())
        self.fetched_models = FetchedModels(self.providers, self.auth, self.net.client, app.clock)

    def _share(self, host: Wiring, files: Path) -> None:
        """What the process has once, as a tenant's part of it uses it. What is wrong with it is told to the host."""
        from app_server.tenants.ground import Ground

        self.ground = Ground(folder=files)
        self.net, self.auth, self.refresher = host.net, host.auth, host.refresher
        self.limits, self.found, self.features, self.hooks = host.limits, host.found, host.features, host.hooks
        self.providers, self.fetched_models, self.config_warnings = host.providers, host.fetched_models, ()

    def _keep_pictures(self, files: Path, images: ImageGenerationConfig) -> Saving:
        app, blobs = self._app, self.storage.blobs
        saving = picture_saving(files, images, app.tenant)
        allowance, within = (None, None) if self.ground is None else (app.limits, (files, saving.root))
        self.pictures = PictureStore(files, blobs, saving=saving, clock=app.clock, allowance=allowance, within=within)
        return saving

    def _replica(self, tasks: TaskGroup) -> Replica | None:
        """What joins this process to others that share its storage; None where there are none."""
        if (cluster := self.storage.cluster) is None:
            return None
        from app_server.replicas.replica import Replica

        return Replica(cluster, self.storage, self._app.hub, self.threads, self.pictures, self._app.clock, tasks)

    def _provider_wiring(self) -> ProviderWiring:
        return ProviderWiring(
            client=self.net.client,
            credentials=self.refresher.login_for,
            chatgpt_login=lambda: self.auth.snapshot().is_chatgpt,
            heard_limits=self.limits.heard,
            env=self._app.options.env,
            clock=self._app.clock,
        )

    def _extension_services(self, name: str) -> ExtensionServices:
        images = self._app.config.config.image_generation
        return ExtensionServices(
            pictures=self.pictures,
            provider=PictureAccess(self.providers, self.auth, self.refresher, images.provider),
            http=self.net,
            clock=self._app.clock,
            log=get_logger(name),
            images=ImageSettings(
                model=images.model,
                timeout_s=images.timeout_s,
                models=images.models or (),
                max_references=images.max_references,
                expose_parameters=images.expose_parameters,
                partial_images=images.partial_images,
                heartbeat_s=images.heartbeat_s,
                max_parallel=images.max_parallel,
            ),
        )

    def _services(self) -> Services:
        app = self._app
        return Services(
            home=app.home if self.ground is None else self.ground.folder,
            cwd=app.options.cwd if self.ground is None else self.ground.folder,
            clock=app.clock,
            hub=app.hub,
            current_config=lambda: app.config,
            load_config=app.load_config,
            reload_config=self.reload_config,
            config_lock=anyio.Lock(),
            hooks=self.hooks,
            features=self.features,
            providers=self.providers,
            auth=self.auth,
            refresher=self.refresher,
            limits=self.limits,
            fetched_models=self.fetched_models,
            pictures=self.pictures,
            http_base=lambda: (app.host or app).http_base,
            extensions=self.extensions,
            threads=self.threads,
            moment=self.moment,
            rare=self,
            ground=self.ground,
            allowance=None if self.ground is None else app.limits,
        )

    # -- `RareServices`
    @cached_property
    def logins(self) -> BrowserLogins:
        from app_server.auth.browser_login import BrowserLogins

        if self._host is not None:
            return self._host.logins
        app = self._app
        return BrowserLogins(self.auth, self.net, app.clock, app.options.env, self._tasks, self._login_ended)

    @cached_property
    def gallery(self) -> Gallery:
        from app_server.pictures.listing import Gallery

        return Gallery(self._log, self.storage.blobs, self.threads.note, ephemeral=self._ephemeral)

    @cached_property
    def picture_reader(self) -> PictureReader:
        from app_server.pictures.reading import PictureReader

        return PictureReader(self.pictures)

    @cached_property
    def picture_links(self) -> PictureLinks:
        from app_server.pictures.links import PictureLinks

        app, blobs = self._app, self.storage.blobs
        shared = _link_secret(app, self.storage)
        return PictureLinks(app.home, app.clock, self.pictures, blobs, tenant=app.tenant, shared=shared)

    @cached_property
    def workspace(self) -> Workspace:
        from app_server.workspace.belongings import Workspace

        return Workspace(env=self._app.options.env, cwd=self._app.options.cwd, tasks=self._tasks)

    @classmethod
    async def build(cls, app: App, tasks: TaskGroup) -> Wiring:
        """Build; blocking steps run in a worker thread."""
        installation_id = await anyio.to_thread.run_sync(read_installation_id, app.home)
        host = None if app.host is None else await app.host.wiring()
        return cls(app, app.source().storage(app.tenant), installation_id, tasks, host)

    async def reload_config(self) -> None:
        """Follow the settings as they stand now. Raises ConfigurationError; the old ones count on then."""
        app = self._app
        config = await anyio.to_thread.run_sync(app.load_config, app.options.cwd)
        for one in app.apps():
            one.config = config
            one.hub.inline = one.inline_policy()
        self.features.reload(app.config.feature_layers)
        self.providers.reload(app.config.config)
        self.host.registry(self.features.current())  # loads an extension whose gate opens now

    async def aclose(self) -> None:
        """Interrupt turns, flush storage, close connections upstream."""
        await self.threads.aclose()
        await self.storage.aclose()
        if self.ground is None:
            await self.net.aclose()

    def extensions(self, features: FeatureSet) -> ExtensionRegistry:
        """What extensions add under these flags; loads one whose gate opens for the first time."""
        return self.host.registry(features)

    def moment(self, thread_id: str, turn_id: str, settings: Settings, originator: str) -> Moment:
        """What is true right now for a turn: flags, login, provider, model, tools."""
        provider = self.providers.provider(settings.model_provider)
        features = self.features.for_thread(settings.project_features, settings.features)
        facts = self.fetched_models.facts(settings.model_provider, settings.model)
        window = self._app.config.config.model_context_window or facts.context_window_tokens
        sized = replace(facts, context_window_tokens=window)
        scope = TurnScope(
            thread_id=thread_id,
            turn_id=turn_id,
            cwd=Path(settings.cwd) if self.ground is None else self.ground.folder,
            originator=originator,
            features=features,
            auth=self.auth.snapshot(self.providers.table(settings.model_provider)),
            provider=provider.facts,
            model=replace(sized, context_window_tokens=effective_context_window(sized)),
            tilde=self.ground is None,
            counted_pictures=self.ground is not None and self._app.limits.counts_pictures,
            **self._picture_source(),
        )
        tools = self.host.registry(features).tools.values()
        return Moment(scope=scope, provider=provider, executors=(*tools, *self._dynamic_tools(settings)))

    def _dynamic_tools(self, settings: Settings) -> list[DynamicTool]:
        """The tools of the thread's client; ours of the same name go first."""
        specs = parse_dynamic_tools(settings.dynamic_tools)
        ask = self._app.hub.ask_thread if self.replica is None else self.replica.questions.ask
        return [DynamicTool(spec, ask, self.pictures) for spec in specs]

    def _picture_source(self) -> dict[str, Any]:
        """Facts and login of the provider that the config names for pictures; nothing without one."""
        chosen = self._app.config.config.image_generation.provider
        if chosen is None:
            return {}
        if chosen not in self.providers.ids:  # it makes no pictures: the tool's gate names it
            return {"picture_provider": ProviderFacts(id=chosen)}
        table = self.providers.table(chosen)
        return {
            "picture_provider": self.providers.provider(chosen).facts,
            "picture_auth": self.auth.snapshot(table),
        }

    def account(self) -> Mapping[str, Any] | None:
        """What a new client is told of a ChatGPT login; None without one."""
        auth = self.auth.snapshot()
        if not auth.is_chatgpt:
            return None
        from app_server.methods.account import account_updated  # a family is loaded when it is needed

        return account_updated(auth.mode, auth.plan)

    def _login_ended(self, login_id: str, why: str | None) -> None:
        from app_server.methods.account_more import login_ended

        login_ended(self.core.services, login_id, why)

    def _extension_warning(self, message: str) -> None:
        self.extension_warnings.append(message)
        if self._built:  # while it is built, nobody has been told anything: `client_ready` tells each client
            self._app.hub.broadcast("warning", {"threadId": None, "message": message})


def _link_secret(app: App, storage: Storage) -> Callable[[str], Awaitable[bytes]] | None:
    """Whatever the tenant, addresses are signed with the secret of the one without a name."""
    if storage.shared_secret is None or app.tenant == LOCAL_TENANT:
        return storage.shared_secret
    return app.source().storage(LOCAL_TENANT).shared_secret


def picture_saving(home: Path, images: ImageGenerationConfig, tenant: str = LOCAL_TENANT) -> Saving:
    """Where pictures are saved; a relative folder is one of the home, another one has a folder for each tenant."""
    chosen = Path(images.save_dir or FOLDER).expanduser()
    root = tenant_folder(chosen, tenant) if chosen.is_absolute() else home / chosen
    return Saving(root=root, name_template=images.name_template, quota_bytes=images.quota_mb * MIB)


def config_warnings(warnings: tuple[str, ...], features: FeatureSet) -> tuple[str, ...]:
    """The config's warnings, and one for all feature keys that nothing knows."""
    if not features.unknown:
        return warnings
    keys = ", ".join(f"{key} ({origin})" for key, origin in features.unknown)
    return (*warnings, f"Ignored features that do not exist: {keys}; `app-server features list` names them all.")


def read_installation_id(home: Path) -> str:
    """The id of this home, made at its first start; upstream requests carry it."""
    path = home / "installation_id"
    try:
        if (known := parse_uuid(path.read_text(encoding="utf-8").strip())) is not None:
            return known
    except (OSError, UnicodeDecodeError):
        pass  # missing or unreadable: make a new one
    made = uuid7()
    try:
        path.write_text(made + "\n", encoding="utf-8")
    except OSError:
        get_logger("bootstrap").warning("installation_id_not_written", path=str(path))
    return made
