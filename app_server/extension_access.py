"""What an extension that makes pictures gets at a provider with: address, headers and login, asked anew for each call.

`wiring` gives one to every extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_server.errors import ConfigurationError, MissingCredentials
from app_server.extension_api.services import ImagesEndpoint

if TYPE_CHECKING:
    from app_server.auth.manager import AuthManager
    from app_server.auth.refresh import LoginRefresher
    from app_server.extension_api.scopes import AuthSnapshot, TurnScope
    from app_server.providers.registry import ProviderRegistry


class PictureAccess:
    """The `ProviderAccess` of extensions: the provider of the turn, or the one that the config names for pictures."""

    def __init__(
        self, providers: ProviderRegistry, auth: AuthManager, refresher: LoginRefresher, chosen: str | None
    ) -> None:
        self._providers, self._auth, self._refresher, self._chosen = providers, auth, refresher, chosen

    def auth(self) -> AuthSnapshot:
        return self._auth.snapshot()

    async def refresh_login(self, scope: TurnScope) -> bool:
        """After a 401: whether there is another login now; an API key and a foreign provider's key have none."""
        return await self._refresher.refresh(self._providers.table(self._chosen or scope.provider.id))

    def images_endpoint(self, scope: TurnScope) -> ImagesEndpoint:
        """Raises MissingCredentials with what to set, whatever of the settings or the login is wrong."""
        provider_id = self._chosen or scope.provider.id
        try:
            access = self._providers.http_access(provider_id)
        except ConfigurationError as error:
            raise MissingCredentials(error.message) from error
        if access is None:
            return ImagesEndpoint(base_url="", headers={}, query={}, offline=True, chatgpt=False, request_max_retries=0)
        table = self._providers.table(provider_id)
        return ImagesEndpoint(
            base_url=access.base_url,
            headers={**access.headers, "originator": scope.originator},
            query=access.query_params,
            offline=False,
            chatgpt=table.requires_openai_auth and self._auth.snapshot(table).is_chatgpt,
            request_max_retries=access.request_max_retries,
            image_api=table.image_api,
        )
