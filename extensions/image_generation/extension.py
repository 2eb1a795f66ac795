"""The manifest: which flag loads the extension, and what it adds. Read by the host before anything of it runs."""

from __future__ import annotations

from app_server.extension_api import Contributions, Extension, ExtensionServices


def build(services: ExtensionServices) -> Contributions:
    """The one tool of this extension; its modules are imported when the flag first opens."""
    from extensions.image_generation.tool import ImageGenerationTool  # lazily: the manifest is read at every start-up

    return Contributions(tools=(ImageGenerationTool(services),))


EXTENSION = Extension(key="image_generation", title="Standalone image generation", feature="imagegenext", build=build)
