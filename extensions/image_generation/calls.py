"""What one call of `image_gen.imagegen` is made of, from its arguments to its output.

    arguments ─► backend ─► inputs ─► limits ─► PictureCall: items, request, pictures, output
        └───────────┴──────────┴────────┴─ ToolFailure: no item, no request

Loaded with the first call. `tool.py` is the only caller.
"""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

from app_server.extension_api import (
    ExtensionServices,
    MissingCredentials,
    PictureRejected,
    PicturesUsedUp,
    ToolCall,
    ToolFailure,
    ToolOutput,
    TurnScope,
)
from extensions.image_generation.argument_table import rules_for
from extensions.image_generation.arguments import ImageArguments, parse_arguments
from extensions.image_generation.backends.base import ImageBackend, ImageRequest
from extensions.image_generation.backends.choice import choose_backend
from extensions.image_generation.backends.offline import OfflineBackend
from extensions.image_generation.inputs import Inputs, gather_inputs
from extensions.image_generation.limits import partial_images, refusal
from extensions.image_generation.picture_call import PictureCall


class ImageCalls:
    """What the calls of all threads share; it keeps nothing of a call."""

    def __init__(self, services: ExtensionServices) -> None:
        self._services, self._rules = services, rules_for(services.images)
        self._offline = OfflineBackend()

    async def run(self, call: ToolCall) -> ToolOutput:
        """Make the pictures that the call asks for, show them, and give them to the model. Raises ToolFailure."""
        arguments = parse_arguments(call.arguments, self._rules)
        backend = self._backend(call.scope)
        inputs = await gather_inputs(arguments, call, self._services.pictures)
        request = self._request(arguments, inputs, backend)
        if (problem := refusal(request, backend.api)) is not None:
            raise ToolFailure(problem)
        picture_call = PictureCall(self._services, call, request, inputs.files)
        try:
            room = await self._services.pictures.require_room(request.n)
        except PicturesUsedUp as used_up:
            return await picture_call.refuse(used_up)
        except PictureRejected as error:
            raise ToolFailure(f"no picture was asked for: {error}") from error
        self._services.log.info("image_request", call_id=call.call_id, backend=backend.api.title, inputs=inputs.reason)
        try:
            return await picture_call.run(backend)
        finally:
            await room.leave(picture_call.unspent)

    def _request(self, arguments: ImageArguments, inputs: Inputs, backend: ImageBackend) -> ImageRequest:
        settings = self._services.images
        request = ImageRequest(
            prompt=arguments.prompt,
            model=arguments.model or settings.model,
            background=arguments.background,
            quality=arguments.quality,
            size=arguments.size,
            n=arguments.n,
            output_format=arguments.output_format,
            gif=arguments.gif,
            pictures=inputs.pictures,
            mask=inputs.mask,
            key=str(uuid4()),
        )
        return replace(request, partial_images=partial_images(settings.partial_images, request, backend.api))

    def _backend(self, scope: TurnScope) -> ImageBackend:
        try:
            return choose_backend(self._services, scope, self._offline)
        except MissingCredentials as error:  # the login went away after the tool was offered
            raise ToolFailure(f"image generation is not possible: {error.message}") from error
