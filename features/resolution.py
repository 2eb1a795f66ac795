"""Decides which features are on, and why. Pure: no file, no environment, no clock.

    spec.default  <  config.toml  <  project config  <  command line  <  runtime  <  thread   (the highest layer wins)
                                            │ wanted
                                            ▼
                  every feature named in `requires` is on?  ── no ──►  off, whatever was wanted

Keys that no spec has never fail: they come back in `FeatureSet.unknown`, unless the reference gives them a meaning that
this server does not have (`known_elsewhere.py`), in which case nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from features.known_elsewhere import KNOWN_ELSEWHERE
from features.spec import FeatureSpec, Stage

DEFAULT_ORIGIN = "default"


class FeatureError(ValueError):
    """The specs themselves are wrong: a mistake of whoever wrote them, not of the user."""


class FeatureClashError(FeatureError):
    """Two different specs claim one key."""


class FeatureCycleError(FeatureError):
    """Features require each other in a circle."""


class FeatureLayer(NamedTuple):
    """What one source of settings says, and the name by which that source is shown to people."""

    origin: str
    values: Mapping[str, bool]


class FeatureState(NamedTuple):
    """One feature as it stands: on or off, what was wanted and by whom, and the reason in words."""

    spec: FeatureSpec
    enabled: bool
    requested: bool
    origin: str
    reason: str


class FeatureSet(NamedTuple):
    """The states of all features, in the order of their specs. Built by `resolve_features` and `with_layer` only."""

    states: Mapping[str, FeatureState]
    layers: tuple[FeatureLayer, ...]
    unknown: tuple[tuple[str, str], ...]
    """(key, origin) of each setting that nothing knows, in the order of the layers."""

    def enabled(self, key: str) -> bool:
        """Whether the feature is on; one that nobody declared is never on."""
        state = self.states.get(key)
        return state is not None and state.enabled

    def state(self, key: str) -> FeatureState:
        """The whole state of one feature. Raises `KeyError` where no spec has this key."""
        return self.states[key]

    def with_layer(self, layer: FeatureLayer) -> FeatureSet:
        """The set with one layer more on top; where a layer of this origin exists, it is updated in its place."""
        specs = tuple(state.spec for state in self.states.values())
        return resolve_features(specs, _stacked(self.layers, layer))


def resolve_features(specs: Iterable[FeatureSpec], layers: Sequence[FeatureLayer] = ()) -> FeatureSet:
    """Resolve every spec against the layers, ordered from low to high.

    Raises `FeatureClashError` when two specs share a key and `FeatureCycleError` when requirements form a circle.
    """
    index = index_specs(specs)
    states: dict[str, FeatureState] = {}
    for key in index:
        _resolve(key, index, layers, states, trail=())
    unknown = tuple(
        (key, layer.origin)
        for layer in layers
        for key in layer.values
        if key not in index and key not in KNOWN_ELSEWHERE
    )
    ordered = {key: states[key] for key in index}
    return FeatureSet(states=MappingProxyType(ordered), layers=tuple(layers), unknown=unknown)


def index_specs(specs: Iterable[FeatureSpec]) -> dict[str, FeatureSpec]:
    """The specs by key. The same row twice counts once; two different rows raise `FeatureClashError`."""
    index: dict[str, FeatureSpec] = {}
    for spec in specs:
        other = index.setdefault(spec.key, spec)
        if other != spec:
            message = f"Two features are called {spec.key}: {_label(other)} and {_label(spec)}; rename one of them."
            raise FeatureClashError(message)
    return index


def _resolve(
    key: str,
    index: Mapping[str, FeatureSpec],
    layers: Sequence[FeatureLayer],
    states: dict[str, FeatureState],
    trail: tuple[str, ...],
) -> None:
    """Put the state of one feature into `states`, after those of the features that it requires."""
    if key in states:
        return
    if key in trail:
        circle = " → ".join((*trail[trail.index(key) :], key))
        raise FeatureCycleError(f"Features require each other in a circle ({circle}); drop one requirement.")
    spec = index[key]
    for needed in spec.requires:
        if needed in index:
            _resolve(needed, index, layers, states, (*trail, key))
    states[key] = _state(spec, layers, states)


def _state(spec: FeatureSpec, layers: Sequence[FeatureLayer], states: Mapping[str, FeatureState]) -> FeatureState:
    requested, origin = _requested(spec, layers)
    blocker = next((needed for needed in spec.requires if needed not in states or not states[needed].enabled), None)
    if requested and blocker is not None:
        enabled, reason = False, _blocked(blocker, states)
    elif spec.stage is Stage.REMOVED:
        enabled, reason = requested, f"{_word(requested)} for good: the flag was removed, settings cannot change it"
    elif origin == DEFAULT_ORIGIN:
        enabled, reason = requested, f"{_word(requested)} by default"
    else:
        enabled, reason = requested, f"{'enabled' if requested else 'disabled'} by {origin}"
    return FeatureState(spec=spec, enabled=enabled, requested=requested, origin=origin, reason=reason)


def _requested(spec: FeatureSpec, layers: Sequence[FeatureLayer]) -> tuple[bool, str]:
    for layer in () if spec.stage is Stage.REMOVED else reversed(layers):
        if spec.key in layer.values:
            return layer.values[spec.key], layer.origin
    return spec.default, DEFAULT_ORIGIN


def _blocked(blocker: str, states: Mapping[str, FeatureState]) -> str:
    """Why a wanted feature is off; follows the requirements down to the one that was switched off or is missing."""
    while (state := states.get(blocker)) is not None and state.requested and not state.enabled:
        deeper = (needed for needed in state.spec.requires if needed not in states or not states[needed].enabled)
        if (cause := next(deeper, None)) is None:
            break
        blocker = cause
    if state is None:
        return f"off because {blocker} is no feature of this server"
    return f"off because {blocker} is off ({state.origin})"


def _stacked(layers: tuple[FeatureLayer, ...], layer: FeatureLayer) -> tuple[FeatureLayer, ...]:
    if all(present.origin != layer.origin for present in layers):
        return (*layers, layer)
    return tuple(
        FeatureLayer(origin=present.origin, values={**present.values, **layer.values})
        if present.origin == layer.origin
        else present
        for present in layers
    )


def _label(spec: FeatureSpec) -> str:
    return f"“{spec.title or spec.key}” of {spec.owner}"


def _word(enabled: bool) -> str:
    return "on" if enabled else "off"
