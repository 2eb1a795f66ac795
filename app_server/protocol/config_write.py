"""Owns config/value/write and config/batchWrite: changes of the user's config.toml."""

from typing import Any, Literal

from app_server.protocol.base import Flag, Params, WireModel
from app_server.protocol.config import ConfigLayerMetadata

MergeStrategy = Literal["replace", "upsert"]


class ConfigValueWriteParams(Params):
    """One change. A null removes the key; `upsert` joins a table with the one that is there."""

    key_path: str
    value: Any
    merge_strategy: MergeStrategy
    file_path: str | None = None
    expected_version: str | None = None


class ConfigEdit(Params):
    key_path: str
    value: Any
    merge_strategy: MergeStrategy


class ConfigBatchWriteParams(Params):
    """All changes or none. Loaded threads follow in any case, so `reload_user_config` changes nothing."""

    edits: tuple[ConfigEdit, ...]
    file_path: str | None = None
    expected_version: str | None = None
    reload_user_config: Flag = False


class OverriddenMetadata(WireModel):
    """What was written does not count: a layer above says something else."""

    message: str
    overriding_layer: ConfigLayerMetadata
    effective_value: Any


class ConfigWriteResponse(WireModel):
    """`version` is that of the file as it is now."""

    status: Literal["ok", "okOverridden"]
    version: str
    file_path: str
    overridden_metadata: OverriddenMetadata | None = None
