"""The tool `image_gen.imagegen`: what the model is told of it, when it is offered, and one call from start to end.

    arguments ─► inputs ─► item started ─► backend, under a deadline ─► check ─► save ─► item completed ─► output
        │           │                          │                          │        │
        └─ ToolFailure, no item, no request    └─ BackendFailure: item failed ◄────┘ (not saved as a file: a warning)

Used by the host through `ToolExecutor`. On cancellation it does nothing: the host closes the item that was started.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import anyio

from app_server.extension_api import (
    CheckedPicture,
    Exposure,
    ExtensionServices,
    ImagesEndpoint,
    MissingCredentials,
    PictureRef,
    PictureRejected,
    ToolCall,
    ToolFailure,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
)
from extensions.image_generation.arguments import PARAMETERS, parse_arguments
from extensions.image_generation.backends.base import (
    BackendFailure,
    FailureKind,
    ImageBackend,
    ImageRequest,
    ImageResult,
)
from extensions.image_generation.backends.choice import choose_backend
from extensions.image_generation.backends.offline import OfflineBackend
from extensions.image_generation.gates import image_generation_gate
from extensions.image_generation.inputs import gather_inputs
from extensions.image_generation.outcome import ItemFacts, Made, output_for
from extensions.image_generation.selection import TOOL_NAME


class ImageGenerationTool:
    """One object serves all threads; it keeps nothing between calls."""

    def __init__(self, services: ExtensionServices) -> None:
        self._services = services
        self._offline = OfflineBackend()
        self._description = files(__package__).joinpath("description.md").read_text(encoding="utf-8").strip()

    @property
    def name(self) -> ToolName:
        """`image_gen.imagegen`."""
        return TOOL_NAME

    def spec(self, scope: TurnScope) -> ToolSpec:
        """The same for every turn."""
        return ToolSpec(
            name=TOOL_NAME,
            description=self._description,
            parameters=PARAMETERS,
            namespace_description="Makes and edits pictures.",
        )

    def exposure(self, scope: TurnScope) -> Exposure:
        """See `gates.py`."""
        return image_generation_gate(scope)

    async def handle(self, call: ToolCall) -> ToolOutput:
        """Make the picture that the call asks for, show it, and give it to the model. Raises ToolFailure."""
        arguments = parse_arguments(call.arguments)
        inputs = await gather_inputs(arguments, call, self._services.pictures)
        backend = self._backend(call.scope)
        if inputs.pictures and not backend.capabilities.edits:
            raise ToolFailure(backend.capabilities.why_no_edits)
        request = ImageRequest(
            prompt=arguments.prompt,
            model=self._services.images.model,
            background="transparent" if arguments.transparent else "auto",
            pictures=inputs.pictures,
        )
        clock = self._services.clock
        facts = ItemFacts(call_id=call.call_id, request=request, files=inputs.files, started_at_ms=clock.now_ms())
        self._services.log.info(
            "image_request", call_id=call.call_id, backend=backend.capabilities.title, inputs=inputs.reason
        )
        await call.items.started(facts.started())
        try:
            made = await self._make(backend, request, call)
        except BackendFailure as failure:
            await call.items.completed(facts.failed(failure, clock.now_ms()))
            self._log_failure(call, failure)
            raise ToolFailure(f"image generation failed: {failure.message}") from failure
        await call.items.completed(facts.completed(made, clock.now_ms()), picture=made.ref)
        return output_for(made)

    def _backend(self, scope: TurnScope) -> ImageBackend:
        try:
            endpoint = self._services.provider.images_endpoint(scope)
        except MissingCredentials as error:  # the login went away after the tool was offered
            raise ToolFailure(f"image generation is not possible: {error.message}") from error
        return choose_backend(self._services, _with_turn(endpoint, scope), self._offline)

    async def _make(self, backend: ImageBackend, request: ImageRequest, call: ToolCall) -> Made:
        result = await self._ask(backend, request)
        try:
            picture = await self._services.pictures.check(result.data)
        except PictureRejected as error:
            text = f"what came back is not a usable picture: {error}"
            raise BackendFailure(FailureKind.INVALID_RESPONSE, text, request_id=result.request_id) from error
        ref, path = await self._save(picture, result, call)
        return Made(result=result, picture=picture, ref=ref, path=path)

    async def _ask(self, backend: ImageBackend, request: ImageRequest) -> ImageResult:
        """The backend's result within the total deadline, retries included."""
        timeout_s = self._services.images.timeout_s
        with anyio.move_on_after(timeout_s):
            return await (backend.edit(request) if request.pictures else backend.generate(request))
        text = f"no picture came within {timeout_s:g} s; try again, or raise timeout_s under [image_generation]"
        raise BackendFailure(FailureKind.TIMEOUT, text)

    async def _save(
        self, picture: CheckedPicture, result: ImageResult, call: ToolCall
    ) -> tuple[PictureRef, Path | None]:
        """Save as a file; else keep the bytes in the store and warn, so that a picture made is never lost."""
        pictures, thread_id = self._services.pictures, call.scope.thread_id
        try:
            saved = await pictures.save_generated(picture, thread_id=thread_id, call_id=call.call_id)
        except OSError as error:
            cause = _cause(error)
        else:
            return saved.ref, saved.path
        self._services.log.warning("image_not_saved", call_id=call.call_id, thread_id=thread_id, cause=cause)
        try:
            ref = await pictures.keep(picture, thread_id=thread_id)
        except OSError as error:
            text = f"the picture was made but could not be stored ({_cause(error)}); check the disk and its free space"
            raise BackendFailure(FailureKind.SAVE_FAILED, text, request_id=result.request_id) from error
        await call.items.warning(f"The generated picture is shown but was not saved as a file: {cause}.")
        return ref, None

    def _log_failure(self, call: ToolCall, failure: BackendFailure) -> None:
        self._services.log.warning(
            "image_generation_failed",
            call_id=call.call_id,
            kind=failure.kind.value,
            message=failure.message,
            request_id=failure.request_id,
        )


def _with_turn(endpoint: ImagesEndpoint, scope: TurnScope) -> ImagesEndpoint:
    """ChatGPT's backend is told the turn that a picture belongs to."""
    if not endpoint.chatgpt:
        return endpoint
    return replace(endpoint, headers={"x-codex-image-turn-id": scope.turn_id, **endpoint.headers})


def _cause(error: OSError) -> str:
    """The reason in words: the system's own, or the sentence that the store gave."""
    return (error.strerror or str(error) or "the disk did not answer in time").rstrip(".")
