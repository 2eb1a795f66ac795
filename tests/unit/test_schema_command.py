"""`generate-json-schema` and `generate-ts`: complete, valid, readable, and the same as what the server does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # jsonschema ships no types

from app_server.cli import main
from app_server.commands.schema_json import bundle
from app_server.commands.schema_ts import declaration, declarations, type_of
from app_server.methods import load_registry
from app_server.protocol.tables import NOTIFICATIONS

BUNDLE = bundle()
DEFINITIONS: dict[str, Any] = BUNDLE["definitions"]


def validator(name: str) -> Draft7Validator:
    return Draft7Validator({"$ref": f"#/definitions/{name}", "definitions": DEFINITIONS})


def test_the_schema_is_valid_and_names_every_method_and_notification() -> None:
    Draft7Validator.check_schema(BUNDLE)
    assert set(BUNDLE["methods"]) == {*load_registry(), "initialize"}
    told = [row["properties"]["method"]["const"] for row in DEFINITIONS["ServerNotification"]["oneOf"]]
    assert told == sorted(NOTIFICATIONS)


def test_no_reference_of_the_schema_leads_nowhere() -> None:
    referred = set(re.findall(r'"#/definitions/([^"]+)"', json.dumps(BUNDLE)))
    assert referred - set(DEFINITIONS) == set()


@pytest.mark.parametrize(
    ("message", "valid"),
    [
        ({"id": 1, "method": "thread/read", "params": {"threadId": "t"}}, True),
        ({"id": "a", "method": "account/login/start", "params": {"type": "apiKey", "apiKey": "k"}}, True),
        ({"id": 1, "method": "thread/read", "params": {}}, False),
        ({"method": "thread/read", "params": {"threadId": "t"}}, False),
        ({"id": 1, "method": "no/such", "params": {}}, False),
    ],
)
def test_a_request_is_valid_by_the_schema_when_the_server_takes_it(message: dict[str, Any], valid: bool) -> None:
    assert validator("ClientRequest").is_valid(message) is valid


def test_every_name_in_the_declarations_is_declared() -> None:
    text = re.sub(r"/\*\*.*?\*/|//[^\n]*|\"[^\"]*\"", "", declarations(BUNDLE), flags=re.DOTALL)
    declared = set(re.findall(r"^export (?:interface|type) (\w+)", text, re.MULTILINE))
    used = set(re.findall(r"(?<![\w.$])[A-Z]\w*", text))
    assert used - declared == {"Record"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("RequestId", "export type RequestId = string | number;"),
        ("LogoutAccountParams", "/** None. */\nexport type LogoutAccountParams = Record<string, never>;"),
        (
            "ConfigBatchWriteParams",
            """\
/** All changes or none. Loaded threads follow in any case, so `reload_user_config` changes nothing. */
export interface ConfigBatchWriteParams {
  edits: ConfigEdit[];
  filePath?: string | null;
  expectedVersion?: string | null;
  reloadUserConfig?: boolean;
}""",
        ),
        (
            "CustomGatewayProviderSettings",
            """\
export interface CustomGatewayProviderSettings {
  type: "customGateway";
  auth: NoneGatewayAuth | EnvironmentVariableGatewayAuth | ModeGatewayAuth;
}""",
        ),
    ],
)
def test_a_declaration_reads_as_written_by_hand(name: str, expected: str) -> None:
    assert declaration(name, DEFINITIONS[name]) == expected


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({}, "unknown"),
        (True, "unknown"),
        ({"type": ["string", "null"]}, "string | null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, '("a" | "b")[]'),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "Record<string, number>"),
        ({"type": "object"}, "Record<string, unknown>"),
        ({"allOf": [{"$ref": "#/definitions/A"}, {"$ref": "#/definitions/B"}]}, "A & B"),
        ({"properties": {"a-b": {"const": 1}}, "required": ["a-b"], "type": "object"}, '{\n  "a-b": 1;\n}'),
    ],
)
def test_a_schema_becomes_a_type(schema: Any, expected: str) -> None:
    assert type_of(schema) == expected


def test_the_commands_write_one_file_each_and_name_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made" / "here"

    assert main(["generate-json-schema", "--out", str(folder)]) == 0
    assert main(["generate-ts", "--out", str(folder)]) == 0

    schema, types = folder / "app_server_protocol.schemas.json", folder / "index.ts"
    assert capsys.readouterr().out == f"{schema}\n{types}\n"
    assert json.loads(schema.read_text(encoding="utf-8")) == BUNDLE
    assert types.read_text(encoding="utf-8") == declarations(BUNDLE)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")

    assert main(["generate-ts", "--out", str(tmp_path / "file" / "below")]) == 2
    assert "name a folder of yours with --out" in capsys.readouterr().err
