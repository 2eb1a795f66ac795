"""The providers by name: the built-in rows, and one for each `[model_providers.<id>]` table of the config.

It turns settings into providers and says what each can do with pictures. Addresses, headers and logins are looked up at
every request, so a login or a changed variable counts at once. `bootstrap` builds one registry; turns ask it by id.

    id                                    pictures                      namespace tools
    offline                               yes, without any login        yes
    openai                                yes, ChatGPT login or key     yes
    a table with requires_openai_auth     like openai, unless it says   like openai, unless it says
    any other table                       only image_generation = true  only namespace_tools = true
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from app_server.config.schema import OPENAI_API_KEY, RESERVED_PROVIDERS, Config, ProviderConfig, openai_base_url
from app_server.errors import ConfigurationError
from app_server.providers.base import USER_AGENT, Credentials, ModelProvider, ProviderFacts, RateLimits
from app_server.values import field, frozen

if TYPE_CHECKING:
    import httpx

    from app_server.clock import Clock
    from app_server.providers.chatgpt_backend import ChatgptBackend


@frozen
class ProviderWiring:
    """What providers need of the rest of the server."""

    client: Callable[[], httpx.AsyncClient]
    credentials: Callable[[ProviderConfig], Credentials]
    """The login of one provider; without a key its headers are empty."""
    chatgpt_login: Callable[[], bool]
    """Whether the OpenAI login of this moment is ChatGPT's."""
    env: Mapping[str, str] = field(repr=False)
    heard_limits: Callable[[RateLimits], None] = lambda limits: None
    """Told the limits of every answer of every provider."""
    user_agent: str = USER_AGENT
    clock: Clock | None = None


@frozen
class HttpAccess:
    """How to reach a provider's HTTP API at this moment, for a caller that sends a request of its own."""

    base_url: str
    """Without a slash at its end."""
    headers: Mapping[str, str] = field(repr=False)
    """The login's and the provider's own, which win; names in lower case."""
    query_params: Mapping[str, str] = field(repr=False)
    request_max_retries: int


class ProviderRegistry:
    """All providers of one config, made when they are first asked for and kept."""

    def __init__(self, config: Config, wiring: ProviderWiring) -> None:
        self._config, self._wiring = config, wiring
        self._tables: Mapping[str, ProviderConfig] = MappingProxyType({**config.model_providers, **RESERVED_PROVIDERS})
        self._made: dict[str, ModelProvider] = {}

    def reload(self, config: Config) -> None:
        """Follow changed settings: every provider is made anew when it is next asked for; running streams go on."""
        self._config = config
        self._tables = MappingProxyType({**config.model_providers, **RESERVED_PROVIDERS})
        self._made = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that may be asked for, sorted."""
        return tuple(sorted(self._tables))

    def provider(self, provider_id: str) -> ModelProvider:
        """The provider of this id. Raises ConfigurationError with the known ids and the table to write."""
        made = self._made.get(provider_id)
        if made is None:
            table = self.table(provider_id)
            make = _BUILDERS.get(provider_id, _responses_provider)
            made = self._made[provider_id] = make(table, self._config, self._wiring)
        return made

    def table(self, provider_id: str) -> ProviderConfig:
        """The settings of this id. Raises ConfigurationError like `provider`."""
        table = self._tables.get(provider_id)
        if table is None:
            known = ", ".join(f'"{known_id}"' for known_id in self.ids)
            raise ConfigurationError(
                f'There is no model provider "{provider_id}" (known are {known}); use one of these, or add a table '
                f"[model_providers.{provider_id}] with base_url and env_key to config.toml."
            )
        return table

    def http_access(self, provider_id: str) -> HttpAccess | None:
        """Address and headers as of now, None for a provider without network. Raises ConfigurationError."""
        table = self.table(provider_id)
        if provider_id in _WITHOUT_NETWORK:
            return None
        login, own = self._wiring.credentials(table).headers(), own_headers(table, self._wiring.env)
        return HttpAccess(
            base_url=base_url(table, self._config, self._wiring).rstrip("/"),
            headers={name.lower(): value for name, value in (*login.items(), *own.items())},
            query_params=table.query_params,
            request_max_retries=table.request_max_retries,
        )

    def chatgpt_backend(self) -> ChatgptBackend:
        """The service behind a ChatGPT login, whatever the provider of threads is."""
        from app_server.providers.chatgpt_backend import ChatgptBackend  # loads httpx

        login, wiring = self._wiring.credentials(RESERVED_PROVIDERS["openai"]), self._wiring
        return ChatgptBackend(self._config.chatgpt_base_url, login, wiring.client, wiring.user_agent)


def provider_facts(table: ProviderConfig) -> ProviderFacts:
    """What a table says its provider can do; see the module's table."""
    pictures = _unless_said(table.image_generation, table.requires_openai_auth)
    return ProviderFacts(
        id=table.id,
        requires_openai_auth=table.requires_openai_auth,
        image_generation=pictures,
        namespace_tools=_unless_said(table.namespace_tools, table.requires_openai_auth),
        api_key_pictures=pictures,
        hosted_tools=table.id not in _WITHOUT_NETWORK,
    )


def base_url(table: ProviderConfig, config: Config, wiring: ProviderWiring) -> str:
    """The address of this moment: the table's, else OpenAI's own for the login at hand. Raises ConfigurationError."""
    if table.base_url:
        return table.base_url
    if table.requires_openai_auth:
        return openai_base_url(config, wiring.env, chatgpt_login=wiring.chatgpt_login())
    raise ConfigurationError(
        f'Model provider "{table.id}" has no address; set base_url in [model_providers.{table.id}] of config.toml.'
    )


def own_headers(table: ProviderConfig, env: Mapping[str, str]) -> dict[str, str]:
    """`http_headers`, and `env_http_headers` whose variables are set."""
    from_env = {name: env[variable] for name, variable in table.env_http_headers.items() if env.get(variable)}
    return {**table.http_headers, **from_env}


def login_hint(table: ProviderConfig, *, chatgpt_login: bool) -> str:
    """Which key or login this provider uses and where it is set: the end of "check …"."""
    here = f"[model_providers.{table.id}]"
    if table.env_key:
        return f"the key in the environment variable {table.env_key}"
    if table.experimental_bearer_token:
        return f"experimental_bearer_token in {here} of config.toml"
    if table.requires_openai_auth and chatgpt_login:
        return "the ChatGPT login, which may have ended: log in again"
    if table.requires_openai_auth and table.id != "openai":
        return "the login: log in with account/login/start"
    if table.requires_openai_auth:
        return f"the API key of the login (account/login/start) or in the environment variable {OPENAI_API_KEY}"
    return f"the key of this provider: name its environment variable as env_key in {here} of config.toml"


def _unless_said(said: bool | None, otherwise: bool) -> bool:
    return otherwise if said is None else said


def _responses_provider(table: ProviderConfig, config: Config, wiring: ProviderWiring) -> ModelProvider:
    from app_server.providers.responses_api import ResponsesProvider, ResponsesSettings  # loads httpx

    settings = ResponsesSettings(
        base_url=lambda: base_url(table, config, wiring),
        headers=lambda: own_headers(table, wiring.env),
        query_params=table.query_params,
        request_max_retries=table.request_max_retries,
        stream_max_retries=table.stream_max_retries,
        stream_idle_timeout_s=table.stream_idle_timeout_ms / 1000,
        stream_max_mb=table.stream_max_mb,
        login_hint=lambda: login_hint(table, chatgpt_login=wiring.chatgpt_login()),
        user_agent=wiring.user_agent,
        heard_limits=wiring.heard_limits,
    )
    return ResponsesProvider(provider_facts(table), settings, wiring.credentials(table), wiring.client, wiring.clock)


def _offline_provider(table: ProviderConfig, config: Config, wiring: ProviderWiring) -> ModelProvider:
    from app_server.providers.offline import OfflineProvider  # of no use to most

    return OfflineProvider(provider_facts(table))


_WITHOUT_NETWORK: Final = frozenset({"offline"})
_BUILDERS: Final[Mapping[str, Callable[[ProviderConfig, Config, ProviderWiring], ModelProvider]]] = MappingProxyType(
    {"openai": _responses_provider, "offline": _offline_provider}
)
"""One row for each built-in provider; a table of the user speaks the Responses API."""
