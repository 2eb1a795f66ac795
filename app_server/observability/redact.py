"""What may stand in a log line: pure functions that take out secrets, picture bytes and long texts.

Called for every line by `logging.py`; knows no logger. A value is never trusted to be harmless because of its key:

    key named like a secret       ─▶ [redacted]           data URL, base64 run ≥ 200  ─▶ its type and length
    bytes                         ─▶ their number         sk-…, JWT, Bearer, URL secrets ─▶ [redacted]
    text over 2,000 characters    ─▶ its beginning        deep or wide containers      ─▶ their beginning
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import partial
from typing import Any

MAX_TEXT_CHARS = 2000
MAX_ENTRIES = 50
MAX_DEPTH = 6
MIN_BASE64_CHARS = 200
_SCAN_CHARS = 2 * MAX_TEXT_CHARS

_SECRET_KEYS = frozenset(
    {
        *("authorization", "proxy_authorization", "bearer", "credentials", "cookie", "set_cookie"),
        *("token", "access_token", "refresh_token", "id_token", "api_key", "apikey", "x_api_key"),
        *("secret", "password", "passwd", "private_key"),
    }
)
_SECRET_SUFFIXES = ("_token", "_secret", "_password", "_api_key", "_apikey", "_private_key")
_TOKEN_CHARS = string.ascii_letters + string.digits + "_+/=.~-"
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"\bdata:((?:[\w.+-]{1,60}/[\w.+-]{1,60})?)(?:;[\w=.+-]{1,80}){0,4},[\w+/=%.~-]*"),
        "<data URL {1}, {n} chars>",
    ),
    (re.compile(rf"[A-Za-z0-9+/_=-]{{{MIN_BASE64_CHARS},}}"), "<base64, {n} chars>"),
    (
        re.compile(r"(?<![\w+/=-])(?:[A-Za-z0-9+/_=-]{40,}\s{1,2}){2,}[A-Za-z0-9+/_=-]*"),
        "<base64, {n} chars>",
    ),
    (re.compile(r"\beyJ[\w-]{6,}(?:\.[\w-]*){0,4}"), "[redacted token]"),
    (re.compile(r"\bsk-[\w-]{6,}"), "[redacted key]"),
    (re.compile(r"(?i)\b(bearer|basic)\s+(?!\[)[\w.~+/=-]{6,}"), "{1} [redacted]"),
    (
        re.compile(
            r"(?i)((?:^|[\"'?&;,{(\s])[\w-]*(?:token|secret|password|api[_-]?key)[\"']?\s?[=:]\s?[\"']?)"
            r"(?![\[<])[^\s\"'&;,}]{4,}"
        ),
        "{1}[redacted]",
    ),
    (re.compile(r"(?i)([?&](?:key|sig|signature|code|x-amz-[\w-]+)=)[^\s\"'&#]+"), "{1}[redacted]"),
    (re.compile(r"(?<=://)[^/\s@]{1,200}@"), "[redacted]@"),
)


def redact(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a log line as JSON values that may be written."""
    return {key: _value(key, value, MAX_DEPTH) for key, value in fields.items()}


def redact_text(text: str, *, keep_end: bool = False) -> str:
    """A text without secrets and picture bytes, and not over MAX_TEXT_CHARS (of a traceback the end is kept)."""
    total = len(text)
    if total > _SCAN_CHARS:  # look at one part only; a secret that the cut halves would not be known as one
        part = text[-_SCAN_CHARS:] if keep_end else text[:_SCAN_CHARS]
        text = part.lstrip(_TOKEN_CHARS) if keep_end else part.rstrip(_TOKEN_CHARS)
    cut = total - len(text)
    if not text.isascii():  # a file name may hold bytes that are no UTF-8
        text = text.encode(errors="backslashreplace").decode()
    for pattern, form in _PATTERNS:
        text = pattern.sub(partial(_replace, form), text)
    if len(text) > MAX_TEXT_CHARS:
        cut += len(text) - MAX_TEXT_CHARS
        text = text[-MAX_TEXT_CHARS:] if keep_end else text[:MAX_TEXT_CHARS]
    if not cut:
        return text
    return f"(+{cut} chars) …{text}" if keep_end else f"{text}… (+{cut} chars)"


def is_secret_key(key: str) -> bool:
    """Whether a field of this name is a secret, in snake, kebab or camel case. Counts (`total_tokens`) are not."""
    name = _CAMEL.sub("_", key).lower().replace("-", "_")
    return name in _SECRET_KEYS or name.endswith(_SECRET_SUFFIXES)


def _replace(form: str, found: re.Match[str]) -> str:
    group = found.group(1) if found.re.groups else ""
    return form.replace("{n}", str(len(found.group()))).replace("{1}", group)


def _value(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_secret_key(key):
        return "[redacted]"
    match value:
        case int() if abs(value) >= 2**63:  # more than the encoder takes
            return str(value)
        case int() | float():
            return value
        case str():
            return redact_text(value, keep_end=key == "exception")
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() if depth:
            pairs = list(value.items())[:MAX_ENTRIES]
            shown: dict[str, Any] = {redact_text(str(name)): _value(str(name), item, depth - 1) for name, item in pairs}
            return shown if len(value) <= MAX_ENTRIES else {**shown, "…": f"+{len(value) - MAX_ENTRIES} entries"}
        case list() | tuple() | set() | frozenset() if depth:
            items = [_value("", item, depth - 1) for item in list(value)[:MAX_ENTRIES]]
            return items if len(value) <= MAX_ENTRIES else [*items, f"+{len(value) - MAX_ENTRIES} entries"]
        case Mapping() | list() | tuple() | set() | frozenset():
            return f"<{len(value)} entries>"
        case _:
            return redact_text(str(value))
