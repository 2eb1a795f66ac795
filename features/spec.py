"""What one feature flag is: a row of data. Resolution lives next door; nobody asks a row whether it is on.

The rows and what is resolved from them are named tuples, always made with keywords: a process waits for this package at
every start, and a frozen dataclass takes it five times as long to define.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Stage(StrEnum):
    """How far a feature has come; the values are the protocol's `ExperimentalFeatureStage`."""

    UNDER_DEVELOPMENT = "underDevelopment"
    BETA = "beta"
    STABLE = "stable"
    DEPRECATED = "deprecated"
    REMOVED = "removed"
    """Kept so that old settings stay readable: it holds its default whatever they say."""


class FeatureSpec(NamedTuple):
    """One flag: its key in `[features]`, its stage and default, and the features that it cannot be on without."""

    key: str
    stage: Stage
    default: bool
    title: str = ""
    description: str = ""
    requires: tuple[str, ...] = ()
    owner: str = "app-server"
    """Who brought the row: this server, or the distribution of a third party; named when two rows clash."""
