"""Methods as rows: `@method("thread/start", ThreadStartParams)` beside the handler; `Registry` finds them by name.

A handler is `async def thread_start(ctx: RequestContext[Services], params: ThreadStartParams) -> WireModel | dict`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from app_server.values import frozen

if TYPE_CHECKING:
    from pydantic import BaseModel

Handler = Callable[[Any, Any], Any]
"""(context, params) → the result, or a coroutine that ends with it."""
H = TypeVar("H", bound=Handler)
_MARK = "__method_spec__"


@frozen
class MethodSpec:
    """One method of the protocol as this server does it. `params` None: the method takes none (null is accepted)."""

    name: str
    params: type[BaseModel] | str | None
    """The model, or its name as `family.Model`: then it is loaded when it is first needed."""
    handler: Handler

    @property
    def model(self) -> type[BaseModel] | None:
        """The model of the params."""
        if not isinstance(self.params, str):
            return self.params
        family, _, name = self.params.partition(".")
        model: type[BaseModel] = getattr(import_module(f"app_server.protocol.{family}"), name)
        return model


def method(name: str, params: type[BaseModel] | str | None = None) -> Callable[[H], H]:
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


class Registry(Mapping[str, MethodSpec]):
    """All methods by name. A family is imported when one of its methods is first asked for: its models cost time."""

    def __init__(self, families: Mapping[str, Sequence[str]], load: Callable[[str], ModuleType]) -> None:
        """`families`: the names of the methods that each module has. `load` imports a family."""
        self._families, self._load = families, load
        self._family_of = {name: family for family, names in families.items() for name in names}
        self._specs: dict[str, MethodSpec] = {}

    def __getitem__(self, name: str) -> MethodSpec:
        if name not in self._specs:
            self._specs.update(collect([self._load(self._family_of[name])]))
        return self._specs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._family_of)

    def __len__(self) -> int:
        return len(self._family_of)

    def __contains__(self, name: object) -> bool:
        return name in self._family_of
