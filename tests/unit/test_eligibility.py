"""Who may have pictures at all: the gates in their order, each with a sentence that says what would open it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app_server.extension_api import AuthSnapshot, Hidden, ModelFacts, ProviderFacts, Visible
from app_server.extension_api.eligibility import picture_eligibility
from features import FEATURES, FeatureLayer, resolve_features
from tests.support.image_fakes import image_scope

KILLED = resolve_features(FEATURES, [FeatureLayer(origin="command line", values={"image_generation": False})])
OPENAI = ProviderFacts(id="openai", requires_openai_auth=True, image_generation=True, api_key_pictures=True)
CHATGPT_ONLY = replace(OPENAI, id="acme", api_key_pictures=False)
FREE_OF_LOGIN = ProviderFacts(id="offline", image_generation=True)
NO_PICTURES = ProviderFacts(id="bare")
TEXT_ONLY = ModelFacts(slug="text-only", accepts_images=False)


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"auth": AuthSnapshot(mode="chatgpt")},
        {"auth": AuthSnapshot(mode="chatgpt", plan="pro")},
        {"auth": AuthSnapshot(mode="chatgptAuthTokens", plan="some-plan-of-tomorrow")},
        {"auth": AuthSnapshot(mode="apikey"), "provider": OPENAI},
        {"auth": AuthSnapshot(), "provider": FREE_OF_LOGIN},
        {"auth": AuthSnapshot(mode="chatgpt", plan="free"), "provider": FREE_OF_LOGIN},
        {"model": ModelFacts(slug="unheard-of", known=False)},
    ],
)
def test_pictures_are_there_when_all_gates_are_open(scope: dict[str, Any]) -> None:
    assert picture_eligibility(image_scope(**scope)) == Visible()


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        (
            {"features": KILLED},
            "the feature image_generation is disabled by command line; enable it in [features]",
        ),
        (
            {"features": resolve_features([])},
            "the feature image_generation is unknown to this server; enable it in [features]",
        ),
        (
            {"provider": NO_PICTURES},
            "the provider bare does not generate pictures; set image_generation = true in "
            "[model_providers.bare] if it does",
        ),
        (
            {"auth": AuthSnapshot(mode="chatgpt", plan="free"), "provider": OPENAI},
            "the ChatGPT Free plan has no image generation; use a paid plan or an API key",
        ),
        (
            {"auth": AuthSnapshot(), "provider": OPENAI},
            "nobody is logged in; log in, or set OPENAI_API_KEY",
        ),
        (
            {"auth": AuthSnapshot(mode="apikey"), "provider": CHATGPT_ONLY},
            "the provider acme generates pictures for ChatGPT logins only; log in with ChatGPT",
        ),
        ({"model": TEXT_ONLY}, "the model text-only takes no images; choose one that does"),
    ],
)
def test_a_closed_gate_says_what_would_open_it(scope: dict[str, Any], reason: str) -> None:
    assert picture_eligibility(image_scope(**scope)) == Hidden(reason)


def test_the_first_closed_gate_gives_the_reason() -> None:
    closed: dict[str, Any] = {
        "features": KILLED,
        "provider": replace(OPENAI, image_generation=False),
        "auth": AuthSnapshot(),
        "model": TEXT_ONLY,
    }
    opened: dict[str, Any] = {}
    words = []
    for gate, value in (
        ("features", image_scope().features),
        ("provider", OPENAI),
        ("auth", AuthSnapshot(mode="apikey")),
        ("model", image_scope().model),
    ):
        exposure = picture_eligibility(image_scope(**{**closed, **opened}))
        assert isinstance(exposure, Hidden)
        words.append(exposure.reason.split()[:2])
        opened[gate] = value
    assert words == [["the", "feature"], ["the", "provider"], ["nobody", "is"], ["the", "model"]]
    assert picture_eligibility(image_scope(**{**closed, **opened})) == Visible()
