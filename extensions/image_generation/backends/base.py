"""The seam between the tool and what makes pictures: a request, a result, a failure with a kind to act on.

A backend knows no thread, item or file of ours: it gets bytes and gives bytes. The tool owns the deadline as a whole,
the check of what comes back and all that is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from app_server.extension_api.values import frozen

if TYPE_CHECKING:
    from extensions.image_generation.backends.capabilities import Api


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
    TENANT_LIMIT = "tenantLimit"
    """The host of the server allows no more: nothing was asked for."""


@frozen
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
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.message, self.retryable, self.status = kind, message, retryable, status
        self.retry_after_ms, self.request_id, self.limit = retry_after_ms, request_id, limit


@frozen
class InputPicture:
    """A picture to start from."""

    mime: str
    data: bytes
    width: int = 0
    height: int = 0
    has_alpha: bool = False
    file_id: str | None = None
    """Of a picture that the provider has already: then there are no bytes here."""

    @classmethod
    def of_file(cls, file_id: str) -> InputPicture:
        """A picture that was attached by the provider's file id."""
        return cls(mime="", data=b"", file_id=file_id)

    def __repr__(self) -> str:  # bytes never reach a log line
        return f"InputPicture({self.mime}, {len(self.data)} bytes)"


@frozen
class Gif:
    """A looping animation; None: the backend's default."""

    frame_count: int | None = None
    frame_duration_ms: int | None = None


@frozen
class ImageRequest:
    """What to make. With `pictures` it is an edit of them, in this order."""

    prompt: str
    model: str
    background: str = "auto"
    quality: str = "auto"
    size: str = "auto"
    n: int = 1
    output_format: str | None = None
    gif: Gif | None = None
    pictures: tuple[InputPicture, ...] = ()
    mask: InputPicture | None = None
    """Where it is transparent, the first picture may change."""
    partial_images: int = 0
    key: str = ""
    """Names the call to the service, the same for every attempt: what was paid once is not paid twice."""


@frozen
class ResultPicture:
    """One picture as received: nobody has looked at the bytes yet."""

    data: bytes
    revised_prompt: str | None = None
    generation_id: str | None = None

    def __repr__(self) -> str:  # neither bytes nor prompts reach a log line
        return f"ResultPicture({len(self.data)} bytes)"


@frozen
class ImageResult:
    """What was made, in the order of the answer; a picture that cannot be read is a failure in its place.

    The parameters are those that the backend says it used, None where it does not say."""

    pictures: tuple[ResultPicture | BackendFailure, ...]
    background: str | None = None
    size: str | None = None
    quality: str | None = None
    output_format: str | None = None
    request_id: str | None = None


class Watch(Protocol):
    """Who waits for the pictures."""

    def answered(self) -> None:
        """The pictures are on this machine, and paid for: from now on nothing may cut the call short."""
        ...

    def heard(self, headers: Mapping[str, str]) -> None:
        """The response headers of an answer, good or bad: they may tell of limits."""
        ...

    async def partial(self, index: int, data: bytes) -> None:
        """An unfinished picture to show."""
        ...


class ImageBackend(Protocol):
    """Makes pictures. Cancelled when the turn is interrupted or the deadline has passed."""

    @property
    def api(self) -> Api:
        """What it can do, as data."""
        ...

    async def make(self, request: ImageRequest, watch: Watch) -> ImageResult:
        """New pictures, or edits of `request.pictures`. Raises BackendFailure."""
        ...
