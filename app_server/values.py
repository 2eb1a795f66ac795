"""Owns `@frozen` and `@slotted`: dataclasses with slots that cost little to define. For data that does not change, and
for the little that does.

The standard library compiles six methods of every such class at import, and there are two hundred of them. Here the
methods that compare, show and guard are shared by all classes, a constructor is compiled only for a class with more
than a few instances, and the standard library looks at a class when it is first asked for it: `field`, `fields`,
`replace` and `asdict` work as ever. Methods that a class writes itself are kept; `__post_init__` is not called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError, field
from operator import attrgetter
from threading import RLock
from typing import Any, NoReturn, TypeVar, dataclass_transform, overload

__all__ = ["field", "frozen", "slotted"]

C = TypeVar("C", bound=type)
_FEW = 20
_ONE_LOOKS = RLock()


@overload
def frozen(cls: C, /) -> C: ...
@overload
def frozen(*, kw_only: bool = True, order: bool = False) -> Callable[[C], C]: ...
@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def frozen(cls: Any = None, /, *, kw_only: bool = True, order: bool = False) -> Any:
    """Make the class a value: frozen, slotted, compared and hashed by its fields. `order`: sorted by them as well."""

    def make(plain: type) -> type:
        return _make(plain, kw_only, _VALUE | _ORDERED if order else _VALUE)

    return make if cls is None else make(cls)


@dataclass_transform(field_specifiers=(field,))
def slotted(*, kw_only: bool = False, eq: bool = True) -> Callable[[C], C]:
    """Make the class one of mutable members in slots. `eq`: compared by them, and not hashable."""

    def make(plain: Any) -> Any:
        return _make(plain, kw_only, _COMPARED if eq else {"__repr__": _repr})

    return make


def _make(plain: type, kw_only: bool, methods: Mapping[str, Any]) -> type:
    """The same class with slots for its fields; all that need not be known of them yet is left for later."""
    annotated, bases = plain.__annotations__, plain.__mro__[1:]
    own, declared = dict(plain.__dict__), dict[str, Any]()
    for base in reversed(bases):
        declared.update(base.__dict__.get("_declared", {}))
    names = [name for name in annotated if name not in declared]
    declared.update({name: own.pop(name, MISSING) for name in annotated})
    for name in ("__dict__", "__weakref__"):
        own.pop(name, None)
    inherited = {name for base in bases for name in base.__dict__.get("__slots__", ())}
    own["__slots__"] = tuple(name for name in names if name not in inherited)
    own["__qualname__"] = plain.__qualname__
    own["__match_args__"] = getattr(plain, "__match_args__", ()) + (() if kw_only else tuple(names))
    own["__dataclass_fields__"] = _FieldsWhenAsked(plain, kw_only)
    own["_declared"] = declared
    own["_few"] = [_FEW]
    own["_content"] = staticmethod(attrgetter(*declared) if declared else _nothing)
    for name, method in methods.items():
        own.setdefault(name, method)
    own["__init__"] = _make_one_of_few
    return type(plain)(plain.__name__, plain.__bases__, own)


class _FieldsWhenAsked:
    """What the standard library knows a dataclass by: it gets the plain class to look at when it first asks."""

    def __init__(self, plain: type, kw_only: bool) -> None:
        self._plain, self._kw_only = plain, kw_only

    def __get__(self, _instance: object, owner: type) -> Any:
        cls: Any = next(base for base in owner.__mro__ if "__dataclass_fields__" in base.__dict__)
        with _ONE_LOOKS:
            if cls.__dict__["__dataclass_fields__"] is self:
                self._plain.__doc__ = self._plain.__doc__ or "-"  # else it writes a signature there, slowly
                look = dataclasses.dataclass(init=False, repr=False, eq=False, kw_only=self._kw_only)
                seen: Any = look(self._plain)
                cls.__dataclass_params__ = seen.__dataclass_params__
                cls.__dataclass_fields__ = seen.__dataclass_fields__
        return cls.__dataclass_fields__


def _make_one_of_few(self: Any, *args: Any, **kwargs: Any) -> None:
    """The constructor of a class with few instances: compiling one takes as long as a hundred calls of this.

    Of a class with many, and for a call that is not plainly right, the compiled one takes its place.
    """
    cls: Any = next(base for base in type(self).__mro__ if base.__dict__.get("__init__") is _make_one_of_few)
    cls._few[0] -= 1
    given = {**dict(zip(cls.__match_args__, args, strict=False)), **kwargs}
    whole = len(given) == len(args) + len(kwargs)
    values = [given.pop(name) if name in given else _default(one) for name, one in cls._declared.items()]
    if cls._few[0] < 0 or not whole or given or any(value is MISSING for value in values):
        cls.__init__ = made = _constructor(cls)
        made(self, *args, **kwargs)
        return
    for name, value in zip(cls._declared, values, strict=True):
        object.__setattr__(self, name, value)


def _default(declared: Any) -> Any:
    """What a field has when nothing is given; MISSING where something must be."""
    if not isinstance(declared, dataclasses.Field):
        return declared
    return declared.default if declared.default_factory is MISSING else declared.default_factory()


def _constructor(cls: Any) -> Callable[..., None]:
    known: dict[str, Any] = {"_new": MISSING}
    positional, keywords, body = ["self"], list[str](), list[str]()
    for name, declared in cls._declared.items():
        known[f"_set_{name}"] = getattr(cls, name).__set__
        parameter = given = name
        if isinstance(declared, dataclasses.Field) and declared.default_factory is not MISSING:
            known[f"_make_{name}"] = declared.default_factory
            parameter, given = f"{name}=_new", f"_make_{name}() if {name} is _new else {name}"
        elif (default := _default(declared)) is not MISSING:
            known[f"_default_{name}"] = default
            parameter = f"{name}=_default_{name}"
        (positional if name in cls.__match_args__ else keywords).append(parameter)
        body.append(f" _set_{name}(self, {given})")
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


_COMPARED: dict[str, Any] = {"__eq__": _eq, "__hash__": None, "__repr__": _repr}
_VALUE: dict[str, Any] = {
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
    "__getstate__": _getstate,
    "__setstate__": _setstate,
}
_ORDERED: dict[str, Any] = {name: _compared(name) for name in ("__lt__", "__le__", "__gt__", "__ge__")}
