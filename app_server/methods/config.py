"""config/read and configRequirements/read. Secrets never leave in a reply: their keys show, their values do not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app_server.config.layers import ConfigLayer, LayerOrigin, LoadedConfig
from app_server.methods.services import Context
from app_server.methods.thread import resolve_cwd
from app_server.observability.redact import is_secret_key
from app_server.protocol.config import Config, ConfigReadParams, ConfigRequirementsReadParams
from app_server.rpc.registry import method

HIDDEN = "[hidden]"
FOR_TENANTS = frozenset(
    {
        "model",
        "model_provider",
        "model_context_window",
        "model_reasoning_effort",
        "model_reasoning_summary",
        "model_verbosity",
        "approval_policy",
        "sandbox_mode",
    }
)
"""What `config/read` tells a tenant's client."""
_HEADER_TABLES = frozenset({"http_headers", "query_params"})


@method("config/read", ConfigReadParams)
async def config_read(ctx: Context, params: ConfigReadParams) -> dict[str, Any]:
    """The settings in force, as a thread in `cwd` would see them, and the layer that each comes from.

    A tenant is told what its threads begin with; where that comes from is the host's."""
    if ctx.services.ground is not None:
        shown = effective_config(ctx.services.config)
        told = {key: shown[key] if key in FOR_TENANTS else None for key in Config.model_fields}
        return {"config": told, "origins": {}, **({"layers": []} if params.include_layers else {})}
    loaded = ctx.services.load_config(resolve_cwd(params.cwd, ctx.services))
    reply: dict[str, Any] = {
        "config": effective_config(loaded),
        "origins": {key: layer_metadata(layer) for key, layer in loaded.origins.items()},
    }
    if params.include_layers:
        reply["layers"] = [
            {**layer_metadata(layer), "config": hide_secrets(layer.values)} for layer in reversed(loaded.layers)
        ]
    return reply


@method("configRequirements/read", ConfigRequirementsReadParams)
async def config_requirements_read(ctx: Context, params: ConfigRequirementsReadParams | None) -> dict[str, Any]:
    """Nobody administers this server: nothing is required."""
    return {"supportsIndependentSpeedModes": False, "requirements": None}


def effective_config(loaded: LoadedConfig) -> dict[str, Any]:
    """Every key that clients know, null where nothing is set, and what else the layers say."""
    config = loaded.config
    known: dict[str, Any] = dict.fromkeys(Config.model_fields)
    raw = hide_secrets(config.raw)
    known.update(raw)
    known["model_provider"] = config.model_provider
    known["approval_policy"] = raw.get("approval_policy") or config.approval_policy
    known["sandbox_mode"] = config.sandbox_mode
    tools = known["tools"]
    if isinstance(tools, Mapping) and not isinstance(tools.get("web_search", {}), Mapping):
        known["tools"] = {**tools, "web_search": None}  # files may say true or false, the protocol a table or nothing
    return known


def hide_secrets(value: Any, key: str = "") -> Any:
    """The same JSON with the values of secret keys, and all header values, replaced."""
    if isinstance(value, Mapping):
        if key in _HEADER_TABLES:
            return dict.fromkeys(value, HIDDEN)
        return {name: hide_secrets(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide_secrets(inner, key) for inner in value]
    if isinstance(value, str) and is_secret_key(key) and not key.startswith("env_"):
        return HIDDEN
    return value


def layer_metadata(layer: ConfigLayer) -> dict[str, Any]:
    """A layer as the protocol names it, with the version of its content."""
    match layer.origin:
        case LayerOrigin.USER:
            name: dict[str, Any] = {"type": "user", "file": str(layer.path), "profile": None}
        case LayerOrigin.PROJECT:
            name = {"type": "project", "dotCodexFolder": str(Path(str(layer.path)).parent)}
        case _:
            name = {"type": "sessionFlags"}
    return {"name": name, "version": layer.version}
