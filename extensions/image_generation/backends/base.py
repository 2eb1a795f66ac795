"""The seam between the tool and what makes pictures: a request, a result, a failure with a kind to act on.

A backend knows no thread, item or file of ours: it gets bytes and gives bytes. The tool owns the deadline as a whole,
the check of what comes back and all that is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class FailureKind(StrEnum):
    """Why there is no picture; the values are the item's `error.type`."""

    USAGE_LIMIT_EXCEEDED = "usageLimitExceeded"
    RATE_LIMITED = "rateLimited"
    MODERATION_BLOCKED = "moderationBlocked"
    UNAUTHORIZED = "unauthorized"
    TIMEOUT = "timeout"
    NETWORK = "network"
    """No answer, or the service says that it cannot serve now (5xx): worth another try later."""
    INVALID_RESPONSE = "invalidResponse"
    """An answer without a picture, or a refusal of the request (other 4xx): trying again changes nothing."""
    SAVE_FAILED = "saveFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLimit:
    """The limit that was reached, where the backend names it."""

    limit_id: str
    resets_at_s: int | None
    """Unix seconds."""


class BackendFailure(Exception):
    """No picture. The message is one sentence for the model, the clients and the log alike, without secrets."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        retry_after_ms: int | None = None,
        request_id: str | None = None,
        limit: UsageLimit | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.retryable = kind, message, retryable
        self.retry_after_ms, self.request_id, self.limit = retry_after_ms, request_id, limit


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPicture:
    """A picture to start from."""

    mime: str
    data: bytes

    def __repr__(self) -> str:  # bytes never reach a log line
        return f"InputPicture({self.mime}, {len(self.data)} bytes)"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """What to make. With `pictures` it is an edit of them, in this order."""

    prompt: str
    model: str
    background: str = "auto"
    quality: str = "auto"
    size: str = "auto"
    pictures: tuple[InputPicture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageResult:
    """What was made, as received: nobody has looked at the bytes yet."""

    data: bytes
    revised_prompt: str | None = None
    background: str | None = None
    """`transparent`, `opaque`, `auto`, or None when the backend does not say."""
    generation_id: str | None = None
    request_id: str | None = None

    def __repr__(self) -> str:  # neither bytes nor prompts reach a log line
        return f"ImageResult({len(self.data)} bytes, background={self.background!r}, request_id={self.request_id!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do, as data."""

    title: str
    edits: bool
    why_no_edits: str = ""
    """One sentence for the model, with the way out, where `edits` is false."""


class ImageBackend(Protocol):
    """Makes pictures. Cancelled when the turn is interrupted or the deadline has passed."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def generate(self, request: ImageRequest) -> ImageResult:
        """A new picture. Raises BackendFailure."""
        ...

    async def edit(self, request: ImageRequest) -> ImageResult:
        """A picture made from `request.pictures`. Raises BackendFailure; only called where `capabilities.edits`."""
        ...
