"""The JSON-RPC envelope of the wire, pure: bytes in, a classified frame out, and back.

The wire is JSON-RPC 2.0 without its `jsonrpc` member (one in a request is accepted and ignored), one document a frame,
no batches. Ids are strings or 64-bit integers and come back unchanged. A notification that we send has a third
top-level member, `emittedAtMs`. What cannot be read is an `Invalid` with the id that could be read, else null
(JSON-RPC 2.0 §5.1); blank frames are nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from app_server.values import frozen

RequestId = int | str
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
MAX_MESSAGE_CHARS: Final = 1000
_VISIBLE = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}  # ␀ for NUL, ␛ for escape
_MAX_ID = 2**63 - 1  # beyond 64 bits orjson yields floats: such an id could not come back unchanged


@frozen(kw_only=False)
class Missing:
    """The member was not in the frame (null is something else)."""


MISSING: Final = Missing()


@frozen(kw_only=False)
class Request:
    """A call that wants one answer."""

    id: RequestId
    method: str
    params: Any = MISSING
    trace: Any = None
    """Where the client's own trace stands, as W3C Trace Context members; unchecked."""


@frozen(kw_only=False)
class Notification:
    """A message that wants no answer."""

    method: str
    params: Any = MISSING


@frozen(kw_only=False)
class Reply:
    """The client's answer to a request that we sent: a result, or an error object."""

    id: RequestId
    result: Any
    error: Mapping[str, Any] | None


@frozen(kw_only=False)
class Invalid:
    """A frame that is answered with an error and otherwise forgotten."""

    id: RequestId | None
    code: int
    message: str
    data_code: str


Frame = Request | Notification | Reply | Invalid


def parse_frame(data: bytes) -> Frame | None:
    """Classify one frame; None for a blank one."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not data.strip():
            return None
        return Invalid(None, PARSE_ERROR, f"The message is not valid JSON: {error}.", "parseError")
    if type(value) is not dict:
        kind = "Batches are not supported; send" if type(value) is list else "A message must be a JSON object: send"
        return Invalid(None, INVALID_REQUEST, f"{kind} one request object per message.", "invalidRequest")
    raw_id = value.get("id", MISSING)
    method = value.get("method", MISSING)
    if type(method) is str:
        if raw_id is MISSING:
            return Notification(method, value.get("params", MISSING))
        if (id_ := _usable_id(raw_id)) is not None:
            return Request(id_, method, value.get("params", MISSING), value.get("trace"))
        return Invalid(None, INVALID_REQUEST, "The id must be a string or a 64-bit integer.", "invalidRequest")
    id_ = _usable_id(raw_id)
    if method is MISSING and id_ is not None and ("result" in value or "error" in value):
        error_object = value.get("error")
        if error_object is not None and not isinstance(error_object, dict):
            error_object = {"code": 0, "message": str(error_object)[:200]}
        return Reply(id_, value.get("result"), error_object)
    return Invalid(id_, INVALID_REQUEST, "A request needs a `method` that is a string.", "invalidRequest")


def _usable_id(value: Any) -> RequestId | None:
    if type(value) is str or (type(value) is int and -_MAX_ID - 1 <= value <= _MAX_ID):
        return value
    return None


def encode_result(request_id: RequestId, result: Any) -> bytes:
    """A good answer. `result` is plain JSON data."""
    return orjson.dumps({"id": request_id, "result": result})


def encode_error(request_id: RequestId | None, code: int, message: str, data: Mapping[str, Any] | None) -> bytes:
    """An error answer, `error` before `id` as the reference writes it."""
    error: dict[str, Any] = {"code": code, "message": one_line(message)}
    if data is not None:
        error["data"] = data
    return orjson.dumps({"error": error, "id": request_id})


def one_line(message: str) -> str:
    """A message that may quote what a client sent: no character steers the terminal or the log that shows it."""
    shown = message if len(message) <= MAX_MESSAGE_CHARS else f"{message[:MAX_MESSAGE_CHARS]}…"
    return shown.translate(_VISIBLE)


def encode_notification(method: str, params: Any, emitted_at_ms: int) -> bytes:
    """A notification, stamped with the time at which it was made."""
    return orjson.dumps({"method": method, "params": params, "emittedAtMs": emitted_at_ms})


def encode_request(request_id: int, method: str, params: Any) -> bytes:
    """A request of the server to a client."""
    return orjson.dumps({"id": request_id, "method": method, "params": params})
