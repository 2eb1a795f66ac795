"""Turns the checked and merged values into the typed `Config`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from app_server.config.keys import KEYS, Kind
from app_server.config.schema import (
    RESERVED_PROVIDERS,
    Config,
    ImageGenerationConfig,
    ProviderConfig,
    ServerConfig,
    StorageConfig,
    TenantLimitsConfig,
    TenantsConfig,
    TomlTable,
)

NO_ADDRESS = 'model_providers.{name} has no base_url; write base_url = "https://…", the address before /responses.'

_PROVIDER_KEYS = {spec.path[2]: spec for spec in KEYS if spec.path[0] == "model_providers"}
_IMAGE_KEYS = {spec.path[1]: spec for spec in KEYS if spec.path[0] == "image_generation"}
_SERVER_KEYS = {spec.path[1] for spec in KEYS if spec.path[0] == "server"}
_STORAGE_KEYS = {spec.path[1] for spec in KEYS if spec.path[0] == "storage"}
_TENANT_KEYS = {spec.path[1] for spec in KEYS if spec.path[0] == "tenants" and len(spec.path) == 2}
_NO_TENANTS = TenantsConfig()
_TOP_KEYS = {spec.key: spec for spec in KEYS if len(spec.path) == 1}


def build_config(values: TomlTable) -> Config:
    """The settings of merged layers, each of which has been validated."""
    top = {key: values[key] for key in _TOP_KEYS if key in values}
    images: dict[str, Any] = {
        key: value for key, value in values.get("image_generation", {}).items() if key in _IMAGE_KEYS
    }
    for key, value in images.items():
        if _IMAGE_KEYS[key].kind is Kind.SECONDS:
            images[key] = float(value)
        elif _IMAGE_KEYS[key].kind is Kind.TEXTS:
            images[key] = tuple(value)
    providers = {
        name: _provider(name, table)
        for name, table in values.get("model_providers", {}).items()
        if name not in RESERVED_PROVIDERS
    }
    return Config(
        **top,
        model_providers=MappingProxyType(providers),
        image_generation=ImageGenerationConfig(**images),
        server=ServerConfig(**{key: value for key, value in values.get("server", {}).items() if key in _SERVER_KEYS}),
        storage=StorageConfig(
            **{key: value for key, value in values.get("storage", {}).items() if key in _STORAGE_KEYS}
        ),
        tenants=_tenants(values.get("tenants", {})),
        raw=MappingProxyType(dict(values)),
    )


def without_address(config: Config) -> tuple[str, ...]:
    """Ids of providers of which nobody says where they are."""
    return tuple(
        provider.id
        for provider in config.model_providers.values()
        if provider.base_url is None and not provider.requires_openai_auth
    )


def _tenants(table: Mapping[str, Any]) -> TenantsConfig:
    if not table:
        return _NO_TENANTS
    of_all = {key: value for key, value in table.items() if key in _TENANT_KEYS}
    limits = {
        name: TenantLimitsConfig(**{key: value for key, value in {**of_all, **own}.items() if key in _TENANT_KEYS})
        for name, own in table.get("limits", {}).items()
    }
    return TenantsConfig(**of_all, limits=MappingProxyType(limits))


def _provider(name: str, table: Mapping[str, Any]) -> ProviderConfig:
    members: dict[str, Any] = {
        key: MappingProxyType(dict(value)) if _PROVIDER_KEYS[key].kind is Kind.STRINGS else value
        for key, value in table.items()
        if key in _PROVIDER_KEYS
    }
    return ProviderConfig(id=name, **members)
