"""Owns reading the params of a well-formed `initialize` without the models, which are not loaded when it comes.

Loading pydantic and building models would hold up the first answer by more than all the rest of a start; so what is
plainly right is read by hand, and everything else is left to `InitializeParams`, which words what is wrong with it.
`bootstrap.py` calls it; `tests/conformance/test_handshake_reading.py` holds the two readings together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

_FLAGS: Final = (
    "experimentalApi",
    "requestAttestation",
    "requiredHumanApproval",
    "explicitGatewayOauth",
    "mcpServerOpenaiFormElicitation",
)


class Handshake(NamedTuple):
    """What `initialize` says of a client, as `Session` keeps it. (`@frozen` takes longer to load.)"""

    client_name: str
    client_version: str
    client_title: str | None = None
    experimental_api: bool = False
    opted_out: frozenset[str] = frozenset()
    extensions: Mapping[str, Any] = MappingProxyType({})


class NoHandshake(ValueError):
    """The params of `initialize` are not such; the text says what is wrong."""


def plain_handshake(params: object) -> Handshake | None:
    """Read the params; None when anything is not plainly right: then the model has the word."""
    if not isinstance(params, dict):
        return None
    client, stated = params.get("clientInfo"), params.get("capabilities")
    capabilities = {} if stated is None else stated
    if not isinstance(client, dict) or not isinstance(capabilities, dict):
        return None
    name, version, title = client.get("name"), client.get("version"), client.get("title")
    opted_out, extensions = capabilities.get("optOutNotificationMethods"), capabilities.get("extensions")
    if not (
        isinstance(name, str)
        and isinstance(version, str)
        and isinstance(title, str | None)
        and all(isinstance(capabilities.get(flag), bool | None) for flag in _FLAGS)
        and (opted_out is None or (isinstance(opted_out, list) and all(isinstance(one, str) for one in opted_out)))
        and isinstance(extensions, dict | None)
    ):
        return None
    return Handshake(
        client_name=name,
        client_version=version,
        client_title=title,
        experimental_api=capabilities.get("experimentalApi") or False,
        opted_out=frozenset(opted_out or ()),
        extensions=extensions or {},
    )


def read_handshake(params: object) -> Handshake:
    """Read the params, whatever they are.

    Raises:
        NoHandshake: they are not those of `initialize`; its text is a sentence for the client.
    """
    plain = plain_handshake(params)
    return _by_the_model(params) if plain is None else plain


def _by_the_model(params: object) -> Handshake:
    from pydantic import ValidationError  # slow to load: see the module's docstring

    from app_server.protocol.base import validation_error_message
    from app_server.protocol.initialize import InitializeParams

    try:
        given = InitializeParams.model_validate(params)
    except ValidationError as error:
        raise NoHandshake(validation_error_message(error, data=params)) from None
    wanted = given.capabilities
    return Handshake(
        client_name=given.client_info.name,
        client_version=given.client_info.version,
        client_title=given.client_info.title,
        experimental_api=wanted is not None and wanted.experimental_api,
        opted_out=frozenset((wanted and wanted.opt_out_notification_methods) or ()),
        extensions=(wanted and wanted.extensions) or {},
    )
