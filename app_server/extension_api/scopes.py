"""Frozen facts that an extension may look at: who is logged in, which provider and model, which turn.

They are data, taken anew for every turn, so a login, a logout or a feature flag counts from the next turn on.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app_server.values import frozen

if TYPE_CHECKING:
    from features.resolution import FeatureSet


@frozen
class AuthSnapshot:
    """The login at one moment. `mode` is none, apikey, chatgpt or chatgptAuthTokens (the protocol's AuthMode)."""

    mode: str = "none"
    plan: str | None = None
    """ChatGPT plan (`free`, `plus`, `pro` …) as the token claims say; None without a ChatGPT login."""
    email: str | None = None
    account_id: str | None = None

    @property
    def is_chatgpt(self) -> bool:
        """Whether the login uses the ChatGPT backend rather than an API key."""
        return self.mode in ("chatgpt", "chatgptAuthTokens")


@frozen
class ProviderFacts:
    """What a provider's row or table says it can do."""

    id: str
    requires_openai_auth: bool = False
    image_generation: bool = False
    """Whether pictures may be generated through it at all (hosted or standalone)."""
    namespace_tools: bool = False
    """Whether its API takes tools of type `namespace`; else a namespaced tool becomes `<namespace>__<name>`."""
    api_key_pictures: bool = False
    """Whether pictures work with an API key or no login, not only with a ChatGPT login."""
    hosted_tools: bool = True
    """Whether it runs tools itself, inside its answers, such as the hosted image tool."""


@frozen
class ModelFacts:
    """What the catalogue knows of a model; a model unknown to it is allowed and counts as taking images."""

    slug: str
    known: bool = True
    context_window_tokens: int | None = None
    accepts_images: bool = True
    default_effort: str | None = None


@frozen
class TurnScope:
    """What a tool may know of the turn in which it is offered or called."""

    thread_id: str
    turn_id: str
    cwd: Path
    originator: str
    """Name of the client (or the thread's service name): sent upstream as `originator`."""
    features: FeatureSet
    auth: AuthSnapshot
    provider: ProviderFacts
    model: ModelFacts
    picture_provider: ProviderFacts | None = None
    """The provider that `[image_generation] provider` names; None: the turn's own."""
    picture_auth: AuthSnapshot | None = None
    """The login at `picture_provider`."""
    tilde: bool = True
    """Whether `~` in a path is a home of this machine; not for a tenant, who has none here."""
    counted_pictures: bool = False
    """Whether pictures are limited, so that only those may be made that are counted before they are paid for."""
