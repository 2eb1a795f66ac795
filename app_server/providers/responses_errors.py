"""What a failure of the Responses API means: status and body, or a failure event, become one UpstreamError. Pure.

    where it shows                              kind                               sent again on a new stream
    400                                         other                              no
    401, 403, any other unexpected status       httpConnectionFailed{status}       no (408: yes)
    404 model_not_found                         modelNotFound                      no
    429                                         responseTooManyFailedAttempts{429} yes, after Retry-After
    429 usage_limit_reached, usage_not_included usageLimitExceeded                 no
    any status, insufficient_quota              usageLimitExceeded                 no
    any status, context_length_exceeded         contextWindowExceeded              no
    500                                         internalServerError                yes
    5xx server_is_overloaded, slow_down         serverOverloaded                   no
    other 5xx                                   responseTooManyFailedAttempts{5xx} yes
    cut, EOF, silence, `error` event            other                              yes
    no connection                               httpConnectionFailed{null}         yes
    failed rate_limit_exceeded                  rateLimitExceeded                  yes, after "try again in …"
    failed invalid_prompt or a picture's fault  other                              no
    failed, unknown code                        other                              yes
    incomplete, an event over the cap           other                              no

The kinds are the reference's. `responses_api.py` and `responses_events.py` call it; it never sees a header of the
request, and what an answer quotes of the caller's secrets is blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import orjson

from app_server.providers.base import UpstreamError
from app_server.values import frozen

MAX_QUOTED_CHARS: Final = 2_000
"""How much of a provider's own words a message repeats."""

_USAGE_LIMIT: Final = frozenset({"usage_limit_reached", "usage_not_included"})
_OVERLOADED: Final = frozenset({"server_is_overloaded", "slow_down"})
_FAULT_OF_THE_REQUEST: Final = frozenset(
    {
        "invalid_prompt", "invalid_image", "invalid_image_format", "invalid_image_mode", "invalid_image_url",
        "invalid_base64_image", "image_too_large", "image_too_small", "image_parse_error", "image_file_too_large",
        "image_file_not_found", "image_content_policy_violation", "unsupported_image_media_type", "empty_image_file",
        "failed_to_download_image", "content_policy_violation", "moderation_blocked",
    }
)  # fmt: skip
"""Codes (of the API's ResponseErrorCode and of its image tool) that the same request would meet again."""

_TRY_AGAIN: Final = re.compile(r"try again in\s*(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|seconds?|m|minutes?)\b", re.I)


@frozen
class FailureSource:
    """Who failed, for the words of a message."""

    provider_id: str
    url: str
    """Without query and user info: both may hold a key."""
    login_hint: str
    """Which key or login is used and where it is set, as the end of a sentence."""
    secrets: tuple[str, ...] = ()
    """Values that must not come back to a client when the provider quotes them."""

    def __repr__(self) -> str:  # the secrets stay inside
        return f"FailureSource(provider_id={self.provider_id!r}, url={self.url!r})"


def refusal(
    status: int, body: bytes, headers: Mapping[str, str], source: FailureSource, *, now_s: float
) -> UpstreamError:
    """The error behind an answer whose status is not 2xx."""
    error = _error_object(body)
    said = quoted(error_text(body), source)
    code = {str(error.get("code")), str(error.get("type"))}  # gateways put the same word in either
    if "insufficient_quota" in code:
        return _quota_exceeded(said, status)
    if "context_length_exceeded" in code:
        return _context_exceeded(said, status)
    if status == 429:
        return _too_many(error, code, said, source, wait_s=retry_after_s(headers, now_s=now_s), now_s=now_s)
    if status >= 500:
        return _server_error(status, code, said, source, retry_after_s(headers, now_s=now_s))
    if status == 404 and "model_not_found" in code:
        message = f'Provider "{source.provider_id}" does not know this model; choose another one{_because(said)}.'
        return UpstreamError(message, kind="modelNotFound", http_status=status)
    if status == 400:
        return UpstreamError(
            f'Provider "{source.provider_id}" refused the request (400 Bad Request): {said or "it gave no reason"}.',
            kind="other",
            http_status=status,
        )
    return UpstreamError(
        f'Provider "{source.provider_id}" answered with unexpected status {_status_words(status)} at {source.url}'
        f"{_because(said)}; {_advice(status, source)}.",
        kind={"httpConnectionFailed": {"httpStatusCode": status}},
        stream_retry=status == 408,
        http_status=status,
    )


def response_failed(error: Mapping[str, Any], source: FailureSource) -> UpstreamError:
    """The error of a `response.failed` or `error` event: `{code, message}`."""
    code = str(error.get("code") or error.get("type") or "")
    message = error.get("message")
    said = quoted(message if isinstance(message, str) else "", source)
    if code == "insufficient_quota":
        return _quota_exceeded(said, None)
    if code == "context_length_exceeded":
        return _context_exceeded(said, None)
    if code in _USAGE_LIMIT:
        return UpstreamError(_usage_limit(error, None), kind="usageLimitExceeded")
    if code in _OVERLOADED:
        return _overloaded(said, source, None)
    if code == "rate_limit_exceeded":
        return UpstreamError(
            f'Provider "{source.provider_id}" limits the rate of requests; wait and try again{_because(said)}.',
            kind="rateLimitExceeded",
            stream_retry=True,
            retry_after_s=asked_wait_s(said),
        )
    if code in _FAULT_OF_THE_REQUEST:
        return UpstreamError(f'Provider "{source.provider_id}" refused the request: {said or code}.', kind="other")
    return disconnected(said or f"the provider gave no reason{f' but the code {quoted(code, source)}' if code else ''}")


def response_incomplete(reason: str) -> UpstreamError:
    """The error of a `response.incomplete` event. Not sent again: the same request would end, and cost, the same."""
    return UpstreamError(
        f"Incomplete response: the model stopped early, reason {reason}; ask for less at once or for the rest."
    )


def disconnected(cause: str, *, details: str | None = None, stream_retry: bool = True) -> UpstreamError:
    """The answer broke off before it was complete; the same request may be sent again."""
    message = f"The stream disconnected before the answer was complete: {cause}."
    return UpstreamError(message, kind="other", stream_retry=stream_retry, details=details)


def unreachable(source: FailureSource, *, details: str | None = None) -> UpstreamError:
    """No connection came about, so the request was not even sent."""
    return UpstreamError(
        f'Cannot connect to provider "{source.provider_id}" at {source.url}; check the network and its base_url.',
        kind={"httpConnectionFailed": {"httpStatusCode": None}},
        stream_retry=True,
        details=details,
    )


def bad_address(source: FailureSource) -> UpstreamError:
    """The base URL cannot be used at all."""
    return UpstreamError(
        f'The base_url of provider "{source.provider_id}" is not an http or https address; correct it in the config.'
    )


def bad_header(source: FailureSource) -> UpstreamError:
    """A header that HTTP does not allow."""
    return UpstreamError(
        f'A header for provider "{source.provider_id}" has a name or value that HTTP does not allow; correct its '
        "http_headers, env_http_headers or key."
    )


def error_text(body: bytes) -> str:
    """The provider's own words: error.message, else detail, else detail.message, else the body as it is."""
    parsed = _json_object(body)
    detail = parsed.get("detail")
    for found in (
        _error_object(body).get("message"),
        detail,
        detail.get("message") if isinstance(detail, Mapping) else None,
        parsed.get("error"),
    ):
        if isinstance(found, str) and found.strip():
            return found.strip()
    return body.decode("utf-8", "replace").strip()


def quoted(text: str, source: FailureSource) -> str:
    """A provider's words as part of our sentence: without secrets, capped, on one line, without a full stop."""
    for secret in source.secrets:
        text = text.replace(secret, "[redacted]")
    text = " ".join(text[: MAX_QUOTED_CHARS * 2].split())
    return (text if len(text) <= MAX_QUOTED_CHARS else text[:MAX_QUOTED_CHARS] + " …").rstrip(".")


def retry_after_s(headers: Mapping[str, str], *, now_s: float) -> float | None:
    """What the answer's headers ask to wait: `retry-after-ms`, or `retry-after` in seconds or as a date (RFC 9110)."""
    try:
        if (millis := headers.get("retry-after-ms")) is not None:
            return _sane_wait_s(float(millis) / 1000)
        value = headers.get("retry-after", "")
        if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value):
            return _sane_wait_s(float(value))
        return _sane_wait_s(parsedate_to_datetime(value).timestamp() - now_s)
    except (ValueError, OverflowError):
        return None


def asked_wait_s(text: str) -> float | None:
    """The seconds of a "try again in 1.5s" (also ms, minutes) inside a message, or None."""
    found = _TRY_AGAIN.search(text)
    if found is None:
        return None
    unit = found[2].lower()
    unit_s = 0.001 if unit == "ms" or unit.startswith("milli") else 60.0 if unit.startswith("m") else 1.0
    return _sane_wait_s(float(found[1]) * unit_s)


def _sane_wait_s(wait_s: float) -> float | None:
    return max(wait_s, 0.0) if wait_s < float("inf") else None


def _too_many(
    error: Mapping[str, Any], code: set[str], said: str, source: FailureSource, *, wait_s: float | None, now_s: float
) -> UpstreamError:
    if code & _USAGE_LIMIT:
        return UpstreamError(_usage_limit(error, now_s), kind="usageLimitExceeded", http_status=429)
    return UpstreamError(
        f'Provider "{source.provider_id}" limits the rate of requests (429 Too Many Requests); wait and try again'
        f"{_because(said)}.",
        kind={"responseTooManyFailedAttempts": {"httpStatusCode": 429}},
        stream_retry=True,
        retry_after_s=wait_s,
        http_status=429,
    )


def _server_error(status: int, code: set[str], said: str, source: FailureSource, wait_s: float | None) -> UpstreamError:
    if code & _OVERLOADED:
        return _overloaded(said, source, status)
    trouble = f'Provider "{source.provider_id}" has a problem of its own ({_status_words(status)})'
    return UpstreamError(
        f"{trouble}; try again later{_because(said)}.",
        kind="internalServerError" if status == 500 else {"responseTooManyFailedAttempts": {"httpStatusCode": status}},
        stream_retry=True,
        retry_after_s=wait_s,
        http_status=status,
    )


def _overloaded(said: str, source: FailureSource, status: int | None) -> UpstreamError:
    message = f'This model of provider "{source.provider_id}" is at capacity; try again later or choose another model'
    return UpstreamError(f"{message}{_because(said)}.", kind="serverOverloaded", http_status=status)


def _quota_exceeded(said: str, status: int | None) -> UpstreamError:
    message = f"Quota exceeded: check the plan and the billing details of the account{_because(said)}."
    return UpstreamError(message, kind="usageLimitExceeded", http_status=status)


def _context_exceeded(said: str, status: int | None) -> UpstreamError:
    what = "The conversation no longer fits the model's context window; compact it or start a new thread"
    message = f"{what}{_because(said)}."
    return UpstreamError(message, kind="contextWindowExceeded", http_status=status)


def _usage_limit(error: Mapping[str, Any], now_s: float | None) -> str:
    plan = error.get("plan_type")
    whose = f"the {plan} plan" if isinstance(plan, str) and plan.isidentifier() else "the plan"
    resets_at, resets_in_s = error.get("resets_at"), error.get("resets_in_seconds")
    if not isinstance(resets_at, int | float) and isinstance(resets_in_s, int | float) and now_s is not None:
        resets_at = now_s + resets_in_s
    when = "later"
    if isinstance(resets_at, int | float):
        try:
            when = datetime.fromtimestamp(resets_at, UTC).strftime("after %Y-%m-%d %H:%M UTC")
        except (ValueError, OverflowError, OSError):
            when = "later"
    return f"The usage limit of {whose} is reached; try again {when}, or add credits at https://chatgpt.com/settings/usage."


def _advice(status: int, source: FailureSource) -> str:
    if status == 401:
        return f"check {source.login_hint}"
    if status == 403:
        return f"check the rights of {source.login_hint}"
    return f'check the base_url of provider "{source.provider_id}" and that it speaks the Responses API'


def _because(said: str) -> str:
    return f": {said}" if said else ""


def _status_words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _error_object(body: bytes) -> Mapping[str, Any]:
    error = _json_object(body).get("error")
    return error if isinstance(error, Mapping) else {}


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return parsed if isinstance(parsed, Mapping) else {}
