"""The settings as the rest of the server sees them: typed, complete, frozen. Where each is documented: `keys.py`.

`Config` holds what this server acts on; whatever else a file says is kept in `Config.raw`, for `config/read`.
Values that may be secret never show in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from app_server.values import field, frozen

TomlTable = Mapping[str, Any]
"""A table as `tomllib` or a client's JSON gives it."""

NO_STRINGS: Mapping[str, str] = MappingProxyType({})
NO_VALUES: TomlTable = MappingProxyType({})


def _no_strings() -> Mapping[str, str]:  # a factory, because Python 3.11 takes a mapping proxy for a mutable default
    return NO_STRINGS


@frozen
class ProviderConfig:
    """One `[model_providers.<id>]` table: where a model is, and how its requests are signed."""

    id: str
    name: str | None = None
    base_url: str | None = None
    """None only with `requires_openai_auth`: then OpenAI's own address for the login at hand."""
    env_key: str | None = None
    env_key_instructions: str | None = None
    experimental_bearer_token: str | None = field(default=None, repr=False)
    wire_api: str = "responses"
    query_params: Mapping[str, str] = field(default_factory=_no_strings, repr=False)
    http_headers: Mapping[str, str] = field(default_factory=_no_strings, repr=False)
    env_http_headers: Mapping[str, str] = field(default_factory=_no_strings)
    requires_openai_auth: bool = False
    request_max_retries: int = 4
    stream_max_retries: int = 5
    stream_idle_timeout_ms: int = 300_000
    stream_max_mb: int = 256
    supports_websockets: bool = False
    """Read for the sake of files shared with the reference; requests go over HTTP in any case."""
    image_generation: bool | None = None
    image_api: str = "auto"
    namespace_tools: bool | None = None

    @property
    def label(self) -> str:
        """What people are shown."""
        return self.name or self.id


@frozen
class ImageGenerationConfig:
    """The `[image_generation]` table. Without a provider of its own it uses the one of the thread."""

    provider: str | None = None
    model: str = "gpt-image-2"
    models: tuple[str, ...] | None = None
    expose_parameters: bool = False
    max_references: int = 5
    max_parallel: int = 4
    partial_images: int = 0
    heartbeat_s: float = 5.0
    timeout_s: float = 600.0
    save_dir: str | None = None
    name_template: str = "{thread}/{call}"
    quota_mb: int = 0
    retention_days: int = 0


@frozen
class ServerConfig:
    """The `[server]` table: what clients get."""

    inline_images: Literal["live", "always", "never"] = "live"
    inline_images_max_mb: int = 100
    drain_s: int | None = None
    public_url: str | None = None
    metrics_open: bool = False
    otlp_endpoint: str | None = None


@frozen
class StorageConfig:
    """The `[storage]` table: which engine keeps threads and pictures. The address may hold a password."""

    url: str | None = field(default=None, repr=False)
    blobs: str | None = field(default=None, repr=False)


@frozen
class TenantLimitsConfig:
    """What one tenant may have; 0 is no limit."""

    max_threads: int = 0
    max_running_turns: int = 0
    max_pictures_per_day: int = 0
    max_picture_mb: int = 0
    max_connections: int = 0


@frozen
class TenantsConfig(TenantLimitsConfig):
    """The `[tenants]` table: the limits of every tenant, and those of some by name."""

    limits: Mapping[str, TenantLimitsConfig] = field(default_factory=lambda: MappingProxyType({}))
    """By the name that a login gives; each complete, with the limits of all where it says nothing else."""


@frozen
class Config:
    """All layers in one, checked."""

    model: str | None = None
    model_provider: str = "openai"
    model_reasoning_effort: str | None = None
    model_reasoning_summary: str | None = None
    model_verbosity: str | None = None
    model_context_window: int | None = None
    approval_policy: str | TomlTable = "on-request"
    """`on-request`, `never`, or the reference's table `{granular = {…}}` as it stands."""
    sandbox_mode: str = "read-only"
    chatgpt_base_url: str = "https://chatgpt.com/backend-api"
    openai_base_url: str | None = None
    model_providers: Mapping[str, ProviderConfig] = field(default_factory=lambda: MappingProxyType({}))
    """The user's own providers; a reserved id is never among them."""
    image_generation: ImageGenerationConfig = ImageGenerationConfig()
    server: ServerConfig = ServerConfig()
    storage: StorageConfig = StorageConfig()
    tenants: TenantsConfig = TenantsConfig()
    raw: TomlTable = field(default_factory=lambda: NO_VALUES, repr=False)


RESERVED_PROVIDERS: Mapping[str, ProviderConfig] = MappingProxyType(
    {
        "openai": ProviderConfig(
            id="openai", name="OpenAI", requires_openai_auth=True, image_generation=True, namespace_tools=True
        ),
        "offline": ProviderConfig(
            id="offline", name="Offline (a stand-in, not AI)", image_generation=True, namespace_tools=True
        ),
    }
)
"""Providers that are built in. A table of the user with such an id is ignored with a warning."""

OPENAI_API_KEY = "OPENAI_API_KEY"
OPENAI_BASE_URL = "OPENAI_BASE_URL"
PUBLIC_OPENAI_URL = "https://api.openai.com/v1"


def openai_base_url(config: Config, env: Mapping[str, str], *, chatgpt_login: bool) -> str:
    """OpenAI's address: the setting, else the ChatGPT backend for its login, else $OPENAI_BASE_URL or the public API.

    The variable is not asked for a ChatGPT login: a shell's leftover must not receive the user's tokens.
    """
    if config.openai_base_url:
        url = config.openai_base_url
    elif chatgpt_login:
        url = config.chatgpt_base_url.rstrip("/") + "/codex"
    else:
        url = env.get(OPENAI_BASE_URL, "").strip() or PUBLIC_OPENAI_URL
    return url.rstrip("/")
