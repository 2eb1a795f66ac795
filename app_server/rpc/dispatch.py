"""From a request to its answer. Where an exception becomes a wire error.

A handler that has nothing to wait for is a plain function, and its request is answered in the read loop itself; one
that has is `async def`, or returns a coroutine when it comes to that.

jsonrpcserver (`rpc/engine`) calls the method and tells its results from its errors. Its steps before that are left out:
our registry finds the method, and its arguments are always the same two, which the engine would compare with the
signature at every call, for half of the time that a small request takes. Our envelope is checked before
(`protocol/jsonrpc.py`) and written after, because the wire has no `jsonrpc` member; params are validated here, once, at
the edge.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app_server.errors import AppServerError, InternalError, InvalidRequest, NotSupported, RpcError, as_rpc_error
from app_server.observability.logging import get_logger
from app_server.protocol.gates import experimental_use
from app_server.protocol.jsonrpc import MISSING, Request, encode_error, encode_result
from app_server.protocol.plain import PlainParams, plain_params
from app_server.protocol.unsupported import UNSUPPORTED
from app_server.rpc.context import RequestContext
from app_server.rpc.engine import EngineRequest, Error, Failed, Success, call

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app_server.rpc.registry import MethodSpec

S = TypeVar("S")
log = get_logger("rpc")
Engine = Callable[[RequestContext[Any], Any], Any]
Elsewhere = Callable[[RequestContext[Any], Request], "Coroutine[Any, Any, Answer] | None"]
Answer = tuple[bytes, bool]
"""The encoded answer, and whether it is a good one."""


class Dispatcher(Generic[S]):
    """The methods of the server; one is made ready when it is first called."""

    def __init__(
        self,
        methods: Mapping[str, MethodSpec],
        elsewhere: Elsewhere | None = None,
        gate: Callable[[str], RpcError | None] | None = None,
    ) -> None:
        """`elsewhere`: for a request that another process may have to serve, the way to its answer.

        gate: why a method of these is not for our clients; None lets it pass."""
        self._methods, self._elsewhere, self._gate = methods, elsewhere, gate
        self._table: dict[str, Engine] = {}

    def begin(
        self, ctx: RequestContext[S], request: Request, *, here: bool = False
    ) -> Answer | Coroutine[Any, Any, Answer]:
        """The answer, or where the handler has something to wait for, a coroutine that ends with it. Never raises.

        here: it is served in this process whatever it is about."""
        if self._gate is not None and request.method in self._methods and (why := self._gate(request.method)):
            return _refusal(request, why)
        if self._elsewhere is not None and not here and (waiting := self._elsewhere(ctx, request)) is not None:
            return _from_elsewhere(request, waiting)
        if request.method not in self._table:
            if request.method not in self._methods:
                return _refusal(request, not_served(request.method, ctx.session.experimental_api))
            self._table[request.method] = _engine_method(self._methods[request.method])
        outcome = call(EngineRequest(request.method, [request.params], request.id), ctx, self._table[request.method])
        if type(outcome) is Failed:  # the engine's Either type has no public accessor
            failure = outcome._error
            return encode_error(request.id, failure.code, failure.message, failure.data), False
        result = outcome._value.result
        return _finish(request, result) if type(result) is CoroutineType else _answer(request, result)


async def _finish(request: Request, waiting: Coroutine[Any, Any, Any]) -> Answer:
    try:
        result = await waiting
    except Exception as error:
        return _refusal(request, wire_error(error, request.method))
    return _answer(request, result)


async def _from_elsewhere(request: Request, waiting: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return await waiting
    except Exception as error:
        return _refusal(request, wire_error(error, request.method))


def _answer(request: Request, result: Any) -> Answer:
    try:
        plain = result if type(result) is dict or not hasattr(result, "wire") else result.wire()  # a model of the wire
        return encode_result(request.id, plain), True
    except TypeError:  # orjson's: a handler returned something that is not JSON
        log.error("reply_not_encodable", method=request.method, exc_info=True)
        return _refusal(request, InternalError(_internal(request.method)))


def _refusal(request: Request, error: RpcError) -> Answer:
    return encode_error(request.id, error.wire_code, error.message, error.data), False


def wire_error(error: Exception, method: str) -> RpcError:
    """What a client is told of a failure: our own words, and nothing of the inside of any other."""
    if isinstance(error, AppServerError):
        return as_rpc_error(error)
    log.error("request_failed", method=method, exc_info=error)
    return InternalError(_internal(method))


def _engine_method(spec: MethodSpec) -> Engine:
    def serve(ctx: RequestContext[Any], params: Any) -> Any:
        try:
            return Success(spec.handler(ctx, validated(spec, params, ctx.session.experimental_api)))
        except Exception as error:
            wire = wire_error(error, spec.name)
            return Error(wire.wire_code, wire.message, wire.data)

    return serve


def validated(spec: MethodSpec, params: Any, experimental_api: bool) -> BaseModel | PlainParams | None:
    """The params as their model, after the experimental gate. Raises InvalidRequest in the reference's words."""
    given = params if isinstance(params, dict) else None
    if not experimental_api and (used := experimental_use(spec.name, given)) is not None:
        raise needs_capability(used)
    if spec.params is not None and (plain := plain_params(spec.name, params)) is not None:
        return plain
    if (model := spec.model) is None:
        if params is MISSING or params is None or isinstance(params, dict):
            return None
        raise _invalid("params must be an object or null", "invalidParams")
    return _by_the_model(model, params)


def _by_the_model(model: type[BaseModel], params: Any) -> BaseModel:
    from pydantic import ValidationError  # loaded by now: the model is one of its classes

    from app_server.protocol.base import NoParams, validation_error_message

    if issubclass(model, NoParams) and (params is MISSING or params is None):
        params = {}
    if params is MISSING:
        raise _invalid("missing field `params`", "missingParams")
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise _invalid(validation_error_message(error, data=params), "invalidParams") from None


def needs_capability(used: str) -> InvalidRequest:
    """A method or param is for clients with the capability `experimentalApi` alone."""
    return InvalidRequest(f"{used} requires experimentalApi capability", data_code="experimentalApiRequired")


def not_served(method: str, experimental_api: bool) -> RpcError:
    """Why a method without a handler is not served: not for this client, not here, or not anywhere."""
    if not experimental_api and experimental_use(method, None) is not None:
        return needs_capability(method)
    if (reason := UNSUPPORTED.get(method)) is not None:
        return NotSupported(f"{method} is not supported yet: {reason}.")
    return unknown_method(method)


def unknown_method(method: str) -> InvalidRequest:
    """The reference answers -32600 here, not -32601; clients treat both alike."""
    shown = method if len(method) <= 100 else method[:100] + "…"
    return InvalidRequest(
        f"Invalid request: unknown method `{shown}`; the README lists the methods of this server.",
        data_code="unknownMethod",
    )


def _invalid(message: str, data_code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid request: {message}", data_code=data_code)


def _internal(method: str) -> str:
    return f"The server failed while serving {method}; its log has the cause."
