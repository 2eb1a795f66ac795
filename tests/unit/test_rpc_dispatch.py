"""From a request to its answer, and pins on what we use of jsonrpcserver: its inside may change with any release."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from typing import Any, cast

import orjson
import pytest
from jsonrpcserver.dispatcher import call
from jsonrpcserver.request import Request as EngineRequest
from jsonrpcserver.result import Error, Success
from oslash.either import Left as Failed

from app_server.errors import ConfigurationError, InvalidRequest, NotSupported, Overloaded
from app_server.protocol.base import Params, WireModel
from app_server.protocol.jsonrpc import MISSING, Request
from app_server.rpc import engine as engine_module
from app_server.rpc.connection import Connection
from app_server.rpc.context import RequestContext
from app_server.rpc.dispatch import Dispatcher
from app_server.rpc.registry import MethodSpec
from app_server.rpc.session import Session

pytestmark = pytest.mark.anyio
SECRET = "/srv/someone/.secret sk-123"


class EchoParams(Params):
    text: str
    times: int | None = None
    api_key: str | None = None


class EchoReply(WireModel):
    whole_text: str


async def echo(ctx: Any, params: EchoParams) -> EchoReply:
    return EchoReply(whole_text=params.text * (params.times or 1))


async def nothing(ctx: Any, params: None) -> dict[str, Any]:
    return {"params": params, "method": ctx.method, "id": ctx.request_id, "services": ctx.services}


async def crash(ctx: Any, params: None) -> None:
    raise ValueError(SECRET)


async def crash_in_a_group(ctx: Any, params: None) -> None:
    raise ExceptionGroup(SECRET, [KeyError(SECRET)])


async def unencodable(ctx: Any, params: None) -> object:
    return {"a": {1, 2}}


def raising(error: Exception) -> Any:
    async def handler(ctx: Any, params: Any) -> None:
        raise error

    return handler


def context(method: str, request_id: int | str, experimental: bool) -> RequestContext[str]:
    session = Session(connection_id=1, transport="memory", initialized=True, experimental_api=experimental)
    return RequestContext(
        services="the services",
        connection=cast("Connection[str]", None),  # no handler here sends anything
        session=session,
        request_id=request_id,
        method=method,
    )


async def ask(
    handler: Any,
    params: Any = MISSING,
    *,
    model: type[Params] | None = None,
    method: str = "a/b",
    called: str | None = None,
    experimental: bool = False,
    request_id: int | str = 1,
) -> tuple[dict[str, Any], bool]:
    """The decoded answer of a server with this one method, and whether it is a good one."""
    dispatcher: Dispatcher[str] = Dispatcher({method: MethodSpec(name=method, params=model, handler=handler)})
    name = called or method
    begun = dispatcher.begin(context(name, request_id, experimental), Request(request_id, name, params))
    frame, good = begun if isinstance(begun, tuple) else await begun
    return orjson.loads(frame), good


def refusal(message: str, data_code: str, code: int = -32600, **data: Any) -> tuple[dict[str, Any], bool]:
    return {"error": {"code": code, "message": message, "data": {"code": data_code, **data}}, "id": 1}, False


# -- pins
def test_what_we_use_is_loaded_without_the_validator_that_we_never_use() -> None:
    probe = (
        "import sys; from app_server.rpc import engine;"
        "print('jsonschema' in sys.modules, 'jsonrpcserver' in sys.modules);"
        "import jsonrpcserver; print(jsonrpcserver.Success is engine.Success, callable(jsonrpcserver.dispatch))"
    )
    command = [sys.executable, "-W", "ignore", "-c", probe]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["False", "False", "True", "True"]


def test_dispatch_imports_these_names_of_jsonrpcserver_and_no_others() -> None:
    tree = ast.parse(inspect.getsource(engine_module))
    used = {
        f"{node.module}.{name.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jsonrpcserver")
        for name in node.names
    }
    assert used == {
        "jsonrpcserver.dispatcher.call",
        "jsonrpcserver.request.Request",
        "jsonrpcserver.result.Error",
        "jsonrpcserver.result.Success",
    }


def test_pin_request_holds_method_params_and_id_in_this_order() -> None:
    request = EngineRequest("m", ["params"], 3)
    assert (request.method, request.params, request.id) == ("m", ["params"], 3)


def test_pin_success_holds_its_result_behind_value_and_has_no_error() -> None:
    outcome = Success({"x": 1})
    assert outcome._value.result == {"x": 1}
    assert getattr(outcome, "_error", None) is None


def test_pin_error_holds_code_message_and_data_behind_error() -> None:
    failure = Error(-32600, "No.", {"code": "bad"})._error
    assert (failure.code, failure.message, failure.data) == (-32600, "No.", {"code": "bad"})


def test_pin_call_gives_the_method_context_and_params_and_returns_its_outcome() -> None:
    seen: list[Any] = []

    def method(ctx: Any, params: Any) -> Any:
        seen.append((ctx, params))
        return Success("done")

    outcome = call(EngineRequest("m", [MISSING], "id-1"), "the context", method)
    assert (outcome._value.result, seen) == ("done", [("the context", MISSING)])
    assert isinstance(call(EngineRequest("m", [1], 1), "c", lambda ctx, params: Error(-1, "No.")), Failed)


# -- good answers
async def test_a_model_is_written_with_wire_names() -> None:
    assert await ask(echo, {"text": "ab", "times": 2, "unknown": 1}, model=EchoParams) == (
        {"id": 1, "result": {"wholeText": "abab"}},
        True,
    )


@pytest.mark.parametrize("params", [MISSING, None, {}, {"anything": 1}])
async def test_a_method_without_params_takes_none_null_and_any_object(params: Any) -> None:
    assert await ask(nothing, params, request_id="x") == (
        {"id": "x", "result": {"params": None, "method": "a/b", "id": "x", "services": "the services"}},
        True,
    )


# -- refusals
@pytest.mark.parametrize(
    ("params", "message", "data_code"),
    [
        (MISSING, "missing field `params`", "missingParams"),
        ({}, "missing field `text`", "invalidParams"),
        ({"text": 5}, "invalid type: integer `5`, expected a string (at `text`)", "invalidParams"),
        ({"text": "a", "times": "b"}, None, "invalidParams"),
        (None, "invalid type: null, expected a map", "invalidParams"),
        ([], "invalid type: sequence, expected a map", "invalidParams"),
        ("text", 'invalid type: string "text", expected a map', "invalidParams"),
        (
            {"text": "a", "apiKey": 123456789},
            "invalid type: integer, expected a string (at `apiKey`)",
            "invalidParams",
        ),
    ],
)
async def test_params_that_do_not_fit_are_told_in_one_sentence(
    params: Any, message: str | None, data_code: str
) -> None:
    answer, good = await ask(echo, params, model=EchoParams)
    if message is None:
        message = answer["error"]["message"].removeprefix("Invalid request: ")
        assert "(at `times`)" in message
    assert (answer, good) == refusal(f"Invalid request: {message}", data_code)


@pytest.mark.parametrize("params", [[], [1], "text", 5, True])
async def test_a_method_without_params_refuses_what_is_no_object(params: Any) -> None:
    assert await ask(nothing, params) == refusal("Invalid request: params must be an object or null", "invalidParams")


async def test_an_unknown_method_is_named_and_a_long_name_is_cut() -> None:
    shown = "x" * 100 + "…"
    assert await ask(nothing, called="x" * 5000) == refusal(
        f"Invalid request: unknown method `{shown}`; the README lists the methods of this server.", "unknownMethod"
    )


async def test_a_method_of_the_protocol_that_is_not_there_is_not_supported() -> None:
    assert await ask(nothing, called="plugin/install") == refusal(
        "plugin/install is not supported yet: there are no plugins and no marketplaces.", "notSupported", -32601
    )


@pytest.mark.parametrize("handler", [crash, crash_in_a_group])
async def test_the_text_of_a_handlers_exception_never_reaches_the_client(handler: Any) -> None:
    answer = await ask(handler)
    assert answer == refusal("The server failed while serving a/b; its log has the cause.", "internal", -32603)
    assert SECRET not in str(answer)


async def test_a_result_that_is_no_json_is_an_internal_error() -> None:
    assert await ask(unencodable) == refusal(
        "The server failed while serving a/b; its log has the cause.", "internal", -32603
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            InvalidRequest("No such thread.", data_code="threadNotFound", data={"threadId": "t"}),
            refusal("No such thread.", "threadNotFound", threadId="t"),
        ),
        (NotSupported("Not here."), refusal("Not here.", "notSupported", -32601)),
        (Overloaded("Later."), refusal("Later.", "overloaded", -32001, server_overloaded=True)),
        (ConfigurationError("Set a model."), refusal("Set a model.", "configuration")),
    ],
)
async def test_an_error_of_the_tree_keeps_its_words_and_codes(error: Exception, expected: object) -> None:
    assert await ask(raising(error)) == expected


# -- the experimental gate
@pytest.mark.parametrize(
    ("method", "params", "used"),
    [
        ("mock/experimentalMethod", {}, "mock/experimentalMethod"),
        ("mock/experimentalMethod", MISSING, "mock/experimentalMethod"),
        ("mock/experimentalMethod", [], "mock/experimentalMethod"),
        ("thread/start", {"dynamicTools": []}, "thread/start.dynamicTools"),
        ("turn/start", {"collaborationMode": {}}, "turn/start.collaborationMode"),
    ],
)
async def test_what_is_experimental_needs_the_capability(method: str, params: Any, used: str) -> None:
    assert await ask(nothing, params, method=method) == refusal(
        f"{used} requires experimentalApi capability", "experimentalApiRequired"
    )


@pytest.mark.parametrize("params", [{"dynamicTools": None}, {"dynamicTools": False}, {"model": "m"}, None])
async def test_an_experimental_param_that_says_nothing_is_free(params: Any) -> None:
    assert (await ask(nothing, params, method="thread/start"))[1]


async def test_with_the_capability_everything_is_open() -> None:
    assert (await ask(nothing, {"dynamicTools": []}, method="thread/start", experimental=True))[1]
