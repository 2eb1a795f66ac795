"""Decides which backend serves a call. Pure but for the construction.

| endpoint | row of APIS |
|---|---|
| offline provider | offline: sketches |
| `image_api = "json"`, or auto with a ChatGPT login | json |
| `image_api = "multipart"`, or auto without a ChatGPT login | multipart |
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app_server.extension_api import ExtensionServices, ImagesEndpoint, MissingCredentials, TurnScope
from extensions.image_generation.backends.base import BackendFailure, FailureKind, ImageBackend
from extensions.image_generation.backends.capabilities import APIS
from extensions.image_generation.backends.openai_images import OpenAiImagesBackend, Tools

if TYPE_CHECKING:
    from extensions.image_generation.backends.offline import OfflineBackend


class ScopeReach:
    """The provider of one turn's pictures, looked up for every attempt."""

    def __init__(self, services: ExtensionServices, scope: TurnScope) -> None:
        self._provider, self._scope = services.provider, scope

    def endpoint(self) -> ImagesEndpoint:
        """Raises BackendFailure when the login went away between two attempts."""
        try:
            return resolve_endpoint(self._provider.images_endpoint(self._scope), self._scope)
        except MissingCredentials as error:
            raise BackendFailure(FailureKind.UNAUTHORIZED, error.message) from error

    async def refresh_login(self) -> bool:
        """Whether there is a fresh login now."""
        return await self._provider.refresh_login(self._scope)


def choose_backend(services: ExtensionServices, scope: TurnScope, offline: OfflineBackend) -> ImageBackend:
    """The backend for one call. Raises MissingCredentials."""
    endpoint = services.provider.images_endpoint(scope)
    if endpoint.offline:
        return offline
    tools = Tools(http=services.http, clock=services.clock, log=services.log, timeout_s=services.images.timeout_s)
    return OpenAiImagesBackend(ScopeReach(services, scope), APIS[api_name(endpoint)], tools)


def api_name(endpoint: ImagesEndpoint) -> str:
    """The row of APIS: what the settings say, else by the login."""
    if endpoint.image_api in ("json", "multipart"):
        return endpoint.image_api
    return "json" if endpoint.chatgpt else "multipart"


def resolve_endpoint(endpoint: ImagesEndpoint, scope: TurnScope) -> ImagesEndpoint:
    """ChatGPT's backend is told the turn that a picture belongs to."""
    if not endpoint.chatgpt:
        return endpoint
    return replace(endpoint, headers={"x-codex-image-turn-id": scope.turn_id, **endpoint.headers})
