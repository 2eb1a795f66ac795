"""The process's flags while it runs: the start-up layers, what clients switched since, and each thread's own layer.

Owned by `bootstrap`; handlers switch through it, threads ask it anew for every turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from features.resolution import FeatureLayer, FeatureSet, resolve_features
from features.spec import FeatureSpec

RUNTIME_ORIGIN = "runtime enablement"
THREAD_ORIGIN = "thread"
PROJECT_ORIGIN = "project config"
_BELOW_PROJECT = frozenset({"default", "config.toml"})


class RuntimeFeatures:
    """Not thread-safe: used on the event loop only. `layers` are those of the settings, low to high."""

    def __init__(self, specs: Iterable[FeatureSpec], layers: Iterable[FeatureLayer]) -> None:
        self._specs, self._layers = tuple(specs), tuple(layers)
        self._runtime: dict[str, bool] = {}
        self._known: dict[tuple[frozenset[tuple[str, bool]], frozenset[tuple[str, bool]]], FeatureSet] = {}
        resolve_features(self._specs, self._layers)  # a clash of specs must fail now, with both owners

    def current(self) -> FeatureSet:
        """The flags of the process as of now."""
        return resolve_features(self._specs, (*self._layers, self._runtime_layer()))

    def enable(self, values: Mapping[str, bool]) -> None:
        """Switch flags for the running process; counts for every thread from its next turn on."""
        self._runtime.update(values)
        self._known.clear()

    def reload(self, layers: Iterable[FeatureLayer]) -> None:
        """The start-up layers as the settings have them now; what clients switched stays above them."""
        self._layers = tuple(layers)
        self._known.clear()

    def for_thread(self, project: Mapping[str, bool], own: Mapping[str, bool]) -> FeatureSet:
        """The flags of one thread: `project` in the place of the process's project config, `own` above everything."""
        key = (frozenset(project.items()), frozenset(own.items()))
        if (known := self._known.get(key)) is None:
            rest = [layer for layer in self._layers if layer.origin != PROJECT_ORIGIN]
            below = [layer for layer in rest if layer.origin in _BELOW_PROJECT]
            above = [layer for layer in rest if layer.origin not in _BELOW_PROJECT]
            middle = [FeatureLayer(origin=PROJECT_ORIGIN, values=project)] if project else []
            top = [self._runtime_layer(), FeatureLayer(origin=THREAD_ORIGIN, values=own)]
            known = self._known[key] = resolve_features(self._specs, (*below, *middle, *above, *top))
        return known

    def _runtime_layer(self) -> FeatureLayer:
        return FeatureLayer(origin=RUNTIME_ORIGIN, values=dict(self._runtime))
