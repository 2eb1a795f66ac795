"""The exception tree of the server.

    AppServerError                      everything we raise on purpose
    ├── ConfigurationError              a setting, file or key is wrong; says where and what to write (exit 2)
    │   └── MissingCredentials          no key or login for a provider; names the variable or the method to use
    ├── RpcError                        a request cannot be served; carries the wire code and a stable `data.code`
    │   ├── InvalidRequest    -32600    wrong shape, unknown id, wrong state (the reference's code for nearly all)
    │   ├── NotSupported      -32601    a known method that this server does not do
    │   ├── InternalError     -32603    the server or its disk failed; no detail of the inside is told
    │   ├── Overloaded        -32001    too many requests in flight; try again
    │   └── TenantLimit       -32001    a tenant has all that the host gives it; says when there is more
    ├── ToolFailure                     a tool could not do it; the text is for the model
    ├── UpstreamError                   the provider failed (providers/base.py)
    └── StorageError                    the log or a blob cannot be read or written (storage/base.py)

Domain code raises; `rpc/dispatch.py` alone turns an exception into a wire error, `tools/router.py` alone into text for
the model. A message is one sentence that names the thing and what to do about it, without secrets or debug syntax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

EXIT_CONFIGURATION = 2
"""Status of a process that ends because a setting or a file is wrong."""


class AppServerError(Exception):
    """Root of the tree: raised on purpose, with a message that a person can act on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigurationError(AppServerError):
    """A setting or file is wrong; the message says where and what to write instead."""


class MissingCredentials(ConfigurationError):
    """A provider needs a key or a login that is not there."""


class RpcError(AppServerError):
    """A request cannot be served. `data_code` is stable: clients may branch on `error.data.code`."""

    wire_code: ClassVar[int] = -32603

    def __init__(self, message: str, *, data_code: str, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.data_code = data_code
        self.data: dict[str, Any] = {"code": data_code, **(data or {})}


class InvalidRequest(RpcError):
    """The request has a wrong shape, names something unknown, or comes in the wrong state."""

    wire_code = -32600


class NotSupported(RpcError):
    """A method of the protocol that this server does not do."""

    wire_code = -32601

    def __init__(self, message: str) -> None:
        super().__init__(message, data_code="notSupported")


class InternalError(RpcError):
    """The server itself failed; the log has the cause, the client gets no detail of it."""

    wire_code = -32603

    def __init__(self, message: str, *, data_code: str = "internal") -> None:
        super().__init__(message, data_code=data_code)


class Overloaded(RpcError):
    """More requests are in flight on this connection than the server holds."""

    wire_code = -32001

    def __init__(self, message: str) -> None:
        super().__init__(message, data_code="overloaded", data={"server_overloaded": True})


class TenantLimit(RpcError):
    """A tenant has as much of something as the host allows. `data.retryAfterMs` null: time alone changes nothing."""

    wire_code = -32001

    def __init__(self, message: str, *, what: str, limit: int, used: int, retry_after_ms: int | None) -> None:
        told = {"what": what, "limit": limit, "used": used, "retryAfterMs": retry_after_ms}
        super().__init__(message, data_code="tenantLimit", data=told)
        self.retry_after_ms = retry_after_ms


class ToolFailure(AppServerError):
    """A tool could not do what was asked; the message is given to the model as the tool's output."""


def as_rpc_error(error: AppServerError) -> RpcError:
    """Any error of the tree as a wire error."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, ConfigurationError):
        return InvalidRequest(error.message, data_code="configuration")
    return InternalError(error.message, data_code="storage")


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first single exception of a task group's failure: the one that made the others be cancelled."""
    cause: BaseException = group
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause
