"""Methods as rows: `@method("thread/start", ThreadStartParams)` beside the handler; `collect` builds the frozen table.

A handler is `async def thread_start(ctx: RequestContext[Services], params: ThreadStartParams) -> WireModel | dict`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import Any, TypeVar

from pydantic import BaseModel

from app_server.values import frozen

Handler = Callable[[Any, Any], Awaitable[Any]]
H = TypeVar("H", bound=Handler)
_MARK = "__method_spec__"


@frozen
class MethodSpec:
    """One method of the protocol as this server does it. `params` None: the method takes none (null is accepted)."""

    name: str
    params: type[BaseModel] | None
    handler: Handler


def method(name: str, params: type[BaseModel] | None = None) -> Callable[[H], H]:
    """Mark a handler as the implementation of a method."""

    def mark(handler: H) -> H:
        setattr(handler, _MARK, MethodSpec(name=name, params=params, handler=handler))
        return handler

    return mark


def collect(modules: Iterable[ModuleType]) -> Mapping[str, MethodSpec]:
    """The frozen table of all marked handlers. Two handlers for one method stop the start-up, with both names."""
    table: dict[str, MethodSpec] = {}
    for module in modules:
        for value in vars(module).values():
            spec: MethodSpec | None = getattr(value, _MARK, None)
            if spec is None or getattr(value, "__module__", None) != module.__name__:
                continue
            if spec.name in table:
                other = table[spec.name].handler
                raise RuntimeError(
                    f"Method {spec.name} has two handlers: {other.__module__}.{other.__qualname__} and "
                    f"{module.__name__}.{spec.handler.__qualname__}; remove one."
                )
            table[spec.name] = spec
    return MappingProxyType(table)
