"""The bundle through which handlers reach the domain. Data; `bootstrap` fills it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeAlias

from app_server.rpc.context import RequestContext
from app_server.values import frozen

if TYPE_CHECKING:
    import anyio

    from app_server.auth.browser_login import BrowserLogins
    from app_server.auth.manager import AuthManager
    from app_server.auth.refresh import LoginRefresher
    from app_server.clock import Clock
    from app_server.config.layers import LoadedConfig
    from app_server.extension_api.extension import ExtensionRegistry
    from app_server.extension_api.services import Pictures
    from app_server.hooks.config import Hooks
    from app_server.pictures.links import PictureLinks
    from app_server.pictures.listing import Gallery
    from app_server.pictures.reading import PictureReader
    from app_server.providers.fetched_catalog import FetchedModels
    from app_server.providers.limits import LastLimits
    from app_server.providers.registry import ProviderRegistry
    from app_server.rpc.hub import Hub
    from app_server.tenants.ground import Ground
    from app_server.tenants.limits import TenantLimits
    from app_server.threads.manager import ThreadManager
    from app_server.turns.context import Moment, Settings
    from app_server.workspace.belongings import Workspace
    from features.resolution import FeatureSet
    from features.runtime import RuntimeFeatures


class RareServices(Protocol):
    """What few clients ever need: each is loaded and made when it is first asked for, not while a client waits."""

    @property
    def logins(self) -> BrowserLogins: ...
    @property
    def gallery(self) -> Gallery: ...
    @property
    def picture_reader(self) -> PictureReader: ...
    @property
    def picture_links(self) -> PictureLinks: ...
    @property
    def workspace(self) -> Workspace: ...


@frozen
class Services:
    """All that handlers may use."""

    home: Path
    cwd: Path
    clock: Clock
    hub: Hub[Services]
    current_config: Callable[[], LoadedConfig]
    load_config: Callable[[Path], LoadedConfig]
    """The settings as a thread in that folder sees them, read anew."""
    reload_config: Callable[[], Awaitable[None]]
    """Read the process's settings anew and follow them. Raises ConfigurationError; the old ones count on then."""
    config_lock: anyio.Lock
    """Held while the user's file is changed."""
    hooks: Hooks
    features: RuntimeFeatures
    providers: ProviderRegistry
    auth: AuthManager
    refresher: LoginRefresher
    limits: LastLimits
    fetched_models: FetchedModels
    pictures: Pictures
    http_base: Callable[[], str | None]
    """`http://host:port` of the websocket listener, or None without one."""
    extensions: Callable[[FeatureSet], ExtensionRegistry]
    threads: ThreadManager
    moment: Callable[[str, str, Settings, str], Moment]
    rare: RareServices
    ground: Ground | None = None
    """Where a tenant stands; None: whoever asks is the host, or the only one there is."""
    allowance: TenantLimits | None = None
    """How much the tenant may have."""

    @property
    def config(self) -> LoadedConfig:
        """The process's settings as of now."""
        return self.current_config()


Context: TypeAlias = RequestContext[Services]
