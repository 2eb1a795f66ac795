"""The catalogue of models: the recorded names and defaults, the limits that older clients set."""

from __future__ import annotations

import pytest

from app_server.extension_api.scopes import ModelFacts
from app_server.providers.catalog import (
    MODELS,
    ModelEntry,
    default_model,
    effective_context_window,
    list_models,
    model_facts,
)


def test_the_visible_models_are_those_of_the_reference_in_its_order() -> None:
    assert [(m.slug, m.display_name, m.default_effort) for m in list_models(False)] == [
        ("gpt-6.1-sol", "GPT-6.1-Sol", "low"),
        ("gpt-6-astra", "GPT-6-Astra", "low"),
        ("gpt-6-sol", "GPT-6-Sol", "medium"),
        ("gpt-6-luna", "GPT-6-Luna", "medium"),
        ("gpt-5.6-sol", "GPT-5.6-Sol", "low"),
        ("gpt-6.1-terra", "GPT-6.1 Terra", "low"),
        ("gpt-5.6-terra", "GPT-5.6-Terra", "medium"),
        ("gpt-5.6-luna", "GPT-5.6-Luna", "medium"),
        ("gpt-5.5", "GPT-5.5", "medium"),
    ]


def test_hidden_models_come_only_when_asked_for() -> None:
    shown = {m.slug for m in list_models(False)}
    assert {m.slug for m in list_models(True)} - shown == {
        "gpt-daybreak-blue-latest",
        "gpt-daybreak-red-latest",
        "codex-auto-review",
        "offline-sketch",
    }


@pytest.mark.parametrize("provider_id", [None, "openai", "offline", "mine"])
def test_exactly_one_model_is_the_default(provider_id: str | None) -> None:
    defaults = [m.slug for m in list_models(False, provider_id=provider_id) if m.is_default]
    assert defaults == [default_model(provider_id)]
    assert default_model(provider_id) == ("offline-sketch" if provider_id == "offline" else "gpt-6.1-sol")


@pytest.mark.parametrize("entry", MODELS, ids=lambda entry: entry.slug)
def test_every_row_offers_only_efforts_that_older_clients_know_and_its_own_default(entry: ModelEntry) -> None:
    efforts = [option.effort for option in entry.efforts]
    assert set(efforts) <= {"none", "minimal", "low", "medium", "high", "xhigh"}
    assert entry.default_effort in efforts
    assert entry.description.endswith(".")


def test_the_slugs_are_unique() -> None:
    assert len({m.slug for m in MODELS}) == len(MODELS)


def test_a_known_model_has_its_facts() -> None:
    facts = model_facts("gpt-5.5")
    assert facts == ModelFacts(
        slug="gpt-5.5", context_window_tokens=272_000, accepts_images=True, default_effort="medium"
    )
    assert effective_context_window(facts) == 258_400


def test_an_unknown_model_is_allowed_and_takes_images() -> None:
    facts = model_facts("house-model")
    assert facts == ModelFacts(slug="house-model", known=False, accepts_images=True)
    assert effective_context_window(facts) is None
