"""config/value/write and config/batchWrite: change the user's config.toml, then let the running process follow it.

Providers, model and features count from the next thread and turn on. What is read once, at the start (hooks,
`[image_generation]`, `[server]`), counts from the next start on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread

from app_server.config.edit import Edit, apply_edits
from app_server.config.errors import ConfigError, ConfigVersionConflict
from app_server.config.layers import CONFIG_FILE, LayerOrigin, LoadedConfig
from app_server.config.merge import split_key, value_at
from app_server.errors import ConfigurationError, InvalidRequest
from app_server.methods.config import HIDDEN, hide_secrets, layer_metadata
from app_server.methods.services import Context
from app_server.protocol.config_write import ConfigBatchWriteParams, ConfigEdit, ConfigValueWriteParams
from app_server.rpc.registry import method


@method("config/value/write", ConfigValueWriteParams)
async def config_value_write(ctx: Context, params: ConfigValueWriteParams) -> dict[str, Any]:
    """Write one value, or remove it."""
    edit = ConfigEdit(key_path=params.key_path, value=params.value, merge_strategy=params.merge_strategy)
    return await _write(ctx, (edit,), params.file_path, params.expected_version)


@method("config/batchWrite", ConfigBatchWriteParams)
async def config_batch_write(ctx: Context, params: ConfigBatchWriteParams) -> dict[str, Any]:
    """Write several values, all or none."""
    return await _write(ctx, params.edits, params.file_path, params.expected_version)


async def _write(
    ctx: Context, edits: Sequence[ConfigEdit], file_path: str | None, expected_version: str | None
) -> dict[str, Any]:
    services = ctx.services
    path = services.home / CONFIG_FILE
    async with services.config_lock:
        version = await anyio.to_thread.run_sync(_apply, path, edits, file_path, expected_version)
        try:
            await services.reload_config()
        except ConfigurationError as error:  # a layer above is broken by now; what was written stands
            services.hub.broadcast("configWarning", {"summary": error.message, "details": None})
    overridden = overridden_by(services.config, [each.key_path for each in edits])
    return {
        "status": "okOverridden" if overridden else "ok",
        "version": version,
        "filePath": str(path),
        "overriddenMetadata": overridden,
    }


def _apply(path: Path, edits: Sequence[ConfigEdit], file_path: str | None, expected_version: str | None) -> str:
    """Write, and return the file's new version. Raises InvalidRequest with the reference's code for what is wrong."""
    if file_path is not None and not _leads_to(file_path, path):
        raise refusal(f"Only {path} can be written; leave filePath out.", "configLayerReadonly")
    if shown := next((each.key_path for each in edits if _holds_hidden(each.value)), None):
        text = f"The value of {shown} holds {HIDDEN}, which stands for a secret; write only the keys that change."
        raise refusal(text, "configValidationError")
    changes = [Edit(key=each.key_path, value=each.value, upsert=each.merge_strategy == "upsert") for each in edits]
    try:
        return apply_edits(path, changes, expected_version)
    except ConfigVersionConflict as conflict:
        raise refusal(conflict.message, "configVersionConflict") from None
    except ConfigError as error:
        if isinstance(error.__cause__, OSError):
            raise  # the file and not the value: an error of the configuration like any other
        raise refusal(error.message, "configValidationError") from None


def _leads_to(given: str, path: Path) -> bool:
    """Whether a client's path, by whatever way, is this file."""
    try:
        return Path(given).resolve() == path.resolve()
    except (ValueError, OSError, RuntimeError):  # a null character, no access, links that go round
        return False


def _holds_hidden(value: Any) -> bool:
    """Whether a client sends back what `config/read` showed in the place of a secret."""
    if isinstance(value, Mapping):
        return any(map(_holds_hidden, value.values()))
    return any(map(_holds_hidden, value)) if isinstance(value, list) else value == HIDDEN


def refusal(message: str, code: str) -> InvalidRequest:
    """A change that was not made; clients know the code by the reference's name."""
    return InvalidRequest(message, data_code=code, data={"config_write_error_code": code})


def overridden_by(loaded: LoadedConfig, keys: Sequence[str]) -> dict[str, Any] | None:
    """The layer above that decides over the first of these keys that the user's file does not decide; else None."""
    for key in keys:
        dotted = ".".join(split_key(key))
        for origin, layer in loaded.origins.items():
            if layer.origin is not LayerOrigin.USER and (origin == dotted or origin.startswith(f"{dotted}.")):
                value = value_at(loaded.config.raw, split_key(key))
                return {
                    "message": f"{key} was written, but {layer.source} says something else, which counts.",
                    "overridingLayer": layer_metadata(layer),
                    "effectiveValue": hide_secrets(value, split_key(key)[-1]),
                }
    return None
