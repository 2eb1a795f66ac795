"""Owns what a client is told about a turn that failed: the error object, its kinds, the `error` notification."""

from typing import Annotated, Literal

from pydantic import Field

from app_server.protocol.base import Bool, WireModel

CodexErrorName = Literal[
    "contextWindowExceeded",
    "sessionBudgetExceeded",
    "usageLimitExceeded",
    "rateLimitExceeded",
    "flexUnavailable",
    "serverOverloaded",
    "modelNotFound",
    "policyCapacityUnavailable",
    "cyberPolicy",
    "misalignmentPolicyViolation",
    "tooManyDenials",
    "internalServerError",
    "unauthorized",
    "badRequest",
    "threadRollbackFailed",
    "sandboxError",
    "other",
    "inferenceHookDenied",
]
HttpStatus = Annotated[int, Field(strict=True, ge=0, le=2**16 - 1)]
NonSteerableTurnKind = Literal["review", "compact"]


class HttpFailure(WireModel):
    """The status of the upstream's answer; None where there was none."""

    http_status_code: HttpStatus | None = None


class NotSteerable(WireModel):
    turn_kind: NonSteerableTurnKind


class HttpConnectionFailedCodexErrorInfo(WireModel):
    http_connection_failed: HttpFailure


class ResponseStreamConnectionFailedCodexErrorInfo(WireModel):
    response_stream_connection_failed: HttpFailure


class ResponseStreamDisconnectedCodexErrorInfo(WireModel):
    response_stream_disconnected: HttpFailure


class ResponseTooManyFailedAttemptsCodexErrorInfo(WireModel):
    response_too_many_failed_attempts: HttpFailure


class ActiveTurnNotSteerableCodexErrorInfo(WireModel):
    """Also the `data` of the error reply to a steer that the running turn cannot take."""

    active_turn_not_steerable: NotSteerable


CodexErrorInfo = (
    CodexErrorName
    | HttpConnectionFailedCodexErrorInfo
    | ResponseStreamConnectionFailedCodexErrorInfo
    | ResponseStreamDisconnectedCodexErrorInfo
    | ResponseTooManyFailedAttemptsCodexErrorInfo
    | ActiveTurnNotSteerableCodexErrorInfo
)
"""A name, or an object whose one member is the name and holds the details."""


class MisalignmentSteer(WireModel):
    message: str


class MisalignmentErrorDetails(WireModel):
    detailed_explanation: str | None = None
    error_type: str | None = None
    review_target: str | None = None
    steer: MisalignmentSteer | None = None


class TurnError(WireModel):
    """Why a turn failed, or why an attempt of it is repeated."""

    message: str
    codex_error_info: CodexErrorInfo | None = None
    additional_details: str | None = None
    misalignment: MisalignmentErrorDetails | None = None


class ErrorNotification(WireModel):
    """`error`: sent before `turn/completed` of a failed turn, and with `will_retry` before each repeated attempt."""

    error: TurnError
    will_retry: Bool
    thread_id: str
    turn_id: str
