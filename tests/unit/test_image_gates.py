"""When `image_gen.imagegen` is offered: the full matrix, and the reason of the first gate that says no."""

from __future__ import annotations

from itertools import product

import pytest

from app_server.extension_api import AuthSnapshot, Hidden, ModelFacts, ProviderFacts, Visible
from extensions.image_generation.gates import image_generation_gate
from features import FEATURES, FeatureLayer, FeatureSet, resolve_features
from tests.support.image_fakes import image_scope

AUTHS = {
    "none": AuthSnapshot(),
    "apikey": AuthSnapshot(mode="apikey"),
    "plus": AuthSnapshot(mode="chatgpt", plan="plus"),
    "free": AuthSnapshot(mode="chatgpt", plan="free"),
    "tokens": AuthSnapshot(mode="chatgptAuthTokens", plan="pro"),
    "no plan": AuthSnapshot(mode="chatgpt"),
}


def flags(**values: bool) -> FeatureSet:
    return resolve_features(FEATURES, [FeatureLayer(origin="config.toml", values=values)])


def expected_gate(kill: bool, flag: bool, able: bool, needs: bool, keys: bool, auth: str, images: bool) -> str | None:
    """The table: the first gate that is closed, or None."""
    if not kill:
        return "image_generation is"
    if not flag:
        return "imagegenext is"
    if not able:
        return "image_generation = true"
    if needs and auth == "free":
        return "Free plan"
    if needs and auth == "none":
        return "OPENAI_API_KEY"
    if needs and auth == "apikey" and not keys:
        return "log in with ChatGPT"
    return None if images else "takes no images"


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize(("kill", "flag", "able"), list(product((True, False), repeat=3)))
def test_the_tool_is_offered_exactly_when_every_gate_is_open(kill: bool, flag: bool, able: bool, auth: str) -> None:
    for needs, keys, namespaces, images in product((True, False), repeat=4):
        scope = image_scope(
            features=flags(image_generation=kill, imagegenext=flag),
            auth=AUTHS[auth],
            provider=ProviderFacts(
                id="acme",
                requires_openai_auth=needs,
                image_generation=able,
                namespace_tools=namespaces,
                api_key_pictures=keys,
            ),
            model=ModelFacts(slug="some-model", accepts_images=images),
        )
        closed = expected_gate(kill, flag, able, needs, keys, auth, images)
        exposure = image_generation_gate(scope)
        if closed is None:
            assert exposure == Visible()
        else:
            assert isinstance(exposure, Hidden)
            assert closed in exposure.reason


def test_the_flag_is_off_by_default_and_the_reason_says_how_to_turn_it_on() -> None:
    assert image_generation_gate(image_scope(features=flags())) == Hidden(
        "the feature imagegenext is off by default; turn it on with --enable imagegenext or under [features]"
    )


def test_a_thread_may_turn_the_tool_on_and_off_for_itself() -> None:
    on = flags().with_layer(FeatureLayer(origin="thread", values={"imagegenext": True}))
    off = on.with_layer(FeatureLayer(origin="thread", values={"image_generation": False}))
    assert image_generation_gate(image_scope(features=on)) == Visible()
    assert isinstance(image_generation_gate(image_scope(features=off)), Hidden)
