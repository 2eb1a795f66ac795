"""Reads the event stream of an images API: unfinished pictures as they come, the finished ones, an error.

    image_generation.partial_image   image_edit.partial_image    → shown at once
    image_generation.completed       image_edit.completed        → part of the answer
    error                                                        → the failure of the call

It opens no connection: `openai_images.py` hands it the payload of every event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from extensions.image_generation.backends.answers import (
    Answer,
    Link,
    lower_names,
    parameters,
    parsed,
    picture_bytes,
    read_picture,
    stream_failure,
    unusable,
)

if TYPE_CHECKING:
    from app_server.extension_api import HttpAnswer
    from extensions.image_generation.backends.base import BackendFailure, ResultPicture, Watch


class PictureStream:
    """One stream, from its first event to what came of it."""

    def __init__(self, watch: Watch, wanted: int) -> None:
        self._watch, self._wanted = watch, wanted
        self._pictures: list[ResultPicture | Link | BackendFailure] = []
        self._said: dict[str, str] = {}
        self._error: Mapping[str, Any] | None = None

    @property
    def whole(self) -> bool:
        """Whether all pictures that were asked for are here."""
        return len(self._pictures) >= self._wanted

    async def take(self, payload: bytes) -> bool:
        """One event's `data`, and whether another one is wanted. What is no event of ours is skipped."""
        event, taken = await anyio.to_thread.run_sync(parsed, payload)  # megabytes of JSON: not on the event loop
        if not isinstance(event, dict):  # such as [DONE]
            return not self.whole
        kind = str(event.get("type", ""))
        if kind.endswith(".partial_image"):
            data = await anyio.to_thread.run_sync(_partial, event, taken)
            if data is not None:
                await self._watch.partial(int(event.get("partial_image_index") or 0), data)
        elif kind.endswith(".completed") and kind.startswith("image_"):
            self._watch.answered()
            self._pictures.append(await anyio.to_thread.run_sync(read_picture, event, {}, taken))
            self._said |= parameters(event)
        elif kind == "error" or "error" in event:
            self._error = event
        return not self.whole

    def result(self, answer: HttpAnswer) -> Answer:
        """What came of the stream, once it has ended. Raises BackendFailure."""
        headers = lower_names(answer.headers)
        if self._pictures:
            request_id = headers.get("x-request-id")
            return Answer(pictures=tuple(self._pictures), said=self._said, request_id=request_id)
        if self._error is not None:
            raise stream_failure(self._error, headers)
        raise unusable("ended its stream before the picture was there", headers)


def _partial(event: Mapping[str, Any], taken: Mapping[str, bytes]) -> bytes | None:
    encoded = event.get("b64_json")
    return picture_bytes(encoded, taken) if isinstance(encoded, str) and encoded else None
