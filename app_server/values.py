"""Owns `@frozen`: a frozen dataclass with slots that costs little to define. For all data that does not change.

The standard library compiles six methods of every such class at import and makes the class twice: fourteen times what
this takes, and there are two hundred of them. Here the methods that compare, show and guard are shared by all classes,
and a constructor is compiled when the first instance is made. All else is the standard library's: `field`, `fields`,
`replace` and `asdict` work as ever. Methods that a class writes itself are kept; `__post_init__` is not called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

__all__ = ["field", "frozen"]

C = TypeVar("C", bound=type)


@overload
def frozen(cls: C, /) -> C: ...
@overload
def frozen(*, kw_only: bool = True, order: bool = False) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, kw_only: bool = True, order: bool = False) -> Any:
    """Make the class a value: frozen, slotted, compared and hashed by its fields. `order`: sorted by them as well."""

    def make(plain: type) -> type:
        return _make(plain, kw_only, order)

    return make if cls is None else make(cls)


def _make(plain: type, kw_only: bool, order: bool) -> type:
    if plain.__doc__ is None:
        plain.__doc__ = ""  # else the standard library writes a signature there, slowly
    dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(plain)
    own = dict(plain.__dict__)
    inherited = {name for base in plain.__mro__[1:] for name in base.__dict__.get("__slots__", ())}
    names = [one.name for one in dataclasses.fields(plain)]
    for name in ("__dict__", "__weakref__", *names):
        own.pop(name, None)
    own["__slots__"] = tuple(name for name in names if name not in inherited)
    own["__qualname__"] = plain.__qualname__
    own["_content"] = staticmethod(attrgetter(*names) if names else _nothing)
    for name, method in (_SHARED | _ORDERED if order else _SHARED).items():
        own.setdefault(name, method)
    own["__init__"] = _compile_and_call
    return type(plain)(plain.__name__, plain.__bases__, own)


def _compile_and_call(self: Any, *args: Any, **kwargs: Any) -> None:
    """The constructor of a class without an instance: makes the real one, which takes its place."""
    cls = next(base for base in type(self).__mro__ if base.__dict__.get("__init__") is _compile_and_call)
    made = _constructor(cls)
    setattr(cls, "__init__", made)  # noqa: B010 - a plain assignment is an error to mypy
    made(self, *args, **kwargs)


def _constructor(cls: Any) -> Callable[..., None]:
    known: dict[str, Any] = {"_new": dataclasses.MISSING}
    positional, keywords, body = ["self"], list[str](), list[str]()
    for one in dataclasses.fields(cls):
        known[f"_set_{one.name}"] = getattr(cls, one.name).__set__
        given = one.name
        if one.default_factory is not dataclasses.MISSING:
            known[f"_make_{one.name}"] = one.default_factory
            given = f"_make_{one.name}() if {one.name} is _new else {one.name}"
            parameter = f"{one.name}=_new"
        elif one.default is not dataclasses.MISSING:
            known[f"_default_{one.name}"] = one.default
            parameter = f"{one.name}=_default_{one.name}"
        else:
            parameter = one.name
        (keywords if one.kw_only else positional).append(parameter)
        body.append(f" _set_{one.name}(self, {given})")
    head = ", ".join([*positional, *(["*", *keywords] if keywords else [])])
    exec(f"def __init__({head}):\n" + ("\n".join(body) or " pass"), known)
    made: Callable[..., None] = known["__init__"]
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _nothing(_self: object) -> tuple[()]:
    return ()


def _eq(self: Any, other: Any) -> Any:
    return self._content(self) == self._content(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(self._content(self))


def _repr(self: Any) -> str:
    shown = [f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _setattr(self: Any, name: str, _value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _getstate(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _setstate(self: Any, state: list[Any]) -> None:
    for one, content in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, one.name, content)


def _compared(name: str) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return getattr(self._content(self), name)(self._content(other))

    return compare


_SHARED: dict[str, Any] = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
_ORDERED: dict[str, Any] = {name: _compared(name) for name in ("__lt__", "__le__", "__gt__", "__ge__")}
