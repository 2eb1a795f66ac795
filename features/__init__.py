"""Feature flags: what they are, what is on, and why. Everybody may import this package; it imports nothing of ours."""

from features.registry import FEATURES
from features.resolution import (
    FeatureClashError,
    FeatureCycleError,
    FeatureError,
    FeatureLayer,
    FeatureSet,
    FeatureState,
    resolve_features,
)
from features.spec import FeatureSpec, Stage

__all__ = [
    "FEATURES",
    "FeatureClashError",
    "FeatureCycleError",
    "FeatureError",
    "FeatureLayer",
    "FeatureSet",
    "FeatureSpec",
    "FeatureState",
    "Stage",
    "resolve_features",
]
