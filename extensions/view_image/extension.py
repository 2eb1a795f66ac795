"""The manifest: which flag loads the extension, and what it adds. Read by the host before anything of it runs."""

from __future__ import annotations

from app_server.extension_api import Contributions, Extension, ExtensionServices


def build(services: ExtensionServices) -> Contributions:
    """The one tool of this extension."""
    from extensions.view_image.tool import ViewImageTool  # lazily: the manifest is read at every start-up

    return Contributions(tools=(ViewImageTool(services.pictures),))


EXTENSION = Extension(key="view_image", title="Looking at picture files", feature="view_image", build=build)
