"""Makes pictures through an OpenAI-shaped images API that takes JSON, for edits too (pictures as data URLs).

This is what ChatGPT's backend takes and what most compatible servers take for new pictures. The public OpenAI API wants
multipart for edits, which this backend does not speak: `choice.py` says so by its capabilities. It owns retries inside
the deadline: 5xx and lost connections, never 4xx.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio
import anyio.to_thread

from app_server.extension_api import Clock, Http, HttpFailure, ImagesEndpoint
from extensions.image_generation.backends.answers import read_answer
from extensions.image_generation.backends.base import (
    BackendFailure,
    Capabilities,
    FailureKind,
    ImageRequest,
    ImageResult,
)

MAX_ANSWER_BYTES: Final = 96 * 1024 * 1024
"""A picture of 64 MiB as base64, and room for the JSON around it."""
FIRST_BACKOFF_S: Final = 0.2


class OpenAiJsonBackend:
    """One call's backend: the endpoint is resolved per call, the deadline runs from the construction on."""

    def __init__(
        self,
        http: Http,
        endpoint: ImagesEndpoint,
        clock: Clock,
        *,
        capabilities: Capabilities,
        timeout_s: float,
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        self._http, self._endpoint, self._clock = http, endpoint, clock
        self._capabilities, self._first_backoff_s = capabilities, first_backoff_s
        self._deadline_s = clock.monotonic_s() + timeout_s

    @property
    def capabilities(self) -> Capabilities:
        """What `choice.py` found out about the endpoint."""
        return self._capabilities

    async def generate(self, request: ImageRequest) -> ImageResult:
        """POST `/images/generations`. Raises BackendFailure."""
        return await self._call("generations", request)

    async def edit(self, request: ImageRequest) -> ImageResult:
        """POST `/images/edits`. Raises BackendFailure."""
        return await self._call("edits", request)

    async def _call(self, path: str, request: ImageRequest) -> ImageResult:
        body = await anyio.to_thread.run_sync(request_body, request)
        retries = max(0, self._endpoint.request_max_retries)
        for attempt in range(retries + 1):
            try:
                return await self._attempt(f"{self._endpoint.base_url}/images/{path}", body)
            except BackendFailure as failure:
                pause_s = self._first_backoff_s * 2**attempt
                remaining_s = self._deadline_s - self._clock.monotonic_s()
                if not failure.retryable or attempt == retries or pause_s >= remaining_s:
                    raise
            await anyio.sleep(pause_s)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, url: str, body: Mapping[str, Any]) -> ImageResult:
        endpoint = self._endpoint
        try:
            answer = await self._http.post_json(
                url,
                body,
                headers=endpoint.headers,
                params=endpoint.query,
                timeout_s=max(0.001, self._deadline_s - self._clock.monotonic_s()),
                max_bytes=MAX_ANSWER_BYTES,
            )
        except HttpFailure as error:
            raise _lost(error) from error
        try:  # base64 of tens of megabytes: not on the event loop
            return await anyio.to_thread.run_sync(partial(read_answer, answer))
        except BackendFailure as failure:
            raise _without_secrets(failure, endpoint.headers) from failure


def request_body(request: ImageRequest) -> dict[str, Any]:
    """The JSON body, its keys in the order that the reference sends; `images` only for an edit."""
    pictures = [
        {"image_url": f"data:{picture.mime};base64,{base64.b64encode(picture.data).decode('ascii')}"}
        for picture in request.pictures
    ]
    return {
        **({"images": pictures} if pictures else {}),
        "prompt": request.prompt,
        "background": request.background,
        "model": request.model,
        "quality": request.quality,
        "size": request.size,
    }


def _lost(error: HttpFailure) -> BackendFailure:
    if error.timeout:
        return BackendFailure(FailureKind.TIMEOUT, f"the images API did not answer in time: {error}")
    if error.too_large:
        limit_mib = MAX_ANSWER_BYTES // (1024 * 1024)
        text = f"the images API sent more than the {limit_mib} MiB that are read; ask for a smaller picture"
        return BackendFailure(FailureKind.INVALID_RESPONSE, text)
    return BackendFailure(FailureKind.NETWORK, f"the images API gave no answer: {error}", retryable=True)


def _without_secrets(failure: BackendFailure, headers: Mapping[str, str]) -> BackendFailure:
    """The same failure; should the service repeat the credential that it was sent, the text does not."""
    text = failure.message
    for name, value in headers.items():
        secret = value.split()[-1] if value.split() else ""
        if name.lower() in ("authorization", "api-key", "x-api-key") and len(secret) >= 8:
            text = text.replace(secret, "[redacted]")
    return BackendFailure(
        failure.kind,
        text,
        retry_after_ms=failure.retry_after_ms,
        request_id=failure.request_id,
        limit=failure.limit,
        retryable=failure.retryable,
    )
