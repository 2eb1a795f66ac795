"""Holds the wire models against the reference's schema and recordings: names, required members, types, enums, nulls."""

import importlib
from typing import Any, Literal, get_args, get_origin

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]  # jsonschema ships no types
from pydantic import BaseModel

from app_server.protocol import account, items, tables, thread_data, user_input
from app_server.protocol.base import Params, SparseModel, WireModel
from tests.conformance.reference_schema import (
    Frame,
    Schema,
    branches,
    definition,
    definitions,
    methods,
    needs_recordings,
    needs_schema,
    object_schema,
    recorded_frames,
)
from tests.conformance.wire_models import MODELS, by_alias, is_tag, parts, sample

NO_COUNTERPART = {
    "WireModel": "the base of all",
    "Params": "the base of all params",
    "NoParams": "for methods without params",
    "SparseModel": "the base of models that leave members out",
    "DurableNotification": "the base of those that have a `seq`",
    "PageParams": "what the params of paged lists share",
    "Page": "what paged replies share",
    "ReversiblePage": "what paged replies share",
    "Item": "what items share",
    "ImageGenerationError": "ours: why there is no picture",
    "LogoutAccountParams": "the method has no params",
    "ThreadOverrides": "the base of the params of thread/start, thread/resume and thread/fork",
    "ConfigRequirementsReadParams": "the method has no params",
    "WindowsSandboxReadinessParams": "the method has no params",
    "LoginAccountResponse": "the base of its variants",
    "LoginAccountParams": "holds its variants, each of which is compared",
    "GranularApproval": "written inline in the schema",
    "HttpFailure": "written inline in the schema",
    "EnvironmentVariableGatewayAuth": "a branch without a title in the schema",
    "HookMetadata": "its branch for commands has no title in the schema",
    "NotSteerable": "written inline in the schema",
}

ADDITIONAL = {
    ("AgentMessageItem", "status"),
    ("ImageGenerationItem", "bytes"),
    ("ImageGenerationItem", "effectiveParameters"),
    ("ImageGenerationItem", "error"),
    ("ImageGenerationItem", "handle"),
    ("ImageGenerationItem", "hasAlpha"),
    ("ImageGenerationItem", "height"),
    ("ImageGenerationItem", "mimeType"),
    ("ImageGenerationItem", "model"),
    ("ImageGenerationItem", "prompt"),
    ("ImageGenerationItem", "removed"),
    ("ImageGenerationItem", "sha256"),
    ("ImageGenerationItem", "thumbnail"),
    ("ImageGenerationItem", "width"),
    ("ModelProviderCapabilitiesReadResponse", "imageGenerationReason"),
    ("ThreadResumeParams", "sinceSeq"),
    ("ThreadResumeResponse", "lastSeq"),
    ("TurnStartedNotification", "seq"),
    ("TurnCompletedNotification", "seq"),
    ("ItemStartedNotification", "seq"),
    ("ItemCompletedNotification", "seq"),
    ("ThreadNameUpdatedNotification", "seq"),
    ("ThreadSettingsUpdatedNotification", "seq"),
    ("ThreadTokenUsageUpdatedNotification", "seq"),
    ("ThreadRevertedNotification", "seq"),
    ("ThreadGoalUpdatedNotification", "seq"),
    ("ThreadGoalClearedNotification", "seq"),
    ("ThreadReadStateChangedNotification", "seq"),
}
"""Our members beyond the schema: exactly these."""

ADDITIONAL_OUTSIDE_ITEMS = {
    ("ModelProviderCapabilitiesReadResponse", "imageGenerationReason"),
    ("ThreadResumeParams", "sinceSeq"),
    ("ThreadResumeResponse", "lastSeq"),
    ("TurnStartedNotification", "seq"),
    ("TurnCompletedNotification", "seq"),
    ("ItemStartedNotification", "seq"),
    ("ItemCompletedNotification", "seq"),
    ("ThreadNameUpdatedNotification", "seq"),
    ("ThreadSettingsUpdatedNotification", "seq"),
    ("ThreadTokenUsageUpdatedNotification", "seq"),
    ("ThreadRevertedNotification", "seq"),
    ("ThreadGoalUpdatedNotification", "seq"),
    ("ThreadGoalClearedNotification", "seq"),
    ("ThreadReadStateChangedNotification", "seq"),
}
"""Those of params, replies and notifications; all others are members of items."""

LEFT_OUT = {
    ("GetAccountRateLimitsResponse", "rateLimitResetCredits"): "nobody is asked for them",
    ("SkillMetadata", "dependencies"): "a SKILL.md of ours names none",
    ("ImageGenerationItem", "fileId"): "this server has no attachment store; `result` is the other form",
}
"""Members of the schema that we do not have."""

REQUIRED_DIFFERENTLY = {
    ("ImageGenerationItem", "result"): "the schema asks for `result` or `fileId`; we have the first alone",
}

BRANCHES_LEFT_OUT = {
    ("Thread", "source"): {"SubAgentSessionSource"},  # threads of sub-agents do not exist here
    ("ThreadItem", ""): {  # items of tools that this server does not have yet
        "CollabAgentToolCallThreadItem",
        "FileChangeThreadItem",
        "FunctionCallOutputThreadItem",
        "HookPromptThreadItem",
        "McpToolCallThreadItem",
        "PlanThreadItem",
        "SleepThreadItem",
        "SubAgentActivityThreadItem",
        "WebSearchThreadItem",
    },
}


def _counterpart(name: str) -> str:
    if name.endswith("Item") and definition(name) is None and object_schema(name) is None:
        return name.removesuffix("Item") + "ThreadItem"
    return name


COMPARED = [model for model in MODELS if model.__name__ not in NO_COUNTERPART]
on_every_model = pytest.mark.parametrize("model", COMPARED, ids=lambda model: model.__name__)


def _object(model: type[WireModel]) -> Schema:
    schema = object_schema(_counterpart(model.__name__))
    assert schema is not None, f"{model.__name__} is neither in the schema nor in NO_COUNTERPART"
    return schema


@needs_schema
def test_no_exception_stands_for_a_model_that_is_not_there() -> None:
    names = {model.__name__ for model in MODELS} | {"LoginAccountParams"}
    assert set(NO_COUNTERPART) - names == set()


@needs_schema
@on_every_model
def test_a_model_has_the_members_of_the_schema_and_ours(model: type[WireModel]) -> None:
    ours = set(by_alias(model))
    name = model.__name__
    theirs = set(_object(model).get("properties", {}))
    assert {(name, member) for member in ours - theirs} == {row for row in ADDITIONAL if row[0] == name}
    assert {(name, member) for member in theirs - ours} == {row for row in LEFT_OUT if row[0] == name}


def _left_out_while_none(model: type[WireModel]) -> frozenset[str]:
    return model.omit_when_none if issubclass(model, SparseModel) else frozenset()


def test_a_model_declares_its_additional_members_and_leaves_them_out_while_none() -> None:
    declared = set()
    for model in MODELS:
        if issubclass(model, items.Item):
            declared |= {(model.__name__, model.model_fields[name].alias or name) for name in model.additional}
            assert model.additional <= _left_out_while_none(model)
    assert declared == ADDITIONAL - ADDITIONAL_OUTSIDE_ITEMS


@needs_schema
@on_every_model
def test_a_model_requires_what_the_schema_requires(model: type[WireModel]) -> None:
    schema = _object(model)
    required = set(schema.get("required", ()))
    different = {
        alias: "required" if field.is_required() else "optional"
        for alias, field in by_alias(model).items()
        if not is_tag(field)
        and (model.__name__, alias) not in ADDITIONAL | set(REQUIRED_DIFFERENTLY)
        and field.is_required() is not (alias in required)
    }
    assert different == {}


def _our_shape(annotation: Any) -> set[str]:
    """Say what JSON an annotation takes: enum values in quotes, else JSON types, `array of …`, object names."""
    shape: set[str] = set()
    scalars = {str: "string", int: "integer", bool: "boolean", type(None): "null", float: "number"}
    for part in parts(annotation):
        origin = get_origin(part)
        if origin is Literal:
            shape |= {repr(value) for value in get_args(part)}
        elif origin is tuple:
            shape |= {f"array of {inner}" for inner in _our_shape(get_args(part)[0])}
        elif origin is dict:
            shape.add("object")
        elif part is Any:
            shape.add("any")
        elif issubclass(part, BaseModel):
            shape.add("object")
        else:
            shape.add(scalars[part])
    return shape


def _schema_shape(schema: Schema | bool) -> set[str]:
    shape: set[str] = set()
    for branch in branches(schema):
        kinds = branch.get("type", "any")
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            if "enum" in branch and kind != "null":
                shape |= {repr(value) for value in branch["enum"]}
            elif kind == "array":
                shape |= {f"array of {inner}" for inner in _schema_shape(branch.get("items", True))}
            else:
                shape.add("object" if "properties" in branch else kind)
    return shape


OPEN_IN_THE_SCHEMA = {("TurnError", "codexErrorInfo")}  # any string or object; UNIONS compares its branches


@needs_schema
@on_every_model
def test_a_member_takes_the_types_and_enum_values_of_the_schema(model: type[WireModel]) -> None:
    properties = _object(model).get("properties", {})
    different = {}
    for alias, field in by_alias(model).items():
        if alias not in properties or (model.__name__, alias) in OPEN_IN_THE_SCHEMA:
            continue
        ours, theirs = _our_shape(field.annotation), _schema_shape(properties[alias])
        unsent = {"null"} - theirs if alias in _left_out_aliases(model) else set()
        if ours - unsent != theirs:
            different[alias] = (ours, theirs)
    assert different == {}


def _left_out_aliases(model: type[WireModel]) -> set[str]:
    return {model.model_fields[name].alias or name for name in _left_out_while_none(model)}


def _titles(schema: Schema) -> set[str]:
    return {
        str(branch["title"]).replace("v2::", "")
        for branch in branches(schema)
        if "properties" in branch and "title" in branch
    }


UNIONS: dict[tuple[str, str], Any] = {
    ("ThreadItem", ""): items.ThreadItem,
    ("UserInput", ""): user_input.UserInput,
    ("LoginAccountParams", ""): account.LoginAccount,
    ("Account", ""): account.Account,
    **{
        (name, ""): getattr(importlib.import_module(f"app_server.protocol.{family}"), name)
        for family, name in (
            ("approvals", "SandboxPolicy"),
            ("approvals", "AskForApproval"),
            ("config", "ConfigLayerSource"),
            ("items", "CommandAction"),
            ("items", "DynamicToolCallOutputContentItem"),
            ("settings", "MultiAgentMode"),
            ("thread_data", "ThreadStatus"),
            ("turn_error", "CodexErrorInfo"),
        )
    },
    ("Thread", "source"): thread_data.SessionSource,
}


@needs_schema
@pytest.mark.parametrize("place", UNIONS, ids=lambda place: place[0])
def test_a_union_has_the_branches_of_the_schema(place: tuple[str, str]) -> None:
    name, member = place
    schema = definition(name)
    assert schema is not None
    union = schema["properties"][member] if member else schema
    theirs = {str(row["title"]).replace("v2::", "") for row in union.get("oneOf", ()) if "title" in row} or _titles(
        union
    )
    ours = {
        _counterpart(part.__name__)
        for part in parts(UNIONS[place])
        if isinstance(part, type) and issubclass(part, BaseModel)
    }
    assert theirs - ours == BRANCHES_LEFT_OUT.get(place, set())
    assert ours - theirs == set()


SENT = [model for model in COMPARED if not issubclass(model, Params)]


@needs_schema
@pytest.mark.parametrize("full", [False, True], ids=["least", "all"])
@pytest.mark.parametrize("model", SENT, ids=lambda model: model.__name__)
def test_what_a_model_sends_is_valid_by_the_schema(model: type[WireModel], full: bool) -> None:
    validator = Draft7Validator({**_object(model), "definitions": definitions()})
    for turn_no in range(9):
        sent = model.model_validate(sample(model, turn_no, full)).wire()
        assert [error.message for error in validator.iter_errors(sent)] == []


def _response_of(method: str) -> type[WireModel] | None:
    params = methods("ClientRequest").get(method) or ""
    irregular = {"account/logout": "LogoutAccountResponse", "configRequirements/read": "ConfigRequirementsReadResponse"}
    name = irregular.get(method, params.removesuffix("Params") + "Response")
    return next((model for model in MODELS if model.__name__ == name), None)


def _foreign_items(value: Any, known: set[str]) -> bool:
    """Does `value` hold an item of a type that this server has not?"""
    if isinstance(value, dict):
        if "startedAtMs" in value and value.get("type", "userMessage") not in known:
            return True
        return any(_foreign_items(inner, known) for inner in value.values())
    return isinstance(value, list) and any(_foreign_items(inner, known) for inner in value)


def _model_for(frame: Frame) -> type[WireModel] | None:
    if not frame.is_reply:
        return tables.NOTIFICATIONS.get(frame.method, tables.SERVER_REQUESTS.get(frame.method))
    if frame.method == "account/login/start":
        prefix = frame.body["type"][0].upper() + frame.body["type"][1:]
        return next(model for model in MODELS if model.__name__ == f"{prefix}LoginAccountResponse")
    return _response_of(frame.method)


@needs_schema
@needs_recordings
def test_every_recorded_frame_of_the_reference_comes_back_as_it_was() -> None:
    known = {get_args(part.model_fields["type"].annotation)[0] for part in parts(items.ThreadItem)}
    compared: set[str] = set()
    for frame in recorded_frames():
        model = _model_for(frame)
        if model is None or _foreign_items(frame.body, known):
            continue
        compared.add(frame.method)
        assert model.model_validate(frame.body).wire() == frame.body, (frame.scenario, frame.method)
    never_recorded = {
        "account/chatgptAuthTokens/refresh",
        "fuzzyFileSearch/sessionCompleted",
        "fuzzyFileSearch/sessionUpdated",
        "hook/completed",
        "hook/started",
        "item/reasoning/textDelta",
        "thread/closed",
        "thread/goal/updated",
    }
    assert (set(tables.NOTIFICATIONS) | set(tables.SERVER_REQUESTS)) - compared == never_recorded
