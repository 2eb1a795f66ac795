"""Decides which backend serves a call. Pure but for the construction.

| endpoint | backend | edits |
|---|---|---|
| offline provider | offline sketches | yes |
| ChatGPT login, or an address that is not the public OpenAI API | JSON | yes |
| public OpenAI API with a key | JSON | not yet: they want multipart |
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from app_server.extension_api import ExtensionServices, ImagesEndpoint
from extensions.image_generation.backends.base import Capabilities, ImageBackend
from extensions.image_generation.backends.offline import OfflineBackend
from extensions.image_generation.backends.openai_json import OpenAiJsonBackend

_NO_KEY_EDITS: Final = (
    "editing pictures with an API key is not available yet; log in with ChatGPT to edit, or make a new picture from a "
    "prompt that describes the result"
)


def choose_backend(services: ExtensionServices, endpoint: ImagesEndpoint, offline: OfflineBackend) -> ImageBackend:
    """The backend for one call through `endpoint`."""
    if endpoint.offline:
        return offline
    return OpenAiJsonBackend(
        services.http,
        endpoint,
        services.clock,
        capabilities=_json_capabilities(endpoint),
        timeout_s=services.images.timeout_s,
    )


def _json_capabilities(endpoint: ImagesEndpoint) -> Capabilities:
    host = (urlsplit(endpoint.base_url).hostname or "").lower()
    public = host == "api.openai.com" or host.endswith(".api.openai.com")
    if public and not endpoint.chatgpt:
        return Capabilities(title="images API", edits=False, why_no_edits=_NO_KEY_EDITS)
    return Capabilities(title="images API", edits=True)
