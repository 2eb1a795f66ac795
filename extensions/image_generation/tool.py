"""The tool `image_gen.imagegen`: what the model is told of it, and when. `calls.py` does what it asks for.

Used by the host through `ToolExecutor`. It is built while a client waits for its first thread, so it loads little.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from app_server.extension_api import (
    Exposure,
    ExtensionServices,
    ToolCall,
    ToolName,
    ToolOutput,
    ToolSpec,
    TurnScope,
)
from extensions.image_generation.gates import TOOL_NAME, image_generation_gate

if TYPE_CHECKING:
    from extensions.image_generation.calls import ImageCalls


class ImageGenerationTool:
    """One object serves all threads; it keeps nothing between calls."""

    def __init__(self, services: ExtensionServices) -> None:
        self._services = services

    @property
    def name(self) -> ToolName:
        """`image_gen.imagegen`."""
        return TOOL_NAME

    def spec(self, scope: TurnScope) -> ToolSpec:
        """By the settings; the same for every turn."""
        return self._spec

    @cached_property
    def _spec(self) -> ToolSpec:
        from extensions.image_generation.argument_table import parameters, rules_for  # with the first turn

        settings = self._services.images
        return ToolSpec(
            name=TOOL_NAME,
            description=description(settings.max_references, exposed=settings.expose_parameters),
            parameters=parameters(rules_for(settings)),
            namespace_description="Makes and edits pictures.",
            max_parallel=settings.max_parallel,
        )

    def exposure(self, scope: TurnScope) -> Exposure:
        """See `gates.py`."""
        return image_generation_gate(scope)

    async def handle(self, call: ToolCall) -> ToolOutput:
        """Make the pictures that the call asks for, show them, and give them to the model. Raises ToolFailure."""
        return await self._calls.run(call)

    @cached_property
    def _calls(self) -> ImageCalls:
        from extensions.image_generation.calls import ImageCalls  # with the first call

        return ImageCalls(self._services)


def description(max_references: int, *, exposed: bool) -> str:
    """What the model is told: how to use the tool, and its parameters where the settings offer them."""
    names = ["description.md", *(["parameters.md"] if exposed else [])]
    folder = Path(__file__).parent  # `importlib.resources` would read the same, and load more than this whole extension
    texts = [folder.joinpath(name).read_text(encoding="utf-8").strip() for name in names]
    return "\n\n".join(texts).replace("{max_references}", str(max_references))
