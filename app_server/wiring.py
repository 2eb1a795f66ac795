"""The heavy half of the composition root: builds storage, providers, extensions and methods, and joins their seams.

Imported after the first answer. `bootstrap.App` is its only caller; with it, it is the only module that knows everyone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from anyio.abc import TaskGroup

from app_server.auth.manager import AuthManager
from app_server.errors import ConfigurationError
from app_server.extension_api.extension import ExtensionRegistry
from app_server.extension_api.scopes import AuthSnapshot, TurnScope
from app_server.extension_api.services import ExtensionServices, ImagesEndpoint, ImageSettings
from app_server.extension_host import ExtensionHost, discover, feature_specs
from app_server.ids import parse_uuid, uuid7
from app_server.methods import load_registry
from app_server.methods.account import account_updated
from app_server.methods.services import Services
from app_server.net import Net
from app_server.observability.logging import get_logger
from app_server.pictures.prompt import PromptPictures
from app_server.pictures.store import PictureStore
from app_server.providers.catalog import effective_context_window, model_facts
from app_server.providers.registry import ProviderRegistry, ProviderWiring
from app_server.rpc.connection import Core
from app_server.rpc.dispatch import Dispatcher
from app_server.storage.base import Storage
from app_server.storage.registry import open_storage
from app_server.threads.live_thread import ThreadDeps
from app_server.threads.manager import ThreadManager
from app_server.tools.dynamic import DynamicTool, parse_dynamic_tools
from app_server.turns.context import Moment, Settings
from features.registry import FEATURES
from features.resolution import FeatureError, FeatureSet
from features.runtime import RuntimeFeatures

if TYPE_CHECKING:
    from app_server.bootstrap import App


class Wiring:
    """Everything that runs behind the connections."""

    def __init__(self, app: App, storage: Storage, installation_id: str, tasks: TaskGroup) -> None:
        self._app, self.storage, self.net = app, storage, Net()
        self.auth = AuthManager(app.home, app.options.env, app.clock)
        self.extension_warnings: list[str] = []
        found = discover(app.options.extensions)
        try:
            self.features = RuntimeFeatures((*FEATURES, *feature_specs(found)), app.config.feature_layers)
        except FeatureError as error:
            raise ConfigurationError(str(error)) from error
        self.config_warnings = config_warnings(app.config.warnings, self.features.current())
        self.providers = ProviderRegistry(app.config.config, self._provider_wiring())
        self.pictures = PictureStore(app.home, storage.blobs)
        self.host = ExtensionHost(found, self._extension_services, self._extension_warning)
        self.host.registry(self.features.current())
        deps = ThreadDeps(
            audience=app.hub,
            clock=app.clock,
            pictures=self.pictures,
            urls=PromptPictures(self.pictures),
            moment=self.moment,
            installation_id=installation_id,
        )
        self.threads = ThreadManager(storage, open_storage("memory:", app.home), deps, tasks)
        self.core = Core(services=self._services(), dispatcher=Dispatcher(load_registry()))

    def _provider_wiring(self) -> ProviderWiring:
        return ProviderWiring(
            client=self.net.client,
            credentials=self.auth.login_for,
            chatgpt_login=lambda: self.auth.snapshot().is_chatgpt,
            env=self._app.options.env,
            clock=self._app.clock,
        )

    def _extension_services(self, name: str) -> ExtensionServices:
        images = self._app.config.config.image_generation
        return ExtensionServices(
            pictures=self.pictures,
            provider=PictureAccess(self.providers, self.auth, images.provider),
            http=self.net,
            clock=self._app.clock,
            log=get_logger(name),
            images=ImageSettings(model=images.model, timeout_s=images.timeout_s),
        )

    def _services(self) -> Services:
        app = self._app
        return Services(
            home=app.home,
            cwd=app.options.cwd,
            clock=app.clock,
            hub=app.hub,
            config=app.config,
            load_config=app.load_config,
            features=self.features,
            providers=self.providers,
            auth=self.auth,
            pictures=self.pictures,
            extensions=self.extensions,
            threads=self.threads,
            moment=self.moment,
        )

    @classmethod
    async def build(cls, app: App, tasks: TaskGroup) -> Wiring:
        """Build; blocking steps run in a worker thread."""
        url = app.options.storage_url or f"file:{app.home}"
        installation_id = await anyio.to_thread.run_sync(read_installation_id, app.home)
        return cls(app, open_storage(url, app.home), installation_id, tasks)

    async def aclose(self) -> None:
        """Interrupt turns, flush storage, close connections upstream."""
        await self.threads.aclose()
        await self.storage.aclose()
        await self.net.aclose()

    def extensions(self, features: FeatureSet) -> ExtensionRegistry:
        """What extensions add under these flags; loads one whose gate opens for the first time."""
        return self.host.registry(features)

    def moment(self, thread_id: str, turn_id: str, settings: Settings, originator: str) -> Moment:
        """What is true right now for a turn: flags, login, provider, model, tools."""
        provider = self.providers.provider(settings.model_provider)
        features = self.features.for_thread(settings.project_features, settings.features)
        facts = model_facts(settings.model)
        window = self._app.config.config.model_context_window or facts.context_window_tokens
        sized = replace(facts, context_window_tokens=window)
        scope = TurnScope(
            thread_id=thread_id,
            turn_id=turn_id,
            cwd=Path(settings.cwd),
            originator=originator,
            features=features,
            auth=self.auth.snapshot(self.providers.table(settings.model_provider)),
            provider=provider.facts,
            model=replace(sized, context_window_tokens=effective_context_window(sized)),
        )
        tools = self.host.registry(features).tools.values()
        return Moment(scope=scope, provider=provider, executors=(*tools, *self._dynamic_tools(settings)))

    def _dynamic_tools(self, settings: Settings) -> list[DynamicTool]:
        """The tools of the thread's client; ours of the same name go first."""
        specs = parse_dynamic_tools(settings.dynamic_tools)
        return [DynamicTool(spec, self._app.hub.ask_thread, self.pictures) for spec in specs]

    def account(self) -> Mapping[str, Any] | None:
        """What a new client is told of a ChatGPT login; None without one."""
        auth = self.auth.snapshot()
        return account_updated(auth.mode, auth.plan) if auth.is_chatgpt else None

    def _extension_warning(self, message: str) -> None:
        self.extension_warnings.append(message)
        self._app.hub.broadcast("warning", {"threadId": None, "message": message})


class PictureAccess:
    """The `ProviderAccess` of extensions: the provider of the turn, or the one that the config names for pictures."""

    def __init__(self, providers: ProviderRegistry, auth: AuthManager, chosen: str | None) -> None:
        self._providers, self._auth, self._chosen = providers, auth, chosen

    def auth(self) -> AuthSnapshot:
        return self._auth.snapshot()

    async def refresh_login(self, scope: TurnScope) -> bool:
        """Nothing to refresh yet: a refused login is told as it is."""
        return False

    def images_endpoint(self, scope: TurnScope) -> ImagesEndpoint:
        provider_id = self._chosen or scope.provider.id
        access = self._providers.http_access(provider_id)
        if access is None:
            return ImagesEndpoint(base_url="", headers={}, query={}, offline=True, chatgpt=False, request_max_retries=0)
        table = self._providers.table(provider_id)
        return ImagesEndpoint(
            base_url=access.base_url,
            headers={
                **access.headers,
                "originator": scope.originator,
                "x-codex-image-turn-id": scope.turn_id,
            },
            query=access.query_params,
            offline=False,
            chatgpt=table.requires_openai_auth and self._auth.snapshot(table).is_chatgpt,
            request_max_retries=access.request_max_retries,
        )


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
