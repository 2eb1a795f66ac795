"""The extension itself: a manifest, read before features are resolved, and a closed set of contributions.

An extension module (built in, or found by the entry-point group `app_server.extensions`) has one public name,
`EXTENSION`, of type Extension. The host loads it by name, never imports it; see `app_server/extension_host.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from app_server.values import field, frozen

if TYPE_CHECKING:
    from app_server.extension_api.services import ExtensionServices
    from app_server.extension_api.tools import ToolExecutor, ToolName
    from features.spec import FeatureSpec


@frozen
class Contributions:
    """All that an extension may add. Closed: a new kind of contribution is a new field here."""

    tools: tuple[ToolExecutor, ...] = ()


@frozen
class Extension:
    """One extension. `feature` is the gate: its key must be enabled for the extension to be loaded.

    feature_specs: flags that the extension brings itself (third parties); built-in ones are rows of `features/`.
    build: called once, when the gate first opens, with the host's services.
    """

    key: str
    title: str
    feature: str
    build: Callable[[ExtensionServices], Contributions]
    feature_specs: tuple[FeatureSpec, ...] = ()


@frozen
class ExtensionState:
    """One row of `app-server extensions list`: whether it is loaded, from where, and the reason if not."""

    key: str
    title: str
    feature: str
    origin: str
    """`built-in`, or the distribution that brought it."""
    loaded: bool
    reason: str


@frozen
class ExtensionRegistry:
    """The frozen sum of all loaded extensions. First of two equal tool names wins; the loser stands in `warnings`."""

    tools: Mapping[ToolName, ToolExecutor] = field(default_factory=dict)
    states: tuple[ExtensionState, ...] = ()
    warnings: tuple[str, ...] = ()
