"""Checks frames of the server against the reference's JSON schema, where that lies beside the repository.

Owns the compiled validators, made once each. Without the schema (or without jsonschema) only the envelope is checked,
and `available()` says so. `tests/support/client.py` calls it for every frame that it receives.

The schema forbids additional members almost nowhere, so that members of our own pass; where it does forbid them (a few
enum-like objects, such as the details of an error kind) we have none.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

REPOSITORY = Path(__file__).resolve().parents[2]
BUNDLE_NAME = "codex_app_server_protocol.schemas.json"
BUNDLE_URI = "urn:reference"
UNREADABLE_CODES = (-32700, -32600)
"""Errors that JSON-RPC 2.0 answers with a null id when the request's id could not be read; the schema knows none."""

IRREGULAR_REPLIES = {
    "account/gatewayOAuth/cancel": "GatewayOAuthCancelResponse",
    "account/logout": "LogoutAccountResponse",
    "account/rateLimits/read": "GetAccountRateLimitsResponse",
    "account/securitySetup/read": "GetAccountSecuritySetupResponse",
    "account/usage/read": "GetAccountTokenUsageResponse",
    "account/workspaceMessages/read": "GetWorkspaceMessagesResponse",
    "accountSession/list": "AccountSessionsResponse",
    "config/batchWrite": "ConfigWriteResponse",
    "config/mcpServer/reload": "McpServerRefreshResponse",
    "config/value/write": "ConfigWriteResponse",
    "externalAgentConfig/import/readHistories": "ExternalAgentConfigImportHistoriesReadResponse",
}
"""Methods whose response type follows neither from the params type nor from the method's own name."""


OWN_NOTIFICATIONS = {"item/imageGeneration/progress": "imageGenerationProgress.json"}
"""Ours, beyond the reference: notification → the file of its params in docs/schema."""


def bundle_path() -> Path:
    """Where the schema is looked for: `reference/schema` beside the conformance kit."""
    kit = os.environ.get("CONFORMANCE_DIR") or REPOSITORY.parent / "shared" / "conformance"
    return Path(kit).resolve().parent / "reference" / "schema" / BUNDLE_NAME


def available() -> bool:
    """Can frames be checked against the schema here?"""
    return bundle_path().is_file() and importlib.util.find_spec("jsonschema") is not None


def frame_errors(frame: Mapping[str, Any], request_method: str | None = None) -> list[str]:
    """What is wrong with one frame of the server; `request_method` is what its id asked for, if it is a reply."""
    errors = _envelope_errors(frame)
    if not errors and available() and frame.get("method") in OWN_NOTIFICATIONS and "id" not in frame:
        return _own_errors(frame)
    if not errors and available():
        errors = _reference(bundle_path()).frame_errors(frame, request_method)
    return errors


def _envelope_errors(frame: Mapping[str, Any]) -> list[str]:
    errors = []
    if "jsonrpc" in frame:
        errors.append("a frame has a `jsonrpc` member, which the reference never sends")
    if "method" in frame and "id" not in frame and type(frame.get("emittedAtMs")) is not int:
        errors.append(f"{frame['method']}: a notification without an integer `emittedAtMs`")
    if "method" not in frame and ("result" in frame) == ("error" in frame):
        errors.append("a reply has neither or both of `result` and `error`")
    if "method" not in frame and "id" not in frame:
        errors.append("a frame has neither `method` nor `id`")
    return errors


def _own_errors(frame: Mapping[str, Any]) -> list[str]:
    from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # jsonschema ships no types

    method = frame["method"]
    schema = orjson.loads((REPOSITORY / "docs" / "schema" / OWN_NOTIFICATIONS[method]).read_bytes())
    return [f"{method}: {error.message[:240]}" for error in Draft7Validator(schema).iter_errors(frame["params"])]


@lru_cache(maxsize=1)
def _reference(path: Path) -> ReferenceSchema:
    return ReferenceSchema(orjson.loads(path.read_bytes()))


class ReferenceSchema:
    """The bundle of the protocol's types, and a validator for each place of it that was asked for."""

    def __init__(self, bundle: Mapping[str, Any]) -> None:
        from referencing import Registry
        from referencing.jsonschema import DRAFT7

        self._definitions = bundle["definitions"]
        self._registry = Registry().with_resource(BUNDLE_URI, DRAFT7.create_resource(bundle))
        self._validators: dict[str, Any] = {}
        self._params = {
            kind: _params_pointers(kind, self._definitions[kind]["oneOf"])
            for kind in ("ClientRequest", "ServerRequest", "ServerNotification")
        }

    def frame_errors(self, frame: Mapping[str, Any], request_method: str | None) -> list[str]:
        """Errors of one frame, each with the place inside it."""
        if "method" in frame:
            kind = "ServerRequest" if "id" in frame else "ServerNotification"
            method = frame["method"]
            if method not in self._params[kind]:
                return [f"{method}: not a {kind} of the schema"]
            pointer = self._params[kind][method]
            return self._errors(pointer, frame.get("params"), method) if pointer else []
        if "error" in frame:
            if frame["id"] is None and frame["error"].get("code") in UNREADABLE_CODES:
                frame = {**frame, "id": 0}
            return self._errors("/definitions/JSONRPCError", frame, "error reply")
        reply = self.reply_pointer(request_method or "")
        return self._errors(reply, frame["result"], f"reply to {request_method}") if reply else []

    def reply_pointer(self, method: str) -> str | None:
        """Where the type of a method's result stands; None when the schema has none (a few old methods)."""
        params = self._params["ClientRequest"].get(method)
        stem = self._type_at(params).removesuffix("Params") if params else ""
        camel = "".join(part[:1].upper() + part[1:] for part in re.split(r"[/_]", method))
        for name in (IRREGULAR_REPLIES.get(method, ""), f"{stem}Response", f"{camel}Response"):
            if name in self._definitions["v2"]:
                return f"/definitions/v2/{name}"
            if name in self._definitions:
                return f"/definitions/{name}"
        return None

    def _type_at(self, pointer: str) -> str:
        place: Any = {"definitions": self._definitions}
        for step in pointer.strip("/").split("/"):
            place = place[int(step)] if isinstance(place, list) else place[step]
        found = re.search(r'definitions/(?:v2/)?(\w+Params)"', orjson.dumps(place).decode())
        return found[1] if found else ""

    def _errors(self, pointer: str, value: Any, label: str) -> list[str]:
        from jsonschema.exceptions import best_match  # type: ignore[import-untyped]  # jsonschema ships no types

        lines = []
        for error in self._validator(pointer).iter_errors(value):
            cause = best_match([error])
            place = "/".join(map(str, cause.absolute_path))
            lines.append(f"{label}: at '{place}': {cause.message[:240]}")
        return lines

    def _validator(self, pointer: str) -> Any:
        if pointer not in self._validators:
            from jsonschema import Draft7Validator

            self._validators[pointer] = Draft7Validator({"$ref": f"{BUNDLE_URI}#{pointer}"}, registry=self._registry)
        return self._validators[pointer]


def _params_pointers(kind: str, alternatives: list[Mapping[str, Any]]) -> dict[str, str | None]:
    """Method → where its params' schema stands; None for a method without params."""
    pointers: dict[str, str | None] = {}
    for index, alternative in enumerate(alternatives):
        properties = alternative["properties"]
        place = f"/definitions/{kind}/oneOf/{index}/properties/params" if "params" in properties else None
        pointers[properties["method"]["enum"][0]] = place
    return pointers
