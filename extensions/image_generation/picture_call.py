"""One call from its first item to its output: shows, asks, checks, saves, completes. Made by `tool.py` for each call.

    items started ─► marked as paid ─► backend, under the deadline ─► each picture: check ─► save ─► item completed
                                          │                              from the answer on: shielded, RESCUE_BOUND_S
                                          └─ BackendFailure: every item still open is completed as failed

An interrupt before the answer leaves the items to the host, which closes them as cancelled; after it, what was paid
for is finished first. While the backend works, the clients get a sign of life every few seconds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from app_server.extension_api import (
    CheckedPicture,
    ExtensionServices,
    PictureRef,
    PictureRejected,
    PicturesUsedUp,
    ToolCall,
    ToolFailure,
    ToolOutput,
)
from extensions.image_generation.backends.base import (
    BackendFailure,
    FailureKind,
    ImageBackend,
    ImageRequest,
    ImageResult,
    ResultPicture,
)
from extensions.image_generation.limits import left_out
from extensions.image_generation.outcome import ItemFacts, Made, notes_on, output_for

if TYPE_CHECKING:
    from extensions.image_generation.inputs import InputFile

UNPAID: Final = frozenset(
    {
        FailureKind.USAGE_LIMIT_EXCEEDED,
        FailureKind.RATE_LIMITED,
        FailureKind.MODERATION_BLOCKED,
        FailureKind.UNAUTHORIZED,
    }
)
RESCUE_BOUND_S: Final = 30.0
"""How long check, save and completion may take once the pictures are here, whatever happens around them."""


class PictureCall:
    """One call; used once."""

    def __init__(
        self, services: ExtensionServices, call: ToolCall, request: ImageRequest, files: tuple[InputFile, ...]
    ) -> None:
        self._services, self._call, self._request = services, call, request
        self._facts = ItemFacts(
            call_id=call.call_id, request=request, files=files, started_at_ms=services.clock.now_ms()
        )
        self._begun_s = services.clock.monotonic_s()
        self._done: dict[str, Made | BackendFailure] = {}
        self._rescue = anyio.CancelScope()

    async def run(self, backend: ImageBackend) -> ToolOutput:
        """Make the pictures. Raises ToolFailure when there is none."""
        for sentence in left_out(self._request, backend.api):
            await self._call.items.warning(sentence)
        for item_id in self._facts.item_ids:
            await self._call.items.started(self._facts.started(item_id))
        if backend.api.paid:
            for item_id in dict.fromkeys((self._call.call_id, *self._facts.item_ids)):
                await self._call.items.paid_call(item_id, self._request.key)
        with anyio.move_on_after(self._services.images.timeout_s), self._rescue:
            await self._make(backend)
        if len(self._done) < len(self._facts.item_ids):
            await self._fail_open(self._out_of_time())
        made = [one for one in self._done.values() if isinstance(one, Made)]
        failures = [one for one in self._done.values() if isinstance(one, BackendFailure)]
        if not made:
            raise ToolFailure(f"image generation failed: {failures[0].message}") from failures[0]
        return output_for(made, failures)

    async def refuse(self, used_up: PicturesUsedUp) -> ToolOutput:
        """Say why nothing was asked for, in items as well. Raises ToolFailure."""
        for item_id in self._facts.item_ids:
            await self._call.items.started(self._facts.started(item_id))
        retry_after_ms = used_up.limit.retry_after_ms
        await self._fail_open(BackendFailure(FailureKind.TENANT_LIMIT, str(used_up), retry_after_ms=retry_after_ms))
        raise ToolFailure(f"no picture was asked for: {used_up}") from used_up

    @property
    def unspent(self) -> int:
        """Pictures that were surely neither made nor paid for: the API itself said no."""
        failures = [one for one in self._done.values() if isinstance(one, BackendFailure)]
        return sum(failure.kind in UNPAID for failure in failures)

    # -- the backend's watch
    def answered(self) -> None:
        """From here to the end nothing cuts the call, but for the bound."""
        if not self._rescue.shield:
            self._rescue.shield = True
            self._rescue.deadline = anyio.current_time() + RESCUE_BOUND_S

    def heard(self, headers: Mapping[str, str]) -> None:
        """Limits that the answer told of are shown to the clients."""
        self._call.items.rate_limits(headers)

    async def partial(self, index: int, data: bytes) -> None:
        """Show an unfinished picture as a small preview."""
        try:
            await self._services.pictures.check(data)  # a bomb is not decoded for the sake of a preview
        except PictureRejected:
            return
        preview = await self._services.pictures.thumbnail(data)
        self._call.items.progress(
            self._facts.item_ids[0], elapsed_ms=self._elapsed_ms(), partial_index=index, preview=preview
        )

    async def _beat(self) -> None:
        while True:
            await anyio.sleep(self._services.images.heartbeat_s)
            for item_id in self._facts.item_ids:
                self._call.items.progress(item_id, elapsed_ms=self._elapsed_ms())

    def _elapsed_ms(self) -> int:
        return round((self._services.clock.monotonic_s() - self._begun_s) * 1000)

    # -- from the request to the items
    async def _make(self, backend: ImageBackend) -> None:
        try:
            result = await self._with_heartbeat(lambda: backend.make(self._request, self))
        except BackendFailure as failure:
            await self._fail_open(failure)
            return
        self.answered()
        for item_id, source in zip(self._facts.item_ids, result.pictures, strict=False):
            await self._finish(item_id, source, result)
        if len(result.pictures) < self._request.n:
            text = (
                f"the images API returned {len(result.pictures)} of {self._request.n} pictures; ask for the rest again"
            )
            await self._fail_open(BackendFailure(FailureKind.INVALID_RESPONSE, text, request_id=result.request_id))
        if len(result.pictures) > self._request.n:
            extra = len(result.pictures) - self._request.n
            self._services.log.warning("image_extra_pictures", call_id=self._call.call_id, left_out=extra)

    async def _with_heartbeat(self, work: Callable[[], Awaitable[ImageResult]]) -> ImageResult:
        outcome: ImageResult | BackendFailure
        async with anyio.create_task_group() as beats:
            beats.start_soon(self._beat)
            try:
                outcome = await work()
            except BackendFailure as failure:  # kept out of the task group, which would wrap it
                outcome = failure
            beats.cancel_scope.cancel()
        if isinstance(outcome, BackendFailure):
            raise outcome
        return outcome

    async def _finish(self, item_id: str, source: ResultPicture | BackendFailure, result: ImageResult) -> None:
        try:
            if isinstance(source, BackendFailure):
                raise source
            made = await self._store(item_id, source, result)
        except BackendFailure as failure:
            await self._fail(item_id, failure)
            return
        now_ms = self._services.clock.now_ms()
        await self._call.items.completed(self._facts.completed(item_id, made, result, now_ms), picture=made.ref)
        self._done[item_id] = made
        for note in made.notes:
            await self._call.items.warning(note)

    async def _store(self, item_id: str, source: ResultPicture, result: ImageResult) -> Made:
        try:
            picture = await self._services.pictures.check(source.data)
        except PictureRejected as error:
            text = f"what came back is not a usable picture: {error}"
            raise BackendFailure(FailureKind.INVALID_RESPONSE, text, request_id=result.request_id) from error
        ref, path = await self._save(item_id, picture, result)
        handle = self._call.next_handle()
        notes = notes_on(self._request, picture, handle)
        return Made(source=source, picture=picture, ref=ref, path=path, handle=handle, notes=notes)

    async def _save(self, item_id: str, picture: CheckedPicture, result: ImageResult) -> tuple[PictureRef, Path | None]:
        """Save as a file; else keep the bytes in the store and warn, so that a picture made is never lost."""
        pictures, thread_id = self._services.pictures, self._call.scope.thread_id
        try:
            saved = await pictures.save_generated(
                picture, thread_id=thread_id, call_id=item_id, prompt=self._request.prompt
            )
        except OSError as error:
            cause = _cause(error)
        else:
            return saved.ref, saved.path
        self._services.log.warning("image_not_saved", call_id=item_id, thread_id=thread_id, cause=cause)
        try:
            ref = await pictures.keep(picture, thread_id=thread_id, paid=True)
        except OSError as error:
            text = f"the picture was made but could not be stored ({_cause(error)}); check the disk and its free space"
            raise BackendFailure(FailureKind.SAVE_FAILED, text, request_id=result.request_id) from error
        await self._call.items.warning(f"The generated picture is shown but was not saved as a file: {cause}.")
        return ref, None

    # -- failures
    async def _fail_open(self, failure: BackendFailure) -> None:
        for item_id in self._facts.item_ids:
            if item_id not in self._done:
                await self._fail(item_id, failure)

    async def _fail(self, item_id: str, failure: BackendFailure) -> None:
        now_ms = self._services.clock.now_ms()
        await self._call.items.completed(self._facts.failed(item_id, failure, now_ms))
        self._done[item_id] = failure
        self._services.log.warning(
            "image_generation_failed",
            call_id=item_id,
            kind=failure.kind.value,
            message=failure.message,
            request_id=failure.request_id,
        )

    def _out_of_time(self) -> BackendFailure:
        if self._rescue.shield:
            text = f"the picture was made, but could not be stored within {RESCUE_BOUND_S:g} s; check the disk"
            return BackendFailure(FailureKind.SAVE_FAILED, text)
        timeout_s = self._services.images.timeout_s
        text = f"no picture came within {timeout_s:g} s; try again, or raise timeout_s under [image_generation]"
        return BackendFailure(FailureKind.TIMEOUT, text)


def _cause(error: OSError) -> str:
    """The reason in words: the system's own, or the sentence that the store gave."""
    return (error.strerror or str(error) or "the disk did not answer in time").rstrip(".")
