"""Which tools the model sees in this request, which executor each goes to, and for every hidden tool the reason. Pure.

    executors ──exposure(scope)──► visible ──► specs (namespaced, or plain `<ns>__<name>`) + routes
                                └► hidden, with the reason
    hosted image tool: offered iff eligible ∧ ¬(image_gen.imagegen registered ∧ visible in this very plan)

The last line is the whole replacement rule; it goes away together with the hosted tool (see ARCHITECTURE.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from app_server.extension_api.tools import Hidden, ToolExecutor, ToolName, ToolSpec
from app_server.tools.hosted import IMAGE_GENERATION, STANDALONE_IMAGEGEN, hosted_exposure
from app_server.values import frozen

if TYPE_CHECKING:
    from app_server.extension_api.scopes import TurnScope

T = TypeVar("T")
_KILL_SWITCH = "the feature image_generation is off, which no tool can overrule; enable it in [features]"


@frozen
class HiddenTool:
    """A tool that this request does not offer, and why."""

    tool: str
    reason: str


@frozen
class ToolPlan:
    """The plan of one request."""

    specs: tuple[Mapping[str, Any], ...]
    """As the Responses API takes them, in order of registration; hosted tools last."""
    routes: Mapping[ToolName, ToolExecutor]
    """By the name under which the model calls it."""
    hidden: tuple[HiddenTool, ...]
    max_parallel: Mapping[ToolName, int]
    """By the name under which the model calls it; only tools that state a bound."""
    warnings: tuple[str, ...] = ()


def plan_tools(executors: Iterable[ToolExecutor], scope: TurnScope) -> ToolPlan:
    """Plan one request. Two executors of one name: the first wins, with a warning."""
    visible: dict[ToolName, ToolExecutor] = {}
    taken: set[ToolName] = set()  # the names as the model calls them: plain ones may clash where pairs do not
    hidden: list[HiddenTool] = []
    warnings: list[str] = []
    for executor in executors:
        exposure = executor.exposure(scope)
        wire_name = executor.name if scope.provider.namespace_tools else plain_name(executor.name)
        if executor.name == STANDALONE_IMAGEGEN and not scope.features.enabled("image_generation"):
            hidden.append(HiddenTool(tool=str(executor.name), reason=_KILL_SWITCH))
        elif isinstance(exposure, Hidden):
            hidden.append(HiddenTool(tool=str(executor.name), reason=exposure.reason))
        elif wire_name in taken:
            warnings.append(f"Two tools are called {wire_name}; the first one is used, the second is left out.")
        else:
            taken.add(wire_name)
            visible[executor.name] = executor
    described = [executor.spec(scope) for executor in visible.values()]
    specs = _specs(described, scope)
    hosted = hosted_exposure(scope)
    if STANDALONE_IMAGEGEN in visible:
        hidden.append(HiddenTool(tool="image_generation", reason=f"{STANDALONE_IMAGEGEN} takes its place"))
    elif isinstance(hosted, Hidden):
        hidden.append(HiddenTool(tool="image_generation", reason=hosted.reason))
    else:
        specs.append(IMAGE_GENERATION)
    bounds = {spec.name: spec.max_parallel for spec in described if spec.max_parallel}
    plain = not scope.provider.namespace_tools
    return ToolPlan(
        specs=tuple(specs),
        routes=_by_plain_name(visible) if plain else visible,
        hidden=tuple(hidden),
        max_parallel=_by_plain_name(bounds) if plain else bounds,
        warnings=tuple(warnings),
    )


def _by_plain_name(table: Mapping[ToolName, T]) -> dict[ToolName, T]:
    return {plain_name(name): value for name, value in table.items()}


def plain_name(name: ToolName) -> ToolName:
    """The name of a namespaced tool for an API without namespaces."""
    return ToolName(None, f"{name.namespace}__{name.name}") if name.namespace else name


def _specs(described: Iterable[ToolSpec], scope: TurnScope) -> list[Mapping[str, Any]]:
    """Function specs; those of one namespace stand together where its first one stood."""
    out: list[Mapping[str, Any]] = []
    namespaces: dict[str, list[Mapping[str, Any]]] = {}
    for spec in described:
        namespace = spec.name.namespace
        if namespace is None or not scope.provider.namespace_tools:
            out.append(_function(spec, plain_name(spec.name).name))
        elif namespace in namespaces:
            namespaces[namespace].append(_function(spec, spec.name.name))
        else:
            namespaces[namespace] = [_function(spec, spec.name.name)]
            about = spec.namespace_description or f"Tools of {namespace}."
            out.append({"type": "namespace", "name": namespace, "description": about, "tools": namespaces[namespace]})
    return out


def _function(spec: ToolSpec, name: str) -> dict[str, Any]:
    return {
        "type": "function",
        "name": name,
        "description": spec.description,
        "strict": spec.strict,
        "parameters": dict(spec.parameters),
    }
