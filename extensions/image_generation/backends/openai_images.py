"""Makes pictures through an OpenAI-shaped images API: ChatGPT's, the public one, Azure, gateways, local servers.

    request ─► payload (JSON or form) ─► attempt ─► answer or event stream ─► links fetched ─► ImageResult
                                           ▲  └─ failure ─► next_step: pause, fresh login, or the end
                                           └──────────────────┘

One object serves one call: the deadline runs from its construction on. What differs between the services is data: the
`Api` row, the endpoint. From the moment that an answer is there it tells its watch, so that what was paid is not lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

import anyio
import anyio.to_thread

from app_server.extension_api import Clock, Form, Http, HttpAnswer, HttpFailure, ImagesEndpoint, Log
from app_server.extension_api.values import frozen
from extensions.image_generation.backends.answers import Answer, Link, read_answer
from extensions.image_generation.backends.base import (
    BackendFailure,
    FailureKind,
    ImageRequest,
    ImageResult,
    ResultPicture,
    Watch,
)
from extensions.image_generation.backends.payloads import form_body, json_body
from extensions.image_generation.backends.retries import FIRST_BACKOFF_S, Limits, Progress, next_step
from extensions.image_generation.backends.streams import PictureStream

if TYPE_CHECKING:
    from extensions.image_generation.backends.capabilities import Api

MAX_ANSWER_BYTES: Final = 96 * 1024 * 1024
"""A picture of 64 MiB as base64, and room for the JSON around it; of a stream, all its pictures together."""
MAX_LINKED_BYTES: Final = 64 * 1024 * 1024
FETCH_TIMEOUT_S: Final = 25.0
"""For a picture that was made and lies behind a link: within the time that the tool grants a finished call."""
KEY_HEADER: Final = "idempotency-key"


class Reach(Protocol):
    """How to get at the service; asked for each attempt, so a fresh login counts at once."""

    def endpoint(self) -> ImagesEndpoint:
        """Raises BackendFailure when the login is gone."""
        ...

    async def refresh_login(self) -> bool:
        """After a 401: whether there is a fresh login now."""
        ...


@frozen
class Tools:
    """What the backend works with."""

    http: Http
    clock: Clock
    log: Log
    timeout_s: float
    """For the whole call, retries included."""
    first_backoff_s: float = FIRST_BACKOFF_S
    jitter: Callable[[], float] = random.random


class OpenAiImagesBackend:
    """One call's backend."""

    def __init__(self, reach: Reach, api: Api, tools: Tools) -> None:
        self._reach, self._api, self._tools = reach, api, tools
        self._deadline_s = tools.clock.monotonic_s() + tools.timeout_s

    @property
    def api(self) -> Api:
        """What `choice.py` found out about the endpoint."""
        return self._api

    async def make(self, request: ImageRequest, watch: Watch) -> ImageResult:
        """POST `/images/generations`, or `/images/edits` where there are pictures. Raises BackendFailure."""
        form = self._api.form_edits and bool(request.pictures)
        build: Callable[[ImageRequest, Api], Mapping[str, Any] | Form] = form_body if form else json_body
        body = await anyio.to_thread.run_sync(build, request, self._api)
        so_far = Progress()
        while True:
            endpoint = self._reach.endpoint()
            try:
                answer = await self._attempt(endpoint, request, body, watch)
                return await self._result(answer, endpoint)
            except BackendFailure as failure:
                so_far = await self._pause(_without_secrets(failure, endpoint.headers), so_far, endpoint)

    async def _pause(self, failure: BackendFailure, so_far: Progress, endpoint: ImagesEndpoint) -> Progress:
        """Wait for another attempt. Raises the failure when there is none."""
        limits = Limits(
            max_retries=max(0, endpoint.request_max_retries),
            remaining_s=self._remaining_s(),
            first_backoff_s=self._tools.first_backoff_s,
        )
        step = next_step(failure, so_far, limits, self._tools.jitter())
        if step is not None and step.refresh and not await self._reach.refresh_login():
            step = None
        if step is None:
            raise failure
        self._tools.log.info(
            "image_request_again", kind=failure.kind.value, reason=step.reason, pause_s=round(step.pause_s, 2)
        )
        await anyio.sleep(step.pause_s)
        if step.refresh:
            return replace(so_far, refreshed=True)
        return replace(so_far, retries=so_far.retries + 1)

    async def _attempt(
        self, endpoint: ImagesEndpoint, request: ImageRequest, body: Mapping[str, Any] | Form, watch: Watch
    ) -> Answer:
        stream = PictureStream(watch, request.n)
        try:
            answer = await self._send(endpoint, request, body, stream)
        except HttpFailure as error:
            if not stream.whole:
                raise _lost(error) from error
            answer = HttpAnswer(status=200, headers={}, body=b"")  # the end was lost, the picture was not
        watch.heard(answer.headers)
        if 200 <= answer.status < 300 and (answer.body or stream.whole):
            watch.answered()
        if request.partial_images and not answer.body and 200 <= answer.status < 300:
            return stream.result(answer)
        return await anyio.to_thread.run_sync(partial(read_answer, answer))  # megabytes of base64

    async def _send(
        self, endpoint: ImagesEndpoint, request: ImageRequest, body: Mapping[str, Any] | Form, stream: PictureStream
    ) -> HttpAnswer:
        url = f"{endpoint.base_url}/images/{'edits' if request.pictures else 'generations'}"
        headers = {**endpoint.headers, **({KEY_HEADER: request.key} if request.key else {})}
        timeout_s, http = max(0.001, self._remaining_s()), self._tools.http
        post: Callable[..., Any] = http.post_json
        extra: dict[str, Any] = {}
        if request.partial_images:
            post, extra = http.post_events, {"on_event": stream.take}
        elif isinstance(body, Form):
            post = http.post_multipart
        answer: HttpAnswer = await post(
            url, body, headers=headers, params=endpoint.query, timeout_s=timeout_s, max_bytes=MAX_ANSWER_BYTES, **extra
        )
        return answer

    async def _result(self, answer: Answer, endpoint: ImagesEndpoint) -> ImageResult:
        pictures = [
            await self._fetched(picture, endpoint) if isinstance(picture, Link) else picture
            for picture in answer.pictures
        ]
        return ImageResult(pictures=tuple(pictures), request_id=answer.request_id, **answer.said)

    async def _fetched(self, link: Link, endpoint: ImagesEndpoint) -> ResultPicture | BackendFailure:
        """The picture behind a link: no foreign redirect, no private address but the backend's own host."""
        url = urljoin(f"{endpoint.base_url}/", link.url)
        host = urlsplit(endpoint.base_url).hostname
        try:
            answer = await self._tools.http.fetch(
                url, max_bytes=MAX_LINKED_BYTES, timeout_s=FETCH_TIMEOUT_S, allowed_host=host
            )
        except HttpFailure as error:
            text = f"the picture was made, but could not be fetched from the link that came back: {error}"
            return BackendFailure(FailureKind.NETWORK, text)
        if answer.status != 200:
            text = f"the picture was made, but the link that came back answered with HTTP {answer.status}; try again"
            return BackendFailure(FailureKind.INVALID_RESPONSE, text)
        return ResultPicture(data=answer.body, revised_prompt=link.revised_prompt, generation_id=link.generation_id)

    def _remaining_s(self) -> float:
        return self._deadline_s - self._tools.clock.monotonic_s()


def _lost(error: HttpFailure) -> BackendFailure:
    if error.timeout:
        text = f"the images API did not answer in time: {error}"
        return BackendFailure(FailureKind.TIMEOUT, text, retryable=True)
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
        status=failure.status,
    )
