"""The built-in catalogue of models: names, efforts, context windows. A table and pure look-ups; nothing is fetched.

`model/list` shows it, turns ask it for the facts of their model. A model that is not in it may be used all the same and
counts as taking images. Efforts stop at `xhigh` and no row names an upgrade: clients of older releases know no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from app_server.extension_api.scopes import ModelFacts
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.providers.base import Modality

OFFLINE_PROVIDER: Final = "offline"
OFFLINE_MODEL: Final = "offline-sketch"
EFFECTIVE_WINDOW_PERCENT: Final = 95
"""Share of a context window that a conversation may fill; the rest is room for the answer."""


@frozen
class EffortOption:
    """One reasoning effort that a client may offer."""

    effort: str
    description: str


@frozen
class ModelEntry:
    """One row: all that the wire's `Model` says. Its `upgrade` is always null, its service tiers are empty."""

    slug: str
    """Both `id` and `model` of the wire."""
    display_name: str
    description: str
    default_effort: str
    efforts: tuple[EffortOption, ...]
    hidden: bool = False
    is_default: bool = False
    input_modalities: tuple[Modality, ...] = ("text", "image")
    supports_personality: bool = False
    context_window_tokens: int | None = 272_000


_NONE: Final = EffortOption(effort="none", description="No reasoning at all")
_LOW_TO_XHIGH: Final = (
    EffortOption(effort="low", description="Little reasoning, quick answers"),
    EffortOption(effort="medium", description="A balance of speed and depth for most work"),
    EffortOption(effort="high", description="More reasoning for hard problems"),
    EffortOption(effort="xhigh", description="The most reasoning, for the hardest problems"),
)


def _row(
    slug: str,
    display_name: str,
    description: str,
    default_effort: str,
    *,
    hidden: bool = False,
    is_default: bool = False,
) -> ModelEntry:
    return ModelEntry(
        slug=slug,
        display_name=display_name,
        description=description,
        default_effort=default_effort,
        efforts=_LOW_TO_XHIGH,
        hidden=hidden,
        is_default=is_default,
    )


MODELS: Final[tuple[ModelEntry, ...]] = (
    _row("gpt-6.1-sol", "GPT-6.1-Sol", "Newest all-round model for code and daily work.", "low", is_default=True),
    _row("gpt-6-astra", "GPT-6-Astra", "Strongest model, for the most demanding work.", "low"),
    _row("gpt-6-sol", "GPT-6-Sol", "All-round model of the generation before.", "medium"),
    _row("gpt-6-luna", "GPT-6-Luna", "Quick and inexpensive, for easy work.", "medium"),
    _row("gpt-5.6-sol", "GPT-5.6-Sol", "Earlier all-round model.", "low"),
    _row("gpt-6.1-terra", "GPT-6.1 Terra", "Balanced model for code.", "low"),
    _row("gpt-5.6-terra", "GPT-5.6-Terra", "Earlier balanced model for plain work.", "medium"),
    _row("gpt-5.6-luna", "GPT-5.6-Luna", "Earlier quick model.", "medium"),
    _row("gpt-daybreak-blue-latest", "Daybreak Blue", "Special model for defensive security work.", "low", hidden=True),
    _row("gpt-daybreak-red-latest", "Daybreak Red", "Special model for security testing.", "medium", hidden=True),
    _row("gpt-5.5", "GPT-5.5", "Proven coding model of an earlier generation.", "medium"),
    _row("codex-auto-review", "Codex Auto Review", "Judges approval requests.", "medium", hidden=True),
    ModelEntry(
        slug=OFFLINE_MODEL,
        display_name="Offline sketch (not an AI model)",
        description="Stand-in of the offline provider: passes your words to the image tool, without any network.",
        default_effort="none",
        efforts=(_NONE,),
        hidden=True,
    ),
)
"""In the order in which clients show them."""

_BY_SLUG: Final[Mapping[str, ModelEntry]] = MappingProxyType({entry.slug: entry for entry in MODELS})


def model_facts(slug: str) -> ModelFacts:
    """What a turn needs to know of a model, whether the catalogue knows it or not."""
    entry = _BY_SLUG.get(slug)
    if entry is None:
        return ModelFacts(slug=slug, known=False)
    return ModelFacts(
        slug=slug,
        context_window_tokens=entry.context_window_tokens,
        accepts_images="image" in entry.input_modalities,
        default_effort=entry.default_effort,
    )


def effective_context_window(facts: ModelFacts) -> int | None:
    """The wire's `modelContextWindow`: 95 % of the window (272000 → 258400), None when the window is not known."""
    window = facts.context_window_tokens
    return None if window is None else window * EFFECTIVE_WINDOW_PERCENT // 100


def default_model(provider_id: str | None = None) -> str:
    """The model of a thread that names none: the stand-in for the offline provider, else the catalogue's default."""
    return next(entry.slug for entry in list_models(True, provider_id=provider_id) if entry.is_default)


def list_models(include_hidden: bool, *, provider_id: str | None = None) -> tuple[ModelEntry, ...]:
    """The rows that a client is shown. With the offline provider its stand-in comes first, shown and the default."""
    entries = MODELS
    if provider_id == OFFLINE_PROVIDER:
        stand_in = replace(_BY_SLUG[OFFLINE_MODEL], hidden=False, is_default=True)
        entries = (stand_in, *(replace(entry, is_default=False) for entry in MODELS if entry.slug != OFFLINE_MODEL))
    return tuple(entry for entry in entries if include_hidden or not entry.hidden)
