"""The flags of a running process: which layer wins for whom, and that a switch counts at once and for all threads."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest

from features import FEATURES, FeatureLayer, FeatureSpec, Stage
from features.resolution import FeatureClashError, FeatureState
from features.runtime import PROJECT_ORIGIN, RUNTIME_ORIGIN, THREAD_ORIGIN, RuntimeFeatures

FLAG = FeatureSpec(key="flag", stage=Stage.BETA, default=False)
NOTHING: Mapping[str, bool] = {}


def layer(origin: str, value: bool | None) -> list[FeatureLayer]:
    return [] if value is None else [FeatureLayer(origin=origin, values={"flag": value})]


def test_the_highest_layer_that_says_something_wins_for_a_thread() -> None:
    order = ("thread", "runtime enablement", "command line", "project config", "config.toml")
    for values in product((None, True, False), repeat=5):
        said = dict(zip(order, values, strict=True))
        runtime = RuntimeFeatures(
            [FLAG], [*layer("config.toml", said["config.toml"]), *layer("command line", said["command line"])]
        )
        if said["runtime enablement"] is not None:
            runtime.enable({"flag": said["runtime enablement"]})
        own = {} if said["thread"] is None else {"flag": said["thread"]}
        project = {} if said["project config"] is None else {"flag": said["project config"]}
        origin = next((name for name in order if said[name] is not None), "default")
        state = runtime.for_thread(project, own).state("flag")
        assert (state.enabled, state.origin) == (bool(said.get(origin)), origin)


def test_a_threads_project_takes_the_place_of_the_processs_own() -> None:
    runtime = RuntimeFeatures([FLAG], [FeatureLayer(origin=PROJECT_ORIGIN, values={"flag": True})])
    assert runtime.current().state("flag").origin == PROJECT_ORIGIN
    assert runtime.for_thread(NOTHING, NOTHING).state("flag") == FeatureState(
        spec=FLAG, enabled=False, requested=False, origin="default", reason="off by default"
    )
    assert runtime.for_thread({"flag": True}, NOTHING).enabled("flag")


def test_a_switch_at_run_time_counts_at_once_for_the_process_and_for_threads_that_asked_before() -> None:
    runtime = RuntimeFeatures([FLAG], [])
    seen = [runtime.for_thread(NOTHING, NOTHING).enabled("flag"), runtime.current().enabled("flag")]
    runtime.enable({"flag": True})
    seen += [runtime.for_thread(NOTHING, NOTHING).enabled("flag"), runtime.current().enabled("flag")]
    runtime.enable({"flag": False})
    seen += [runtime.for_thread(NOTHING, NOTHING).enabled("flag"), runtime.current().enabled("flag")]
    assert seen == [False, False, True, True, False, False]
    assert runtime.current().state("flag").origin == RUNTIME_ORIGIN


def test_switches_add_up_and_unknown_ones_are_named_with_their_origin() -> None:
    runtime = RuntimeFeatures(FEATURES, [])
    runtime.enable({"imagegenext": True})
    runtime.enable({"no_such_feature": True})
    assert runtime.current().enabled("imagegenext")
    assert runtime.current().unknown == (("no_such_feature", RUNTIME_ORIGIN),)


def test_one_threads_layer_is_not_another_threads() -> None:
    runtime = RuntimeFeatures([FLAG], [])
    assert runtime.for_thread(NOTHING, {"flag": True}).state("flag").origin == THREAD_ORIGIN
    assert not runtime.for_thread(NOTHING, NOTHING).enabled("flag")
    assert runtime.for_thread(NOTHING, {"flag": True}).enabled("flag")


def test_the_kill_switch_of_any_layer_stands_above_a_threads_wish_for_the_standalone_tool() -> None:
    runtime = RuntimeFeatures(FEATURES, [FeatureLayer(origin="config.toml", values={"image_generation": False})])
    features = runtime.for_thread(NOTHING, {"imagegenext": True})
    state = features.state("imagegenext")
    assert (features.enabled("image_generation"), state.enabled, state.requested) == (False, False, True)
    assert state.reason == "off because image_generation is off (config.toml)"


def test_two_different_rows_of_one_key_fail_at_the_start_with_both_owners() -> None:
    other = FeatureSpec(key="flag", stage=Stage.STABLE, default=True, title="Another", owner="acme-pictures")
    with pytest.raises(FeatureClashError, match="“flag” of app-server and “Another” of acme-pictures"):
        RuntimeFeatures([FLAG, other], [])


def test_reloaded_layers_count_at_once_below_what_was_switched_at_run_time() -> None:
    other = FeatureSpec(key="other", stage=Stage.BETA, default=False)
    runtime = RuntimeFeatures([FLAG, other], layer("config.toml", False))
    runtime.enable({"other": False})
    assert not runtime.for_thread(NOTHING, NOTHING).enabled("flag")

    runtime.reload([FeatureLayer(origin="config.toml", values={"flag": True, "other": True})])

    assert runtime.current().enabled("flag")
    assert runtime.for_thread(NOTHING, NOTHING).enabled("flag")
    assert not runtime.current().enabled("other")
