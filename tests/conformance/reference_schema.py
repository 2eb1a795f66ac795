"""Owns how tests read the reference's schema and its recordings; skips a test with a reason where they are absent."""

import functools
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.schema import bundle_path

SCHEMA_FILE = bundle_path()
GOLDEN_DIR = Path(os.environ.get("CONFORMANCE_DIR") or SCHEMA_FILE.parents[2] / "conformance") / "golden"

needs_schema = pytest.mark.skipif(not SCHEMA_FILE.is_file(), reason=f"the reference schema is not at {SCHEMA_FILE}")
needs_recordings = pytest.mark.skipif(not GOLDEN_DIR.is_dir(), reason=f"no recordings of the reference at {GOLDEN_DIR}")

Schema = Mapping[str, Any]


@functools.cache
def definitions() -> Schema:
    """Return the schema's `definitions`: shared ones at the top, the rest under `v2`."""
    loaded: dict[str, Any] = json.loads(SCHEMA_FILE.read_bytes())["definitions"]
    return loaded


def definition(name: str) -> Schema | None:
    found = definitions()["v2"].get(name, definitions().get(name))
    return found if isinstance(found, dict) else None


def methods(direction: str) -> dict[str, str | None]:
    """Return method → name of its params for ClientRequest, ServerNotification, ServerRequest or ClientNotification."""
    rows = {}
    for row in definitions()[direction]["oneOf"]:
        params = row["properties"].get("params", {})
        rows[row["properties"]["method"]["enum"][0]] = _ref_name(params)
    return rows


def _ref_name(schema: Schema) -> str | None:
    return str(schema["$ref"]).rsplit("/", 1)[-1] if "$ref" in schema else None


def branches(schema: Schema | bool) -> Iterator[Schema]:
    """Yield what a schema amounts to once references and unions are followed; arrays and objects stay whole."""
    if isinstance(schema, bool) or not schema:
        yield {}
    elif "$ref" in schema:
        target = definition(str(_ref_name(schema)))
        assert target is not None, schema
        yield from branches(target)
    elif "properties" not in schema and any(key in schema for key in ("anyOf", "oneOf", "allOf")):
        for key in ("anyOf", "oneOf", "allOf"):
            for branch in schema.get(key, ()):
                yield from branches(branch)
    else:
        yield schema


@functools.cache
def variants() -> Mapping[str, Schema]:
    """Return the titled branches of all unions, for instance `TextUserInput`, with what the union adds to each."""
    found: dict[str, Schema] = {}
    for scope in (definitions(), definitions()["v2"]):
        for outer in scope.values():
            for key in ("anyOf", "oneOf"):
                for branch in outer.get(key, ()):
                    if "properties" in branch and "title" in branch:
                        found.setdefault(branch["title"].replace("v2::", ""), _merged(outer, branch))
    return found


def _merged(outer: Schema, branch: Schema) -> Schema:
    alternatives = [schema for schema in branch.get("anyOf", ()) if "properties" in schema]
    properties = {**outer.get("properties", {}), **branch["properties"]}
    for alternative in alternatives:
        properties |= alternative["properties"]
    return {**branch, "properties": properties}


def object_schema(name: str) -> Schema | None:
    """Return the object of that name: a definition, or a titled branch of a union."""
    found = definition(name)
    if found is not None and found.get("type") == "object" and "oneOf" not in found:
        return found
    return variants().get(name)


class Frame(NamedTuple):
    """A message that the reference sent: the method, `result` or `params`, and which of the two it is."""

    scenario: str
    method: str
    is_reply: bool
    body: Any


@functools.cache
def recorded_frames() -> tuple[Frame, ...]:
    """Return every reply, notification and request of the recorded server, in order."""
    frames: list[Frame] = []
    for path in sorted(GOLDEN_DIR.glob("*/transcript.norm.jsonl")):
        asked: dict[tuple[str, Any], str] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            message, conn = entry["msg"], entry.get("conn", "")
            if not isinstance(message, dict):
                continue
            if entry["dir"] == "c2s" and "method" in message and "id" in message:
                asked[conn, message["id"]] = message["method"]
            elif entry["dir"] == "s2c" and "method" in message:
                frames.append(Frame(path.parent.name, message["method"], False, message.get("params")))
            elif entry["dir"] == "s2c" and "result" in message:
                frames.append(Frame(path.parent.name, asked.get((conn, message["id"]), ""), True, message["result"]))
    return tuple(frames)
