"""The protocol as this server speaks it, as one JSON Schema (draft 7), made from the wire models. Pure.

definitions    every object, and the unions ClientRequest, ClientNotification, ServerNotification, ServerRequest
methods        method → the names of its params and of its result, null where there is no model for it
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import app_server.protocol
from app_server.methods import load_registry
from app_server.protocol.base import WireModel
from app_server.protocol.initialize import InitializeParams
from app_server.protocol.tables import NOTIFICATIONS, SERVER_REQUESTS
from app_server.version import PROTOCOL_VERSION

_REF: Final = "#/definitions/{model}"
_RESULTS: Final[Mapping[str, str]] = {
    "account/login/start": "LoginAccountResponse",
    "config/batchWrite": "ConfigWriteResponse",
    "config/value/write": "ConfigWriteResponse",
}
"""Where the name of the result does not follow from that of the params."""


def bundle() -> dict[str, Any]:
    """The whole schema as plain JSON, definitions in alphabetical order."""
    params = {"initialize": InitializeParams} | {name: spec.model for name, spec in load_registry().items()}
    models = {model.__name__: model for model in (*wire_models(), *filter(None, params.values()))}
    for model in models.values():
        model.model_rebuild()
    _, generated = models_json_schema(
        [(model, "validation") for model in models.values()], by_alias=True, ref_template=_REF
    )
    definitions = {name: _plain(schema) for name, schema in generated["$defs"].items()}
    definitions["RequestId"] = {"type": ["string", "integer"]}
    definitions["ClientRequest"] = {"oneOf": [_request(name, model) for name, model in sorted(params.items())]}
    definitions["ClientNotification"] = {"oneOf": [_message("initialized", None)]}
    definitions["ServerNotification"] = {"oneOf": [_message(*row) for row in sorted(NOTIFICATIONS.items())]}
    definitions["ServerRequest"] = {"oneOf": [_request(*row) for row in sorted(SERVER_REQUESTS.items())]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"App-server protocol v2, release {PROTOCOL_VERSION}",
        "definitions": dict(sorted(definitions.items())),
        "methods": {
            name: {"params": model and model.__name__, "result": _result(name, model, models)}
            for name, model in sorted(params.items())
        },
    }


def wire_models() -> Iterator[type[WireModel]]:
    """Every model of the protocol, but for the ones that only others derive from."""
    for module in _modules():
        for name, value in vars(module).items():
            own = isinstance(value, type) and issubclass(value, WireModel) and value.__module__ == module.__name__
            if own and not name.startswith("_") and module.__name__ != "app_server.protocol.base":
                yield value


def _modules() -> Iterable[ModuleType]:
    found = pkgutil.iter_modules(app_server.protocol.__path__)
    return [import_module(f"app_server.protocol.{one.name}") for one in found]


def _result(method: str, params: type[BaseModel] | None, models: Mapping[str, object]) -> str | None:
    name = _RESULTS.get(method, params.__name__.removesuffix("Params") + "Response" if params else "")
    return name if name in models else None


def _request(method: str, params: type[BaseModel] | None) -> dict[str, Any]:
    message = _message(method, params)
    return {
        **message,
        "properties": {"id": {"$ref": _REF.format(model="RequestId")}, **message["properties"]},
        "required": ["id", *message["required"]],
    }


def _message(method: str, params: type[BaseModel] | None) -> dict[str, Any]:
    properties: dict[str, Any] = {"method": {"const": method}}
    if params is not None:
        properties["params"] = {"$ref": _REF.format(model=params.__name__)}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _plain(schema: Any) -> Any:
    """Without the titles that only repeat names; a member with one possible value is always there."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: _plain(value) for key, value in schema.items() if key not in ("title", "properties")}
    plain.pop("discriminator", None)  # a word of OpenAPI
    if isinstance(members := schema.get("properties"), dict):
        plain["properties"] = {name: _plain(member) for name, member in members.items()}
        tags = [name for name, member in plain["properties"].items() if "const" in member]
        for name in tags:
            plain["properties"][name].pop("default", None)
        required = [name for name in members if name in tags or name in schema.get("required", ())]
        if required:
            plain["required"] = required
    return plain
