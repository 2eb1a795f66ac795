"""The provider's own tools as specs for the model: the hosted image tool, the fallback of `image_gen.imagegen`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from app_server.extension_api.eligibility import picture_eligibility
from app_server.extension_api.tools import Exposure, Hidden, ToolName, Visible

if TYPE_CHECKING:
    from app_server.extension_api.scopes import TurnScope

IMAGE_GENERATION: Final[dict[str, Any]] = {"type": "image_generation", "output_format": "png"}
STANDALONE_IMAGEGEN: Final = ToolName("image_gen", "imagegen")
"""The executor that replaces the hosted tool wherever it is really there."""


def hosted_exposure(scope: TurnScope) -> Exposure:
    """Whether this turn may have the hosted tool, leaving aside that the standalone one goes first."""
    exposure = picture_eligibility(scope)
    if isinstance(exposure, Visible) and not scope.provider.hosted_tools:
        return Hidden(
            f"the provider {scope.provider.id} has no image tool of its own, and that of this server is not offered; "
            "enable imagegenext in [features]"
        )
    if isinstance(exposure, Visible) and scope.counted_pictures:
        return Hidden(
            "the host of this server limits pictures, and those of the provider's own tool cannot be counted before "
            "they are paid for; enable imagegenext in [features]"
        )
    return exposure
