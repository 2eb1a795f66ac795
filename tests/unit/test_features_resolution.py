"""Which features are on, by whose word, and why."""

import pytest

from features import (
    FEATURES,
    FeatureClashError,
    FeatureCycleError,
    FeatureLayer,
    FeatureSpec,
    FeatureState,
    Stage,
    resolve_features,
)
from features.known_elsewhere import KNOWN_ELSEWHERE


def spec(
    key: str, *, default: bool = False, requires: tuple[str, ...] = (), stage: Stage = Stage.STABLE
) -> FeatureSpec:
    return FeatureSpec(key=key, stage=stage, default=default, requires=requires)


def layer(origin: str, **values: bool) -> FeatureLayer:
    return FeatureLayer(origin=origin, values=values)


def test_the_table_starts_with_pictures_on_and_the_standalone_tool_off() -> None:
    rows = {row.key: (row.stage, row.default, row.requires) for row in FEATURES}
    assert rows == {
        "image_generation": (Stage.STABLE, True, ()),
        "imagegenext": (Stage.UNDER_DEVELOPMENT, False, ("image_generation",)),
        "omit_app_server_notification_media": (Stage.UNDER_DEVELOPMENT, False, ()),
        "view_image": (Stage.STABLE, True, ()),
    }


def test_no_key_is_both_ours_and_known_elsewhere() -> None:
    assert {row.key for row in FEATURES} & KNOWN_ELSEWHERE == set()


@pytest.mark.parametrize(
    "key", ["apps", "plugins", "unified_exec", "collab", "guardianv2.thread_context", "remote_models"]
)
def test_keys_of_the_reference_are_silent(key: str) -> None:
    features = resolve_features(FEATURES, [FeatureLayer(origin="config.toml", values={key: True})])
    assert (features.unknown, features.enabled(key)) == ((), False)


def test_a_state_holds_the_spec_the_wish_its_origin_and_the_reason() -> None:
    row = spec("kites")
    features = resolve_features([row], [layer("config.toml", kites=True)])
    assert features.state("kites") == FeatureState(
        spec=row, enabled=True, requested=True, origin="config.toml", reason="enabled by config.toml"
    )


@pytest.mark.parametrize(
    ("default", "layers", "expected"),
    [
        (False, [], (False, "default", "off by default")),
        (True, [], (True, "default", "on by default")),
        (True, [layer("config.toml", kites=False)], (False, "config.toml", "disabled by config.toml")),
        (
            False,
            [layer("config.toml", kites=False), layer("project config", kites=True)],
            (True, "project config", "enabled by project config"),
        ),
        (
            False,
            [layer("command line", kites=True), layer("runtime", kites=False), layer("thread")],
            (False, "runtime", "disabled by runtime"),
        ),
    ],
)
def test_the_highest_layer_that_speaks_wins(
    default: bool, layers: list[FeatureLayer], expected: tuple[bool, str, str]
) -> None:
    state = resolve_features([spec("kites", default=default)], layers).state("kites")
    assert (state.enabled, state.origin, state.reason) == expected


def test_the_kill_switch_turns_off_what_requires_it() -> None:
    features = resolve_features(
        FEATURES, [layer("config.toml", image_generation=False), layer("command line", imagegenext=True)]
    )
    state = features.state("imagegenext")
    assert (state.enabled, state.requested, state.origin, state.reason) == (
        False,
        True,
        "command line",
        "off because image_generation is off (config.toml)",
    )


def test_a_thread_may_lift_the_kill_switch_for_itself() -> None:
    process = resolve_features(FEATURES, [layer("config.toml", image_generation=False, imagegenext=True)])
    thread = process.with_layer(layer("thread", image_generation=True))
    assert (process.enabled("imagegenext"), thread.enabled("imagegenext")) == (False, True)


def test_requirements_are_followed_to_the_one_that_is_off() -> None:
    specs = [
        spec("c", default=True, requires=("b",)),
        spec("b", default=True, requires=("a",)),
        spec("a", default=True),
    ]
    features = resolve_features(specs, [layer("config.toml", a=False)])
    assert features.state("c").reason == "off because a is off (config.toml)"
    assert list(features.states) == ["c", "b", "a"]


def test_a_feature_nobody_asked_for_is_off_by_default_whatever_its_requirement() -> None:
    features = resolve_features(FEATURES, [layer("config.toml", image_generation=False)])
    assert features.state("imagegenext").reason == "off by default"


def test_a_requirement_that_does_not_exist_keeps_the_feature_off() -> None:
    features = resolve_features([spec("kites", default=True, requires=("wind",))])
    assert features.state("kites").reason == "off because wind is no feature of this server"


def test_a_removed_feature_holds_its_default() -> None:
    features = resolve_features([spec("kites", stage=Stage.REMOVED)], [layer("config.toml", kites=True)])
    assert features.state("kites").reason == "off for good: the flag was removed, settings cannot change it"


def test_unknown_keys_come_back_with_their_origin() -> None:
    features = resolve_features(FEATURES, [layer("config.toml", pictuers=True), layer("command line", kites=False)])
    assert features.unknown == (("pictuers", "config.toml"), ("kites", "command line"))
    assert features.enabled("pictuers") is False


def test_the_state_of_an_undeclared_feature_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        resolve_features(FEATURES).state("kites")


def test_a_second_layer_of_one_origin_updates_the_first_in_its_place() -> None:
    features = resolve_features(FEATURES, [layer("runtime", imagegenext=True), layer("thread", image_generation=True)])
    updated = features.with_layer(layer("runtime", image_generation=False))
    assert updated.layers == (
        layer("runtime", imagegenext=True, image_generation=False),
        layer("thread", image_generation=True),
    )
    assert updated.enabled("imagegenext")


def test_two_owners_of_one_key_are_both_named() -> None:
    theirs = FeatureSpec(
        key="image_generation", stage=Stage.BETA, default=False, title="Murals", owner="mural-extension"
    )
    with pytest.raises(FeatureClashError, match="“Image generation” of app-server and “Murals” of mural-extension"):
        resolve_features([*FEATURES, theirs])


def test_the_same_row_twice_is_no_clash() -> None:
    assert list(resolve_features([*FEATURES, *FEATURES]).states) == [row.key for row in FEATURES]


def test_requirements_in_a_circle_are_refused() -> None:
    with pytest.raises(FeatureCycleError, match=r"a → b → a"):
        resolve_features([spec("a", requires=("b",)), spec("b", requires=("a",))])
