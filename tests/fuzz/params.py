"""Params from the models: good ones, good ones with a few things broken, and JSON that has nothing to do with them.

A model says by its JSON schema what fits; a strategy is made of that schema. A new method is so fuzzed from its first
day. `frames.py` calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from tests.fuzz.values import any_json, floats, named_texts, small_json

Schema = Mapping[str, Any]
Step = int | str
MAX_BREAKS = 3


@cache
def fitting(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Params that the model takes, or nearly: rules that its schema cannot tell may be broken."""
    schema = model.model_json_schema(by_alias=True)
    return _Schemas(schema.get("$defs", {})).strategy(schema, "")


def params_for(model: type[BaseModel] | None) -> st.SearchStrategy[Any]:
    """Good, half-good and wrong params."""
    if model is None:
        return any_json
    good = fitting(model)
    return st.one_of(good, good, broken(good), broken(good), any_json)


@st.composite
def broken(draw: st.DrawFn, good: st.SearchStrategy[Any]) -> Any:
    """A good value with members replaced, taken away or added."""
    value = draw(good)  # made anew for every draw: it may be changed
    for _ in range(draw(st.integers(1, MAX_BREAKS))):
        places = list(_places(value))
        if not places:
            return draw(any_json)
        parent, step = draw(st.sampled_from(places))
        match draw(st.sampled_from(("replace", "replace", "remove", "add"))):
            case "replace":
                parent[step] = draw(any_json)
            case "remove" if isinstance(parent, dict):
                del parent[step]
            case _ if isinstance(parent, dict):
                parent[draw(st.sampled_from(("somethingNew", "type", "id", "__proto__", "\x00")))] = draw(small_json)
            case _:
                parent.append(draw(any_json))
    return value


def _places(value: Any) -> list[tuple[Any, Step]]:
    """Every member of every object and list inside, by its parent."""
    found: list[tuple[Any, Step]] = []
    todo = [value]
    while todo:
        here = todo.pop()
        steps: list[Step] = list(here) if isinstance(here, dict) else list(range(len(here))) if here else []
        for step in steps:
            found.append((here, step))
            if isinstance(here[step], (dict, list)):
                todo.append(here[step])
    return found if isinstance(value, (dict, list)) else []


class _Schemas:
    """Strategies for the parts of one schema; references may be recursive."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions
        self._made: dict[tuple[str, str], st.SearchStrategy[Any]] = {}

    def strategy(self, schema: Schema, name: str) -> st.SearchStrategy[Any]:
        """Values that fit; `name` is the member's, for texts that mean something."""
        if (reference := schema.get("$ref")) is not None:
            return self._referred(reference.rpartition("/")[2], name)
        for key in ("anyOf", "oneOf", "allOf"):
            if key in schema:
                return st.one_of([self.strategy(each, name) for each in schema[key]])
        if "const" in schema:
            return st.just(schema["const"])
        if "enum" in schema:
            return st.sampled_from(schema["enum"])
        match schema.get("type"):
            case "string":
                return named_texts(name)
            case "integer":
                return st.integers(schema.get("minimum"), min(schema.get("maximum", 2**40), 2**40))
            case "number":
                return floats
            case "boolean":
                return st.booleans()
            case "null":
                return st.none()
            case "array":
                return st.lists(self.strategy(schema.get("items", {}), name), max_size=3)
            case "object":
                return self._object(schema)
            case _:
                return small_json

    def _referred(self, definition: str, name: str) -> st.SearchStrategy[Any]:
        key = (definition, name)
        if key not in self._made:
            self._made[key] = st.deferred(lambda: self.strategy(self._definitions[definition], name))
        return self._made[key]

    def _object(self, schema: Schema) -> st.SearchStrategy[Any]:
        members = schema.get("properties")
        if not members:
            inner = schema.get("additionalProperties", True)
            values = small_json if isinstance(inner, bool) else self.strategy(inner, "")
            return st.dictionaries(named_texts("key"), values, max_size=3)
        # a constant has a default, but tells the branches of a union apart: it is always there
        needed = {*schema.get("required", ()), *(name for name, each in members.items() if "const" in each)}
        made = {name: self.strategy(each, name) for name, each in members.items()}
        return st.fixed_dictionaries(
            {name: made[name] for name in members if name in needed},
            optional={name: made[name] for name in members if name not in needed},
        )
