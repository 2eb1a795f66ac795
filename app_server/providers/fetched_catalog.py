"""The models of a ChatGPT login: `GET {base_url}/models`, merged with the built-in catalogue. `model/list` shows them.

Asked only where the provider is signed with a ChatGPT login. An answer counts for five minutes; where there is none in
two seconds, or it cannot be read, the built-in catalogue stands alone, and the next attempt waits a minute. What was
once told of a model counts for turns until something newer is: nothing is fetched for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import anyio
import orjson

from app_server.errors import AppServerError
from app_server.net_answers import HttpFailure, read_capped
from app_server.observability.logging import get_logger
from app_server.providers.catalog import EffortOption, ModelEntry, default_model, model_facts
from app_server.values import frozen
from app_server.version import PROTOCOL_VERSION

if TYPE_CHECKING:
    import httpx

    from app_server.clock import Clock
    from app_server.config.schema import ProviderConfig
    from app_server.extension_api.scopes import ModelFacts
    from app_server.providers.base import Modality
    from app_server.providers.registry import HttpAccess, ProviderRegistry

TIMEOUT_S: Final = 2.0
KEPT_S: Final = 300.0
RETRY_S: Final = 60.0
_MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
_EFFORTS: Final = frozenset({"none", "minimal", "low", "medium", "high", "xhigh"})
"""Those that clients of older releases know."""
_MODALITIES: Final[tuple[Modality, ...]] = ("text", "image")
log = get_logger("providers")


class ChatgptTokens(Protocol):
    """Tells whether a provider is signed with a ChatGPT login. `auth.manager.AuthManager` has this shape."""

    def tokens(self, provider: ProviderConfig | None = None) -> Any | None:
        """None for a provider that is not."""
        ...


@frozen
class _Kept:
    entries: tuple[ModelEntry, ...]
    until_s: float


class FetchedModels:
    """One per process. What was fetched for one account is not shown for another."""

    def __init__(
        self,
        providers: ProviderRegistry,
        logins: ChatgptTokens,
        client: Callable[[], httpx.AsyncClient],
        clock: Clock,
    ) -> None:
        self._providers, self._logins, self._client, self._clock = providers, logins, client, clock
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._told: dict[str, Mapping[str, ModelEntry]] = {}

    def known(self, provider_id: str) -> tuple[ModelEntry, ...] | None:
        """The provider's own rows, in its order; none where it is not asked. None: it has to be asked, by `entries`."""
        access = self._access(provider_id)
        if access is None:
            return ()
        kept = self._kept.get(_account(access))
        return None if kept is None or kept.until_s <= self._clock.monotonic_s() else kept.entries

    async def entries(self, provider_id: str) -> tuple[ModelEntry, ...]:
        """The same, asked where it has to be; none where it does not answer. Takes TIMEOUT_S."""
        kept, access = self.known(provider_id), self._access(provider_id)
        if kept is not None or access is None:
            return kept or ()
        entries = await self._fetch(access)
        if entries:
            self._told[provider_id] = {entry.slug: entry for entry in entries}
        until_s = self._clock.monotonic_s() + (RETRY_S if entries is None else KEPT_S)
        self._kept[_account(access)] = _Kept(entries=entries or (), until_s=until_s)
        return entries or ()

    def _access(self, provider_id: str) -> HttpAccess | None:
        """How the provider is asked; None for one that is not."""
        if provider_id not in self._providers.ids or self._logins.tokens(self._providers.table(provider_id)) is None:
            return None
        try:
            return self._providers.http_access(provider_id)
        except AppServerError:
            return None  # the login cannot be used; the turn will say why

    def facts(self, provider_id: str, slug: str) -> ModelFacts:
        """What a turn needs to know of a model: the provider's own words where it has told any, else the built-in."""
        builtin, told = model_facts(slug), self._told.get(provider_id, {}).get(slug)
        if told is None:
            return builtin
        return replace(
            builtin,
            known=True,
            context_window_tokens=told.context_window_tokens or builtin.context_window_tokens,
            accepts_images="image" in told.input_modalities,
            default_effort=told.default_effort if told.efforts else builtin.default_effort,
        )

    async def _fetch(self, access: HttpAccess) -> tuple[ModelEntry, ...] | None:
        """None: no answer that counts."""
        import httpx  # slow to load, and most never ask

        query = {**access.query_params, "client_version": PROTOCOL_VERSION}
        with anyio.move_on_after(TIMEOUT_S):
            try:
                async with self._client().stream(
                    "GET", f"{access.base_url}/models", params=query, headers=dict(access.headers)
                ) as response:
                    if response.status_code == httpx.codes.NOT_FOUND:
                        return ()
                    body = await read_capped(response, _MAX_ANSWER_BYTES, access.base_url)
                    if response.is_success:
                        return read_models(body)
                    log.info("models_not_fetched", status=response.status_code)
            except (httpx.HTTPError, httpx.InvalidURL, HttpFailure) as error:
                log.info("models_not_fetched", cause=type(error).__name__)
            return None
        log.info("models_not_fetched", cause="no answer in time")
        return None


def _account(access: HttpAccess) -> tuple[str, str]:
    return access.base_url, access.headers.get("chatgpt-account-id", "")


def read_models(body: bytes) -> tuple[ModelEntry, ...] | None:
    """The rows of an answer by their priority, without those that cannot be read; None: it is no catalogue."""
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    rows = content.get("models") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        return None
    usable = [row for row in rows if isinstance(row, dict) and isinstance(row.get("slug"), str) and row["slug"]]
    return tuple(map(_entry, sorted(usable, key=_priority)))


def merged(fetched: Iterable[ModelEntry], builtin: Iterable[ModelEntry]) -> tuple[ModelEntry, ...]:
    """The fetched rows, then the built-in ones that they do not name. The default stays the one that threads get."""
    fetched = tuple(fetched)
    named = {entry.slug for entry in fetched}
    fallback = default_model()
    own = tuple(replace(entry, is_default=entry.slug == fallback) for entry in fetched)
    return (*own, *(entry for entry in builtin if entry.slug not in named))


def _priority(row: Mapping[str, Any]) -> float:
    priority = row.get("priority")
    return priority if isinstance(priority, int | float) else float("inf")


def _entry(row: Mapping[str, Any]) -> ModelEntry:
    levels = row.get("supported_reasoning_levels")
    efforts = tuple(
        EffortOption(effort=level["effort"], description=_text(level.get("description")))
        for level in (levels if isinstance(levels, list) else ())
        if isinstance(level, dict) and level.get("effort") in _EFFORTS
    )
    wanted = row.get("default_reasoning_level")
    first = efforts[0].effort if efforts else "none"
    modalities = row.get("input_modalities")
    window = row.get("context_window")
    return ModelEntry(
        slug=row["slug"],
        display_name=_text(row.get("display_name")) or row["slug"],
        description=_text(row.get("description")),
        default_effort=wanted if wanted in {option.effort for option in efforts} else first,
        efforts=efforts,
        hidden=row.get("visibility", "list") != "list",
        input_modalities=tuple(one for one in _MODALITIES if one in modalities)
        if isinstance(modalities, list)
        else _MODALITIES,
        context_window_tokens=window if type(window) is int and window > 0 else None,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
