"""Reads the answers of an OpenAI-shaped images API: the pictures, or the failure in words. Pure.

| answer | kind |
|---|---|
| 2xx with `data[]`, each with `b64_json` or `url` | the pictures, or links to them |
| 2xx with anything else | invalidResponse |
| a moderation code in the body, whatever the status | moderationBlocked |
| 401, 403 | unauthorized; after 401 the login is refreshed and the request tried again, once |
| 408, 504 | timeout; as every 5xx, 504 is tried again |
| 429, error type `usage_limit_reached` | usageLimitExceeded; names the limit that `x-codex-active-limit` gives |
| 429 | rateLimited, with the time of `retry-after` |
| other 5xx | network |
| other 4xx, 3xx | invalidResponse |
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from app_server.extension_api.values import frozen
from extensions.image_generation.backends.base import BackendFailure, FailureKind, ResultPicture, UsageLimit
from extensions.image_generation.backends.base64_members import without_pictures

if TYPE_CHECKING:
    from app_server.extension_api import HttpAnswer

MAX_MESSAGE_CHARS: Final = 4000
MAX_BODY_BYTES: Final = 64 * 1024
"""How much of a body without JSON is looked at for a message."""
MODERATION_CODES: Final = frozenset({"moderation_blocked", "content_policy_violation"})
_SERVICE: Final = "the images API"


@frozen
class Link:
    """A picture that lies elsewhere."""

    url: str
    revised_prompt: str | None = None
    generation_id: str | None = None


@frozen
class Answer:
    """A good answer: its pictures in order, and what it says of their making."""

    pictures: tuple[ResultPicture | Link | BackendFailure, ...]
    said: Mapping[str, str]
    """Of background, size, quality and output_format those that it names."""
    request_id: str | None


def read_answer(answer: HttpAnswer) -> Answer:
    """The pictures of the answer, at least one. Raises BackendFailure."""
    headers = lower_names(answer.headers)
    if not 200 <= answer.status < 300:
        raise _refusal(answer.status, answer.body, headers)
    body, taken = parsed(answer.body)
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(data, list):
        raise unusable("answered without the list `data`", headers)
    if not data:
        raise unusable("answered, but returned no picture", headers)
    return Answer(
        pictures=tuple(read_picture(one, headers, taken) for one in data),
        said=parameters(body),
        request_id=_request_id(headers),
    )


def lower_names(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def parameters(body: Mapping[str, Any]) -> dict[str, str]:
    """What a body says of the making of its pictures."""
    names = ("background", "size", "quality", "output_format")
    return {name: value for name in names if (value := _text(body.get(name))) is not None}


def parsed(text: bytes) -> tuple[Any, Mapping[str, bytes]]:
    """The JSON of a good answer, None where it is none, and the pictures that were taken out of it, by their marks."""
    short, taken = without_pictures(text)
    return _json(short), taken


def read_picture(
    one: object, headers: Mapping[str, str], taken: Mapping[str, bytes]
) -> ResultPicture | Link | BackendFailure:
    """One element of `data`: the picture, a link to it, or why it is neither."""
    if not isinstance(one, dict):
        return unusable("answered, but returned no picture", headers)
    encoded, url = one.get("b64_json"), one.get("url")
    if isinstance(url, str) and url.startswith("data:") and not encoded:
        encoded, url = url.partition(",")[2], None
    about = {"revised_prompt": _text(one.get("revised_prompt")), "generation_id": _text(one.get("generation_id"))}
    if isinstance(encoded, str) and encoded.strip():
        if (picture := picture_bytes(encoded, taken)) is None:
            return unusable("returned a picture that is not valid base64", headers)
        return ResultPicture(data=picture, **about)
    if isinstance(url, str) and url.strip():
        return Link(url=url.strip(), **about)
    return unusable("returned a picture without `b64_json` and `url`", headers)


def picture_bytes(encoded: str, taken: Mapping[str, bytes]) -> bytes | None:
    """What a `b64_json` stands for, or None when it is not valid base64."""
    if (picture := taken.get(encoded)) is not None:
        return picture
    try:
        return base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def stream_failure(event: Mapping[str, Any], headers: Mapping[str, str]) -> BackendFailure:
    """The failure that an `error` event of a stream tells."""
    error = event["error"] if isinstance(event.get("error"), dict) else event
    code = _member(error, "code") or _member(error, "type")
    status = 429 if code in ("rate_limit_exceeded", "usage_limit_reached") else 500
    return _refusal(status, orjson.dumps({"error": error}), headers)


def error_message(body: bytes) -> str:
    """What the service says: `error.message`, else a `detail` string, else `detail.message`, else the body; capped."""
    text = body[:MAX_BODY_BYTES].decode("utf-8", "replace").strip()
    data = _json(body)
    if isinstance(data, dict):
        error, detail = data.get("error"), data.get("detail")
        candidates = (_member(error, "message"), detail, _member(detail, "message"))
        text = next((found.strip() for found in candidates if isinstance(found, str) and found.strip()), text)
    elif text[:100].lower().startswith(("<!doctype html", "<html")):
        text = "a web page instead of an answer"
    return text if len(text) <= MAX_MESSAGE_CHARS else text[: MAX_MESSAGE_CHARS - 1] + "…"


def _refusal(status: int, body: bytes, headers: Mapping[str, str]) -> BackendFailure:
    data = _json(body)
    error = data.get("error") if isinstance(data, dict) else None
    said = error_message(body) or "it gave no reason"
    request_id, wait_ms = _request_id(headers), _retry_after_ms(headers)
    codes = {_member(error, "code"), _member(error, "type"), _member(_member(data, "detail"), "code")}
    if any(isinstance(code, str) and code in MODERATION_CODES for code in codes):
        text = f"{_SERVICE} refused the request for safety reasons: {said}"
        return BackendFailure(FailureKind.MODERATION_BLOCKED, text, request_id=request_id)
    if status == 429 and _member(error, "type") == "usage_limit_reached":
        return _usage_limit(said, _member(error, "resets_at"), headers)
    if status == 429:
        when = f" in {max(1, round(wait_ms / 1000))} s" if wait_ms is not None else " later"
        text = f"{_SERVICE} is asked too often (HTTP 429), try again{when}: {said}"
        return BackendFailure(FailureKind.RATE_LIMITED, text, retry_after_ms=wait_ms, request_id=request_id)
    kind, what = _by_status(status)
    text = f"{_SERVICE} {what} (HTTP {status}): {said}"
    return BackendFailure(
        kind, text, retry_after_ms=wait_ms, request_id=request_id, retryable=status >= 500, status=status
    )


def _by_status(status: int) -> tuple[FailureKind, str]:
    if status in (401, 403):
        return FailureKind.UNAUTHORIZED, "refused the login, log in again or check the key"
    if status in (408, 504):
        return FailureKind.TIMEOUT, "took too long, try again"
    if status >= 500:
        return FailureKind.NETWORK, "failed, try again later"
    if status < 400:
        return FailureKind.INVALID_RESPONSE, "answered with a redirect, correct the provider's base_url"
    return FailureKind.INVALID_RESPONSE, "refused the request"


def _usage_limit(said: str, resets_at: object, headers: Mapping[str, str]) -> BackendFailure:
    name = headers.get("x-codex-active-limit", "").strip()
    resets_at_s = resets_at if isinstance(resets_at, int) and not isinstance(resets_at, bool) else None
    limit = UsageLimit(limit_id=name, resets_at_s=resets_at_s) if name and name != "codex" else None
    text = f"the image limit of this account is used up{_until(resets_at_s)}: {said}"
    return BackendFailure(
        FailureKind.USAGE_LIMIT_EXCEEDED,
        text,
        retry_after_ms=_retry_after_ms(headers),
        request_id=_request_id(headers),
        limit=limit,
    )


def _until(resets_at_s: int | None) -> str:
    try:
        return "" if resets_at_s is None else f" until {datetime.fromtimestamp(resets_at_s, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, OSError, ValueError):  # a number that is no time
        return ""


def _retry_after_ms(headers: Mapping[str, str]) -> int | None:
    """The wait that the service asks for; a date is taken as from the answer's own `date`."""
    for name, factor in (("retry-after-ms", 1), ("retry-after", 1000)):
        try:
            return max(0, round(float(headers[name]) * factor))
        except (KeyError, ValueError, OverflowError):
            continue
    try:
        wait = parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])
        return max(0, round(wait.total_seconds() * 1000))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


def _request_id(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-codex-imagegen-request-id") or headers.get("x-request-id") or None


def unusable(what: str, headers: Mapping[str, str]) -> BackendFailure:
    """An answer that is of no use, as a failure."""
    text = f"{_SERVICE} {what}; try again, or use another provider"
    return BackendFailure(FailureKind.INVALID_RESPONSE, text, request_id=_request_id(headers))


def _member(value: object, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
