"""What one feature flag is: a row of data. Resolution lives next door; nobody asks a row whether it is on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """How far a feature has come; the values are the protocol's `ExperimentalFeatureStage`."""

    UNDER_DEVELOPMENT = "underDevelopment"
    BETA = "beta"
    STABLE = "stable"
    DEPRECATED = "deprecated"
    REMOVED = "removed"
    """Kept so that old settings stay readable: it holds its default whatever they say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """One flag: its key in `[features]`, its stage and default, and the features that it cannot be on without."""

    key: str
    stage: Stage
    default: bool
    title: str = ""
    description: str = ""
    requires: tuple[str, ...] = ()
    owner: str = "app-server"
    """Who brought the row: this server, or the distribution of a third party; named when two rows clash."""
