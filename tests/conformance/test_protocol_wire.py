"""Proves how the wire models behave: what params take, what is left out, how an error reads, what is gated."""

from typing import Any

import pytest
from pydantic import BaseModel, RootModel, ValidationError

from app_server.protocol import account, gates, initialize, items, tables, thread, turn
from app_server.protocol.base import Params, WireModel, validation_error_message
from tests.conformance.reference_schema import definition, methods, needs_schema
from tests.conformance.wire_models import MODELS, by_alias, is_tag, sample

PARAMS = [model for model in MODELS if issubclass(model, Params)]


@pytest.mark.parametrize("model", PARAMS, ids=lambda model: model.__name__)
def test_params_take_null_for_what_is_optional_and_anything_unknown(model: type[Params]) -> None:
    least = sample(model, 0, full=False)
    optional = {a: None for a, f in by_alias(model).items() if not f.is_required() and not is_tag(f)}
    nulls = model.model_validate({**least, **optional, "unknownMember": {"a": 1}})
    assert nulls.wire() == model.model_validate(least).wire()


def test_null_and_absent_can_be_told_apart_where_the_protocol_does() -> None:
    absent = thread.ThreadListParams.model_validate({})
    null = thread.ThreadListParams.model_validate({"projectId": None})
    assert ("project_id" in absent.model_fields_set, "project_id" in null.model_fields_set) == (False, True)


def test_a_picture_is_echoed_as_it_was_sent_with_its_detail_null() -> None:
    sent = [{"type": "text", "text": "look"}, {"type": "image", "url": "data:,"}, {"type": "localImage", "path": "/a"}]
    params = turn.TurnStartParams.model_validate({"threadId": "t", "input": sent})
    assert [part.wire() for part in params.input] == [
        {"type": "text", "text": "look", "text_elements": []},
        {"type": "image", "url": "data:,", "detail": None},
        {"type": "localImage", "detail": None, "path": "/a"},
    ]


def test_a_member_that_is_left_out_while_none_is_left_out_in_nested_models_too() -> None:
    started = items.ItemStartedNotification(
        item=items.ImageGenerationItem(id="call-1", status="in_progress", result=""),
        thread_id="t",
        turn_id="u",
        started_at_ms=5,
    )
    assert started.wire() == {
        "item": {
            "id": "call-1",
            "startedAtMs": None,
            "completedAtMs": None,
            "type": "imageGeneration",
            "status": "in_progress",
            "revisedPrompt": None,
            "result": "",
            "transparentBackground": None,
            "failure": None,
            "generationId": None,
        },
        "threadId": "t",
        "turnId": "u",
        "startedAtMs": 5,
    }
    assert "saved_path" not in started.model_dump()["item"]


ERRORS: list[tuple[type[BaseModel], Any, str]] = [
    (initialize.InitializeParams, {"clientInfo": {"name": "x"}}, "missing field `version` (at `clientInfo`)"),
    (thread.ThreadReadParams, {}, "missing field `threadId`"),
    (thread.ThreadReadParams, 5, "invalid type: integer `5`, expected a map"),
    (thread.ThreadStartParams, {"cwd": 5}, "invalid type: integer `5`, expected a string (at `cwd`)"),
    (
        thread.ThreadStartParams,
        {"approvalPolicy": "nope"},
        "unknown variant `nope`, expected one of `untrusted`, `on-request`, `never`, `granular` (at `approvalPolicy`)",
    ),
    (
        thread.ThreadStartParams,
        {"approvalPolicy": {"granular": {"rules": True, "sandbox_approval": True}}},
        "missing field `mcp_elicitations` (at `approvalPolicy.granular`)",
    ),
    (
        thread.ThreadStartParams,
        {"sandbox": {"type": "readOnly"}},
        "invalid type: map, expected one of `read-only`, `workspace-write`, `danger-full-access` (at `sandbox`)",
    ),
    (
        thread.ThreadStartParams,
        {"historyMode": "new"},
        "unknown variant `new`, expected `legacy` or `paginated` (at `historyMode`)",
    ),
    (
        thread.ThreadStartParams,
        {"dynamicTools": ["x"]},
        'invalid type: string "x", expected a map (at `dynamicTools[0]`)',
    ),
    (
        thread.ThreadListParams,
        {"limit": -1},
        "invalid value: integer `-1`, expected an integer that is at least 0 (at `limit`)",
    ),
    (thread.ThreadListParams, {"limit": 1.0}, "invalid type: floating point `1.0`, expected an integer (at `limit`)"),
    (thread.ThreadListParams, {"archived": "yes"}, 'invalid type: string "yes", expected a boolean (at `archived`)'),
    (
        thread.ThreadListParams,
        {"useStateDbOnly": 1},
        "invalid type: integer `1`, expected a boolean (at `useStateDbOnly`)",
    ),
    (thread.ThreadListParams, {"cwd": 5}, "invalid type: integer `5`, expected a string (at `cwd`)"),
    (
        turn.TurnStartParams,
        {"threadId": "t", "input": [{"type": "text"}]},
        "missing field `text` (at `input[0]`)",
    ),
    (
        turn.TurnStartParams,
        {"threadId": "t", "input": [{"type": "image"}]},
        "invalid value: map, expected a member `url` or `fileId` (at `input[0]`)",
    ),
    (turn.TurnStartParams, {"threadId": "t", "input": [{"text": "x"}]}, "missing field `type` (at `input[0]`)"),
    (
        turn.TurnStartParams,
        {"threadId": "t", "input": [], "sandboxPolicy": {"type": "workspaceWrite", "networkAccess": 1}},
        "invalid type: integer `1`, expected a boolean (at `sandboxPolicy.networkAccess`)",
    ),
    (
        turn.TurnStartParams,
        {"threadId": "t", "input": [], "effort": ""},
        'invalid value: string "", expected a string that is not empty (at `effort`)',
    ),
    (
        account.LoginAccountParams,
        {"type": "apiKey", "apiKey": 12345},
        "invalid type: integer, expected a string (at `apiKey`)",
    ),
]


@pytest.mark.parametrize(("model", "data", "text"), ERRORS, ids=[text for _, _, text in ERRORS])
def test_bad_params_are_answered_in_one_sentence_that_names_the_path(
    model: type[BaseModel], data: Any, text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(data)
    assert validation_error_message(caught.value, data=data) == text


def test_without_the_data_the_sentence_names_the_param_alone() -> None:
    with pytest.raises(ValidationError) as caught:
        turn.TurnStartParams.model_validate({"threadId": "t", "input": [{"type": "text", "text": 5}]})
    assert validation_error_message(caught.value) == "invalid type: integer `5`, expected a string (at `input`)"


def test_every_login_variant_is_read_by_its_type() -> None:
    read = account.LoginAccountParams.model_validate({"type": "apiKey", "apiKey": "sk-secret"})
    assert isinstance(read, RootModel)
    assert read.root == account.ApiKeyLoginAccountParams(api_key="sk-secret")
    assert "sk-secret" not in repr(read)


@needs_schema
@pytest.mark.parametrize(
    ("table", "direction"), [(tables.NOTIFICATIONS, "ServerNotification"), (tables.SERVER_REQUESTS, "ServerRequest")]
)
def test_a_table_gives_each_method_the_shape_that_the_schema_gives_it(
    table: dict[str, type[WireModel]], direction: str
) -> None:
    schema = methods(direction)
    assert {method: model.__name__ for method, model in table.items()} == {
        method: schema.get(method) for method in table
    }


@needs_schema
def test_what_is_gated_exists() -> None:
    requests = methods("ClientRequest")
    assert set(requests) >= gates.EXPERIMENTAL_METHODS
    assert set(methods("ServerNotification")) >= gates.EXPERIMENTAL_NOTIFICATIONS
    for method, names in gates.EXPERIMENTAL_FIELDS.items():
        schema = definition(str(requests[method]))
        assert schema is not None
        assert names <= set(schema["properties"])


@pytest.mark.parametrize(
    ("method", "params", "used"),
    [
        ("collaborationMode/list", {}, "collaborationMode/list"),
        ("mock/experimentalMethod", None, "mock/experimentalMethod"),
        ("thread/start", {"dynamicTools": []}, "thread/start.dynamicTools"),
        ("thread/start", {"dynamicTools": None, "experimentalRawEvents": False}, None),
        ("thread/start", {"environments": [], "historyMode": "paginated", "serviceName": "x", "ephemeral": True}, None),
        ("thread/resume", {"threadId": "t", "excludeTurns": True}, None),
        ("turn/start", {"collaborationMode": {"mode": "plan"}}, "turn/start.collaborationMode"),
        ("thread/loaded/list", None, None),
    ],
)
def test_a_request_needs_the_capability_only_for_what_it_says(method: str, params: Any, used: str | None) -> None:
    assert gates.experimental_use(method, params) == used
