"""THE DOOR: the only thing that extensions import from the server. What is not named here is not theirs to use.

The wire's models of items are loaded when somebody asks for one: the server needs this package before it needs them.
"""

from typing import TYPE_CHECKING, Any

from app_server.clock import Clock
from app_server.errors import MissingCredentials, ToolFailure
from app_server.extension_api.extension import Contributions, Extension, ExtensionRegistry, ExtensionState
from app_server.extension_api.scopes import AuthSnapshot, ModelFacts, ProviderFacts, TurnScope
from app_server.extension_api.services import (
    CheckedPicture,
    ExtensionItem,
    ExtensionServices,
    Form,
    FormFile,
    Http,
    HttpAnswer,
    HttpFailure,
    ImagesEndpoint,
    ImageSettings,
    Items,
    Log,
    PictureRejected,
    Pictures,
    PicturesUsedUp,
    ProviderAccess,
    SavedPicture,
)
from app_server.extension_api.tools import (
    Content,
    Exposure,
    Hidden,
    PictureContent,
    PictureRef,
    TextContent,
    ToolCall,
    ToolExecutor,
    ToolName,
    ToolOutput,
    ToolSpec,
    Visible,
)

if TYPE_CHECKING:
    from app_server.protocol.items import ImageGenerationItem, ImageViewItem

__all__ = [
    "AuthSnapshot", "CheckedPicture", "Clock", "Content", "Contributions", "Exposure", "Extension", "ExtensionItem",
    "ExtensionRegistry", "ExtensionServices", "ExtensionState", "Form", "FormFile", "Hidden", "Http", "HttpAnswer",
    "HttpFailure", "ImageGenerationItem", "ImageSettings", "ImageViewItem", "ImagesEndpoint", "Items", "Log",
    "MissingCredentials", "ModelFacts", "PictureContent", "PictureRef", "PictureRejected", "Pictures", "PicturesUsedUp",
    "ProviderAccess", "ProviderFacts", "SavedPicture", "TextContent", "ToolCall", "ToolExecutor", "ToolFailure",
    "ToolName", "ToolOutput", "ToolSpec", "TurnScope", "Visible",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in ("ImageGenerationItem", "ImageViewItem"):
        from app_server.protocol import items

        return getattr(items, name)
    raise AttributeError(f"module {__name__} has no attribute {name}")
