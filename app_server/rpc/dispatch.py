"""From a request to its answer. Where an exception becomes a wire error.

jsonrpcserver (`rpc/engine`) is used at request level (`dispatch_request`): it finds the method, binds the arguments and
calls it. Our envelope is checked before (`protocol/jsonrpc.py`) and written after, because the wire has no `jsonrpc`
member; params are validated here, once, at the edge.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from app_server.errors import AppServerError, InternalError, InvalidRequest, NotSupported, RpcError, as_rpc_error
from app_server.observability.logging import get_logger
from app_server.protocol.base import NoParams, WireModel, validation_error_message
from app_server.protocol.gates import experimental_use
from app_server.protocol.jsonrpc import MISSING, Request, encode_error, encode_result
from app_server.protocol.unsupported import UNSUPPORTED
from app_server.rpc.context import RequestContext
from app_server.rpc.engine import EngineRequest, Error, Success, dispatch_request

if TYPE_CHECKING:
    from app_server.rpc.registry import MethodSpec

S = TypeVar("S")
log = get_logger("rpc")
Engine = Callable[[RequestContext[Any], Any], Awaitable[Any]]


class Dispatcher(Generic[S]):
    """The methods of the server; one is made ready when it is first called."""

    def __init__(self, methods: Mapping[str, MethodSpec]) -> None:
        self._methods = methods
        self._table: dict[str, Engine] = {}

    async def dispatch(self, ctx: RequestContext[S], request: Request) -> tuple[bytes, bool]:
        """The encoded answer, and whether it is a good one."""
        if request.method not in self._table:
            if request.method not in self._methods:
                return _error(request, not_served(request.method, ctx.session.experimental_api)), False
            self._table[request.method] = _engine_method(self._methods[request.method])
        _, outcome = await dispatch_request(
            self._table, ctx, EngineRequest(request.method, [request.params], request.id)
        )
        failure = getattr(outcome, "_error", None)  # the engine's Either type has no public accessor
        if failure is not None:
            return encode_error(request.id, failure.code, failure.message, failure.data), False
        result = outcome._value.result
        try:
            return encode_result(request.id, result.wire() if isinstance(result, WireModel) else result), True
        except TypeError:  # orjson's: a handler returned something that is not JSON
            log.error("reply_not_encodable", method=request.method, exc_info=True)
            return _error(request, InternalError(_internal(request.method))), False


def _engine_method(spec: MethodSpec) -> Engine:
    async def serve(ctx: RequestContext[Any], params: Any) -> Any:
        try:
            result = await spec.handler(ctx, validated(spec, params, ctx.session.experimental_api))
        except AppServerError as error:
            wire = as_rpc_error(error)
            return Error(wire.wire_code, wire.message, wire.data)
        except Exception:  # the request task's last resort: nothing of the inside is told to the client
            log.error("request_failed", method=spec.name, exc_info=True)
            wire = InternalError(_internal(spec.name))
            return Error(wire.wire_code, wire.message, wire.data)
        return Success(result)

    return serve


def validated(spec: MethodSpec, params: Any, experimental_api: bool) -> BaseModel | None:
    """The params as their model, after the experimental gate. Raises InvalidRequest in the reference's words."""
    given = params if isinstance(params, dict) else None
    if not experimental_api and (used := experimental_use(spec.name, given)) is not None:
        raise needs_capability(used)
    if spec.params is None:
        if params is MISSING or params is None or isinstance(params, dict):
            return None
        raise _invalid("params must be an object or null", "invalidParams")
    if issubclass(spec.params, NoParams) and (params is MISSING or params is None):
        params = {}
    if params is MISSING:
        raise _invalid("missing field `params`", "missingParams")
    try:
        return spec.params.model_validate(params)
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


def _error(request: Request, error: RpcError) -> bytes:
    return encode_error(request.id, error.wire_code, error.message, error.data)
